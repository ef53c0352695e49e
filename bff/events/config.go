package events

import (
	"errors"
	"fmt"
	"time"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/config/unit"
)

// Config says how the event streams of one method are kept. What is kept takes at most max_logs times max_bytes of
// memory, or one message a log if that is larger.
type Config struct {
	// Resume is how long a stream is kept after its last reader has left; at most 24h.
	Resume time.Duration `yaml:"resume" json:"resume" jsonschema_description:"How long a stream is kept after its last reader has left, at most 24h."`
	// MaxEvents bounds how many of the latest events of a stream are kept: 1000 if 0.
	MaxEvents int `yaml:"max_events" json:"max_events,omitempty" jsonschema:"minimum=0" jsonschema_description:"How many of the latest events of a stream are kept: 1000 if 0."`
	// MaxBytes bounds the bytes of the events that are kept of a stream: 1MiB if 0. The latest is always kept.
	MaxBytes unit.Bytes `yaml:"max_bytes" json:"max_bytes,omitempty" jsonschema_description:"How many bytes of the latest events of a stream are kept: 1MiB if 0."`
	// MaxLogs bounds how many streams of the method there are at once, one per request and identity: 1000 if 0. Those
	// that were left longest ago make room for new ones.
	MaxLogs int `yaml:"max_logs" json:"max_logs,omitempty" jsonschema:"minimum=0" jsonschema_description:"How many streams of the method there are at once, one per request and identity: 1000 if 0."`
	// MaxReaders bounds how many readers a stream has at once: 100 if 0.
	MaxReaders int `yaml:"max_readers" json:"max_readers,omitempty" jsonschema:"minimum=0" jsonschema_description:"How many readers a stream has at once: 100 if 0."`
}

// longest is how long a stream may be kept without readers.
const longest = 24 * time.Hour

// Validate returns a [mistake.Mistake] for everything that is wrong, with the key as its path.
func (c Config) Validate() error {
	var all []error
	if c.Resume <= 0 || c.Resume > longest {
		all = append(all, &mistake.Mistake{
			Path: []string{"resume"}, What: fmt.Sprintf("streams cannot be kept for %v", c.Resume), Expected: "more than 0 and at most 24h",
		})
	}
	for _, bound := range []struct {
		key   string
		value int64
	}{
		{"max_events", int64(c.MaxEvents)},
		{"max_bytes", int64(c.MaxBytes)},
		{"max_logs", int64(c.MaxLogs)},
		{"max_readers", int64(c.MaxReaders)},
	} {
		if bound.value < 0 {
			all = append(all, mistake.At(fmt.Sprintf("%d is less than 0", bound.value), bound.key))
		}
	}
	return errors.Join(all...)
}

func (c Config) withDefaults() Config {
	for _, bound := range []struct {
		value *int
		def   int
	}{{&c.MaxEvents, 1000}, {&c.MaxLogs, 1000}, {&c.MaxReaders, 100}} {
		if *bound.value == 0 {
			*bound.value = bound.def
		}
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 20
	}
	return c
}
