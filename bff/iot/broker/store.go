package broker

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// messages is the stream in which nats-server keeps QoS 1 messages. It makes it without limits, unless it is there.
const messages = "$MQTT_msgs"

// limitStore makes the stream of messages with a limit, or sets the limit of the one that is there.
func limitStore(ctx context.Context, s *server.Server, u User, maxBytes int64) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c, err := dialSetup(ctx, s, u)
	if err != nil {
		return fmt.Errorf("setting the limits of the store: %w", err)
	}
	defer c.conn.Close()
	cfg := server.StreamConfig{
		Name:      messages,
		Subjects:  []string{"$MQTT.msgs.>"},
		Storage:   server.FileStorage,
		Retention: server.InterestPolicy,
		Replicas:  1,
	}
	verb := "CREATE"
	var info server.JSApiStreamInfoResponse
	if err := c.request("$JS.API.STREAM.INFO."+messages, nil, &info); err != nil {
		return fmt.Errorf("reading the limits of the store: %w", err)
	}
	if info.StreamInfo != nil && info.Error == nil {
		cfg, verb = info.Config, "UPDATE"
	}
	cfg.MaxBytes = maxBytes
	cfg.Discard = server.DiscardNew
	var done server.JSApiStreamCreateResponse
	if err := c.request("$JS.API.STREAM."+verb+"."+messages, cfg, &done); err != nil {
		return fmt.Errorf("setting the limits of the store: %w", err)
	}
	if done.Error != nil {
		return fmt.Errorf("setting the limits of the store: %w", done.Error)
	}
	return nil
}

// setupClient speaks as much of the NATS client protocol as two requests need.
type setupClient struct {
	conn net.Conn
	r    *bufio.Reader
}

const inbox = "_INBOX.portico"

func dialSetup(ctx context.Context, s *server.Server, u User) (*setupClient, error) {
	conn, err := s.InProcessConn()
	if err != nil {
		return nil, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(startTimeout)
	}
	c := &setupClient{conn: conn, r: bufio.NewReader(conn)}
	hello, err := json.Marshal(map[string]any{
		"user": u.Name, "pass": u.Password, "verbose": false, "pedantic": false, "lang": "go", "version": "1",
		"protocol": 1,
	})
	if err == nil {
		err = conn.SetDeadline(deadline)
	}
	if err == nil {
		_, err = c.r.ReadString('\n') // INFO comes first
	}
	if err == nil {
		_, err = fmt.Fprintf(conn, "CONNECT %s\r\nSUB %s 1\r\n", hello, inbox)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

// request publishes in as JSON and decodes the answer into out.
func (c *setupClient) request(subject string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(c.conn, "PUB %s %s %d\r\n%s\r\n", subject, inbox, len(body), body); err != nil {
		return err
	}
	answer, err := c.next()
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

// next returns the payload of the next message.
func (c *setupClient) next() ([]byte, error) {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == "PING":
			if _, err := io.WriteString(c.conn, "PONG\r\n"); err != nil {
				return nil, err
			}
		case words[0] == "-ERR":
			return nil, fmt.Errorf("the broker says %s", strings.TrimSpace(line))
		case words[0] == "MSG":
			n, err := strconv.Atoi(words[len(words)-1])
			if err != nil {
				return nil, fmt.Errorf("unexpected answer %q", line)
			}
			payload := make([]byte, n+len("\r\n"))
			if _, err := io.ReadFull(c.r, payload); err != nil {
				return nil, err
			}
			return payload[:n], nil
		}
	}
}
