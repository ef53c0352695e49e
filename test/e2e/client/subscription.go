package client

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Subscription is an operation that runs over graphql-transport-ws.
type Subscription struct {
	conn *websocket.Conn
}

type frame struct {
	ID      string          `json:"id,omitempty"`
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

// Subscribe connects to a GraphQL endpoint (its http URL), introduces itself with the token and starts an operation.
// The connection is closed when the test ends.
func Subscribe(tb testing.TB, url, token, query string, variables map[string]any) *Subscription {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), timeout)
	defer cancel()
	//nolint:bodyclose // there is none after an upgrade
	conn, resp, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(url, "http"), &websocket.DialOptions{
		Subprotocols: []string{"graphql-transport-ws"},
	})
	if err != nil {
		tb.Fatalf("connect to %s: %v", url, err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		tb.Fatalf("connect to %s: %s", url, resp.Status)
	}
	conn.SetReadLimit(1 << 20)
	tb.Cleanup(func() { _ = conn.CloseNow() })
	s := &Subscription{conn: conn}
	payload := map[string]any{}
	if token != "" {
		payload["Authorization"] = "Bearer " + token
	}
	s.send(ctx, tb, "", "connection_init", payload)
	if f := s.receive(ctx, tb); f.Type != "connection_ack" {
		tb.Fatalf("received %s %s, want connection_ack", f.Type, f.Payload)
	}
	s.send(ctx, tb, "1", "subscribe", map[string]any{"query": query, "variables": variables})
	return s
}

func (s *Subscription) send(ctx context.Context, tb testing.TB, id, kind string, payload any) {
	tb.Helper()
	text, err := json.Marshal(payload)
	if err != nil {
		tb.Fatal(err)
	}
	text, err = json.Marshal(frame{ID: id, Type: kind, Payload: text})
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.conn.Write(ctx, websocket.MessageText, text); err != nil {
		tb.Fatalf("send %s: %v", kind, err)
	}
}

func (s *Subscription) receive(ctx context.Context, tb testing.TB) frame {
	tb.Helper()
	_, text, err := s.conn.Read(ctx)
	if err != nil {
		tb.Fatalf("receive: %v", err)
	}
	var f frame
	if err := json.Unmarshal(text, &f); err != nil {
		tb.Fatalf("receive: %v: %s", err, text)
	}
	return f
}

// Next waits for the next message of the operation and returns its type ("next", "error" or "complete") and payload.
func (s *Subscription) Next(tb testing.TB, within time.Duration) (kind, payload string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), within)
	defer cancel()
	f := s.receive(ctx, tb)
	return f.Type, string(f.Payload)
}

// Until waits for an event whose payload contains text.
func (s *Subscription) Until(tb testing.TB, within time.Duration, text string) string {
	tb.Helper()
	deadline := time.Now().Add(within)
	for {
		kind, payload := s.Next(tb, time.Until(deadline))
		if kind != "next" {
			tb.Fatalf("received %s %s, want an event with %q", kind, payload, text)
		}
		if strings.Contains(payload, text) {
			return payload
		}
	}
}

// Closed waits for the server to close the connection and returns the close code.
func (s *Subscription) Closed(tb testing.TB, within time.Duration) websocket.StatusCode {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), within)
	defer cancel()
	for {
		if _, _, err := s.conn.Read(ctx); err != nil {
			return websocket.CloseStatus(err)
		}
	}
}
