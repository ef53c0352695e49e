// Package broker runs an MQTT broker in this process: nats-server, with MQTT on a random loopback port, messages and
// sessions in JetStream's file store, and one secret user each for the devices' front and for the bridge, made anew
// at every start. Nobody else can log in, and nothing listens for NATS clients.
//
// The broker acknowledges a QoS 1 message after it has been stored, and keeps it until each subscription has had it
// acknowledged. It has neither MQTT 5 nor shared subscriptions. A message that nobody subscribes to with QoS 1, or
// that permissions forbid, is acknowledged and dropped: callers must not let such messages through.
package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
)

// Topics are filters that a user may use.
type Topics struct {
	Publish, Subscribe []string
}

// Options configure [Start]. Everything but SyncAlways is required.
type Options struct {
	// Store is the folder for messages and sessions. It is made if it does not exist.
	Store string
	// SyncAlways has every message on the disk before it is acknowledged.
	SyncAlways bool
	// MaxBytes bounds the stored messages. When it is reached, publishers are disconnected instead of acknowledged.
	MaxBytes int64
	// AckWait is when an unacknowledged message is delivered again, MaxUnacked how many a subscription may have. Both
	// apply to new subscriptions: a session that is in the store keeps what it was made with.
	AckWait    time.Duration
	MaxUnacked int
	// Devices and Bridge are what the two users may do.
	Devices, Bridge Topics
	Logger          *slog.Logger
}

// User is a login at the broker.
type User struct {
	Name, Password string
}

// Broker is a running broker. It is safe for concurrent use.
type Broker struct {
	server          *server.Server
	addr            string
	devices, bridge User
}

const startTimeout = 30 * time.Second

// Start starts a broker and returns when it accepts connections. It must be closed.
func Start(ctx context.Context, o Options) (*Broker, error) {
	b := &Broker{
		devices: User{Name: "devices", Password: rand.Text()},
		bridge:  User{Name: "bridge", Password: rand.Text()},
	}
	setup := User{Name: "setup", Password: rand.Text()}
	opts := &server.Options{
		ServerName:             "portico",
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		StoreDir:               o.Store,
		SyncAlways:             o.SyncAlways,
		JetStreamMaxStore:      2*o.MaxBytes + 256<<20,
		JetStreamMaxMemory:     64 << 20,
		DisableJetStreamBanner: true,
		MQTT: server.MQTTOpts{
			Host:          "127.0.0.1",
			Port:          server.RANDOM_PORT,
			AckWait:       o.AckWait,
			MaxAckPending: uint16(min(o.MaxUnacked, 1<<16-1)),
		},
		Users: []*server.User{
			user(b.devices, o.Devices, jwt.ConnectionTypeMqtt),
			user(b.bridge, o.Bridge, jwt.ConnectionTypeMqtt),
			{
				Username: setup.Name, Password: setup.Password,
				AllowedConnectionTypes: map[string]struct{}{jwt.ConnectionTypeInProcess: {}},
			},
		},
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	logger := &natsLogger{ctx: context.WithoutCancel(ctx), log: o.Logger}
	s.SetLoggerV2(logger, false, false, false)
	b.server = s
	s.Start()
	if err := logger.fatal(); err != nil {
		b.Close()
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	if !s.ReadyForConnections(startTimeout) {
		b.Close()
		return nil, errors.New("embedded broker: not ready in time")
	}
	if err := limitStore(ctx, s, setup, o.MaxBytes); err != nil {
		b.Close()
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	b.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(opts.MQTT.Port))
	return b, nil
}

// user makes a user that may do nothing but what topics say. $MQTT.sub is where the broker delivers QoS 1 messages.
func user(u User, topics Topics, connection string) *server.User {
	return &server.User{
		Username: u.Name,
		Password: u.Password,
		Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: subjects(topics.Publish), Deny: denied(topics.Publish)},
			Subscribe: &server.SubjectPermission{Allow: append(subjects(topics.Subscribe), "$MQTT.sub.>")},
		},
		AllowedConnectionTypes: map[string]struct{}{connection: {}},
	}
}

// denied denies everything to a user without topics: an empty Allow list would allow everything.
func denied(filters []string) []string {
	if len(filters) == 0 {
		return []string{">"}
	}
	return nil
}

// subjects turns topic filters into NATS subjects. "a/#" matches "a" too.
func subjects(filters []string) []string {
	var out []string
	for _, f := range filters {
		if parent, ok := strings.CutSuffix(f, "/#"); ok {
			out = append(out, subject(parent))
		}
		out = append(out, subject(f))
	}
	return out
}

func subject(filter string) string {
	return strings.NewReplacer("/", ".", "+", "*", "#", ">").Replace(filter)
}

// Addr is the host and port where the broker takes MQTT connections.
func (b *Broker) Addr() string { return b.addr }

// Devices is the login for connections on behalf of devices.
func (b *Broker) Devices() User { return b.devices }

// Bridge is the login for the bridge.
func (b *Broker) Bridge() User { return b.bridge }

// Running reports whether the broker is up.
func (b *Broker) Running() bool { return b.server.Running() }

// Close stops the broker, and returns when it has written what it holds. A second call does nothing.
func (b *Broker) Close() {
	b.server.Shutdown()
	b.server.WaitForShutdown()
}
