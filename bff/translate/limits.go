package translate

import (
	"cmp"
	"errors"
	"time"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/config/unit"
)

// StreamLimits bounds what streams and WebSockets may do. The zero value has the defaults.
type StreamLimits struct {
	// Heartbeat is how often a silent event stream sends a sign of life: 15s if 0.
	Heartbeat time.Duration `yaml:"heartbeat" json:"heartbeat,omitempty" jsonschema_description:"How often a silent event stream sends a sign of life; 15s by default."`
	// Write is how long a client may take to accept one message: 30s if 0.
	Write time.Duration `yaml:"write" json:"write,omitempty" jsonschema_description:"How long a client may take to accept one message; 30s by default."`
	// Ping is how often a WebSocket is pinged, and how long the client may take to answer: 30s if 0.
	Ping time.Duration `yaml:"ping" json:"ping,omitempty" jsonschema_description:"How often a WebSocket is pinged, and how long the client may take to answer; 30s by default."`
	// Idle is how long a WebSocket may carry no message either way: 1h if 0.
	Idle time.Duration `yaml:"idle" json:"idle,omitempty" jsonschema_description:"How long a WebSocket may carry no message either way; 1h by default."`
	// Lifetime is how long a WebSocket may last, whatever it carries: 24h if 0.
	Lifetime time.Duration `yaml:"lifetime" json:"lifetime,omitempty" jsonschema_description:"How long a WebSocket may last; 24h by default."`
	// InitTimeout is how long the token may take to come that is to be a WebSocket's first message: 10s if 0.
	InitTimeout time.Duration `yaml:"init_timeout" json:"init_timeout,omitempty" jsonschema_description:"How long the token may take to come that is to be a WebSocket's first message; 10s by default."`
	// Message is the size of the largest message on a WebSocket: as large as a request's body if 0, and never larger.
	Message unit.Bytes `yaml:"message" json:"message,omitempty" jsonschema_description:"Largest message on a WebSocket; by default as large as a body, and never larger."`
	// Rate is how many messages a WebSocket may bring: 100/s if 0. A client that sends more is slowed down.
	Rate unit.Rate `yaml:"rate" json:"rate,omitzero" jsonschema:"type=string" jsonschema_description:"How many messages a WebSocket may bring, like 100/s, which is the default. Who sends more is slowed down."`
	// Burst is how many messages may come at once: what the rate allows in two seconds, and at least 1, if 0.
	Burst int `yaml:"burst" json:"burst,omitempty" jsonschema:"minimum=0" jsonschema_description:"How many messages may come at once; by default what the rate allows in two seconds."`
	// Connections is how many WebSockets may be open at once, of all clients: 10000 if 0.
	Connections int `yaml:"connections" json:"connections,omitempty" jsonschema:"minimum=0" jsonschema_description:"How many WebSockets may be open at once; 10000 by default."`
}

// Validate returns a [mistake.Mistake] for everything that is wrong, joined.
func (l StreamLimits) Validate() error {
	var errs []error
	for _, v := range []struct {
		key   string
		value int64
	}{
		{"heartbeat", int64(l.Heartbeat)},
		{"write", int64(l.Write)},
		{"ping", int64(l.Ping)},
		{"idle", int64(l.Idle)},
		{"lifetime", int64(l.Lifetime)},
		{"init_timeout", int64(l.InitTimeout)},
		{"message", int64(l.Message)},
		{"burst", int64(l.Burst)},
		{"connections", int64(l.Connections)},
	} {
		if v.value < 0 {
			errs = append(errs, &mistake.Mistake{Path: []string{v.key}, What: v.key + " is negative", Expected: "a positive value, or none for the default"})
		}
	}
	if l.Rate != (unit.Rate{}) && l.Rate.Interval() <= 0 {
		errs = append(errs, &mistake.Mistake{Path: []string{"rate"}, What: "the rate allows nothing, or too much to count", Expected: "a rate like 100/s"})
	}
	return errors.Join(errs...)
}

// withDefaults fills what is left out. body is the size of the largest body.
func (l StreamLimits) withDefaults(body int64) StreamLimits {
	l.Heartbeat = cmp.Or(l.Heartbeat, 15*time.Second)
	l.Write = cmp.Or(l.Write, 30*time.Second)
	l.Ping = cmp.Or(l.Ping, 30*time.Second)
	l.Idle = cmp.Or(l.Idle, time.Hour)
	l.Lifetime = cmp.Or(l.Lifetime, 24*time.Hour)
	l.InitTimeout = cmp.Or(l.InitTimeout, 10*time.Second)
	if l.Message == 0 || int64(l.Message) > body {
		l.Message = unit.Bytes(body)
	}
	l.Rate = cmp.Or(l.Rate, unit.Rate{Events: 100, Per: time.Second})
	l.Burst = cmp.Or(l.Burst, max(1, int(2*time.Second/max(1, l.Rate.Interval()))))
	l.Connections = cmp.Or(l.Connections, 10_000)
	return l
}
