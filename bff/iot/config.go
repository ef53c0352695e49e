package iot

import (
	"cmp"
	"time"

	"github.com/portico-bff/portico/bff/config/unit"
	"github.com/portico-bff/portico/bff/iot/bridge"
)

// Config is the iot section of the configuration: the broker behind the door, who may use which topics, and how
// topics and methods meet. Its zero value has no broker and is refused by [New].
type Config struct {
	// Broker is the MQTT broker that stores messages between devices and services.
	Broker Broker `yaml:"broker" json:"broker"`
	// ACL lists the topics that devices may use. A topic that is not listed is refused.
	ACL ACL `yaml:"acl" json:"acl"`
	// Uplinks carry messages from topics to methods. Their topics may not overlap.
	Uplinks []bridge.Uplink `yaml:"uplinks" json:"uplinks,omitempty"`
	// Downlinks carry messages from server streams to topics.
	Downlinks []bridge.Downlink `yaml:"downlinks" json:"downlinks,omitempty"`
	// Limits bound what one device, and all of them together, may use.
	Limits Limits `yaml:"limits" json:"limits,omitzero"`
}

// Broker says which MQTT 3.1.1 broker is behind the door: exactly one of embedded and external.
type Broker struct {
	// Embedded runs a broker inside this process, for one machine.
	Embedded *Embedded `yaml:"embedded" json:"embedded,omitempty"`
	// External uses a broker that is there already, for more than one machine.
	External *External `yaml:"external" json:"external,omitempty"`
	// AckWait is how long a message may wait for its service before it is delivered again: 30s if absent. Retries of
	// a call end after five sixths of it.
	AckWait time.Duration `yaml:"ack_wait" json:"ack_wait,omitempty"`
	// MaxUnacked is how many messages may wait for their service at once: 8000 if absent. The
	// embedded broker allows 65535 for all subscriptions of a client together.
	MaxUnacked int `yaml:"max_unacked" json:"max_unacked,omitempty"`
	// WindowBytes is how many bytes of payload may wait in memory for their service: 64MiB if absent.
	WindowBytes unit.Bytes `yaml:"window_bytes" json:"window_bytes,omitempty"`
}

// Embedded configures the broker in this process.
type Embedded struct {
	// Store is the folder that holds messages and sessions.
	Store string `yaml:"store" json:"store"`
	// Sync is "default" or "always". With default, a stored message survives a crash of the process; with always it is
	// on the disk before it is acknowledged and survives power loss, at about a tenth of the throughput.
	Sync string `yaml:"sync" json:"sync,omitempty" jsonschema:"enum=default,enum=always"`
	// MaxBytes bounds the stored messages: 1GiB if absent. A full store acknowledges nothing more: devices keep their
	// messages.
	MaxBytes unit.Bytes `yaml:"max_bytes" json:"max_bytes,omitempty"`
}

// External configures a broker outside this process.
type External struct {
	// URL is where it listens: tcp://host:port or tls://host:port.
	URL string `yaml:"url" json:"url"`
	// Username and Password are Portico's own, for the bridge and for the devices that it has let in.
	Username string `yaml:"username" json:"username,omitempty"`
	Password string `yaml:"password" json:"password,omitempty"`
	// CA is a file of PEM certificates that sign the broker's; the system's if absent.
	CA string `yaml:"ca" json:"ca,omitempty"`
	// Share is the name of the group of Portico instances that share the uplinks ($share/NAME/...); no sharing if
	// absent.
	Share string `yaml:"share" json:"share,omitempty"`
	// ClientID names this instance's session at the broker: "portico-bridge" if absent. It must stay the same over
	// restarts, and differ between instances that share.
	ClientID string `yaml:"client_id" json:"client_id,omitempty"`
}

// ACL lists what a device may use, as topic filters in which {device} stands for the device's own id.
type ACL struct {
	// Publish are the topics that a device may publish to.
	Publish []string `yaml:"publish" json:"publish,omitempty"`
	// Subscribe are the topics that a device may subscribe to.
	Subscribe []string `yaml:"subscribe" json:"subscribe,omitempty"`
}

// Limits bound devices.
type Limits struct {
	// Connections is the most connections at once: 10000 if absent.
	Connections int `yaml:"connections" json:"connections,omitempty"`
	// ConnectTimeout is how long a client may take to log in, TLS included: 5s if absent.
	ConnectTimeout time.Duration `yaml:"connect_timeout" json:"connect_timeout,omitempty"`
	// ConnectBytes is the largest CONNECT packet: 4KiB if absent.
	ConnectBytes unit.Bytes `yaml:"connect_bytes" json:"connect_bytes,omitempty"`
	// PacketBytes is the largest packet after that: 64KiB if absent.
	PacketBytes unit.Bytes `yaml:"packet_bytes" json:"packet_bytes,omitempty"`
	// Keepalive is the longest keep-alive time: 20m if absent. A device that asks for more, or for none, is
	// disconnected after one and a half times this in silence.
	Keepalive time.Duration `yaml:"keepalive" json:"keepalive,omitempty"`
	// Rate is how fast one connection may publish: 100/s if absent. A faster device is read more slowly.
	Rate unit.Rate `yaml:"rate" json:"rate,omitzero"`
	// Burst is how many messages may come at once: twice the rate's number if absent.
	Burst int `yaml:"burst" json:"burst,omitempty"`
	// Subscriptions is the most filters one connection may subscribe to: 8 if absent.
	Subscriptions int `yaml:"subscriptions" json:"subscriptions,omitempty"`
}

// ResolvePaths makes the paths in c absolute with rel.
func (c *Config) ResolvePaths(rel func(string) string) {
	if e := c.Broker.Embedded; e != nil && e.Store != "" {
		e.Store = rel(e.Store)
	}
	if e := c.Broker.External; e != nil && e.CA != "" {
		e.CA = rel(e.CA)
	}
}

// withDefaults returns c with its absent values filled in.
func (c Config) withDefaults() Config {
	b, l := &c.Broker, &c.Limits
	b.AckWait = cmp.Or(b.AckWait, 30*time.Second)
	b.MaxUnacked = cmp.Or(b.MaxUnacked, 8000)
	b.WindowBytes = cmp.Or(b.WindowBytes, 64<<20)
	if b.Embedded != nil {
		e := *b.Embedded
		e.Sync = cmp.Or(e.Sync, "default")
		e.MaxBytes = cmp.Or(e.MaxBytes, 1<<30)
		b.Embedded = &e
	}
	if b.External != nil {
		e := *b.External
		e.ClientID = cmp.Or(e.ClientID, "portico-bridge")
		b.External = &e
	}
	l.Connections = cmp.Or(l.Connections, 10000)
	l.ConnectTimeout = cmp.Or(l.ConnectTimeout, 5*time.Second)
	l.ConnectBytes = cmp.Or(l.ConnectBytes, 4<<10)
	l.PacketBytes = cmp.Or(l.PacketBytes, 64<<10)
	l.Keepalive = cmp.Or(l.Keepalive, 20*time.Minute)
	l.Rate = cmp.Or(l.Rate, unit.Rate{Events: 100, Per: time.Second})
	l.Burst = cmp.Or(l.Burst, int(2*l.Rate.Events))
	l.Subscriptions = cmp.Or(l.Subscriptions, 8)
	return c
}
