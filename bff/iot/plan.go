package iot

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/iot/bridge"
	"github.com/portico-bff/portico/bff/iot/front"
	"github.com/portico-bff/portico/bff/iot/topic"
	"github.com/portico-bff/portico/upstream"
)

// plan is a configuration that has been checked.
type plan struct {
	cfg                Config
	publish, subscribe []*topic.Template
	bridge             *bridge.Plan
	externalAddr       string
	externalTLS        bool
}

// Check reports every mistake in a configuration, joined, without starting anything.
func Check(cfg Config, d *upstream.Descriptors) error {
	_, err := compile(cfg, d)
	return err
}

func compile(cfg Config, d *upstream.Descriptors) (*plan, error) {
	p := &plan{cfg: cfg.withDefaults()}
	errs := []error{p.checkBroker(), p.checkLimits()}
	var err error
	p.publish, err = parseACL(cfg.ACL.Publish, "publish")
	errs = append(errs, err)
	p.subscribe, err = parseACL(cfg.ACL.Subscribe, "subscribe")
	errs = append(errs, err)
	p.bridge, err = bridge.Compile(cfg.Uplinks, cfg.Downlinks, d)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p, errors.Join(p.checkTaken(), p.checkUnacked())
}

const (
	syncDefault = "default"
	syncAlways  = "always"
	// maxUnacked is what nats-server allows to all subscriptions of a client together.
	maxUnacked = 1<<16 - 1
)

func (p *plan) checkBroker() error {
	b := &p.cfg.Broker
	var errs []error
	wrong := func(what, expected string, path ...string) {
		errs = append(errs, &mistake.Mistake{Path: append([]string{"broker"}, path...), What: what, Expected: expected})
	}
	switch {
	case (b.Embedded == nil) == (b.External == nil):
		wrong("exactly one broker is needed", "embedded or external")
	case b.Embedded != nil:
		if b.Embedded.Store == "" {
			wrong("no folder", "a path such as data/mqtt", "embedded", "store")
		}
		if b.Embedded.Sync != syncDefault && b.Embedded.Sync != syncAlways {
			wrong(fmt.Sprintf("%q", b.Embedded.Sync), "default or always", "embedded", "sync")
		}
		if b.Embedded.MaxBytes < 1<<16 {
			wrong(fmt.Sprintf("%d bytes", b.Embedded.MaxBytes), "at least 64KiB", "embedded", "max_bytes")
		}
	default:
		errs = append(errs, p.checkExternal(b.External))
	}
	if b.AckWait < time.Second || b.AckWait > time.Hour {
		wrong(b.AckWait.String(), "1s to 1h", "ack_wait")
	}
	if b.MaxUnacked < 1 || b.MaxUnacked > maxUnacked {
		wrong(strconv.Itoa(b.MaxUnacked), fmt.Sprintf("1 to %d", maxUnacked), "max_unacked")
	}
	if b.WindowBytes < 1 {
		wrong("no room", "a size such as 64MiB", "window_bytes")
	}
	return errors.Join(errs...)
}

func (p *plan) checkExternal(e *External) error {
	var errs []error
	wrong := func(what, expected, key string) {
		errs = append(errs, &mistake.Mistake{Path: []string{"broker", "external", key}, What: what, Expected: expected})
	}
	u, err := url.Parse(e.URL)
	switch {
	case err != nil:
		wrong(err.Error(), "tcp://host:port or tls://host:port", "url")
	case u.Hostname() == "" || u.User != nil || u.Path != "" && u.Path != "/":
		wrong(fmt.Sprintf("%q", u.Redacted()), "tcp://host:port or tls://host:port", "url")
	case u.Scheme == "tcp" || u.Scheme == "mqtt":
		p.externalAddr = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "1883"))
	case u.Scheme == "tls" || u.Scheme == "mqtts":
		p.externalAddr, p.externalTLS = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "8883")), true
	default:
		wrong(fmt.Sprintf("unknown scheme %q", u.Scheme), "tcp or tls", "url")
	}
	if e.Password != "" && e.Username == "" {
		wrong("a password without a user name", "", "username")
	}
	if !p.externalTLS && e.CA != "" {
		wrong("a CA without TLS", "", "ca")
	}
	if e.Share != "" && topic.CheckLevel(e.Share) != nil {
		wrong(fmt.Sprintf("%q", e.Share), "one level of a topic", "share")
	}
	if len(e.ClientID) > 64 || strings.HasPrefix(e.ClientID, front.ClientIDPrefix) || topic.CheckLevel(e.ClientID) != nil {
		wrong(fmt.Sprintf("%q", e.ClientID), fmt.Sprintf("at most 64 characters, not beginning with %q", front.ClientIDPrefix), "client_id")
	}
	return errors.Join(errs...)
}

func (p *plan) checkLimits() error {
	l := &p.cfg.Limits
	var errs []error
	between := func(key string, value, low, high int64, unit string) {
		if value < low || value > high {
			errs = append(errs, &mistake.Mistake{
				Path: []string{"limits", key}, What: fmt.Sprintf("%d%s", value, unit), Expected: fmt.Sprintf("%d to %d%s", low, high, unit),
			})
		}
	}
	between("connections", int64(l.Connections), 1, 10_000_000, "")
	between("connect_timeout", l.ConnectTimeout.Milliseconds(), 100, 60_000, "ms")
	between("connect_bytes", int64(l.ConnectBytes), 64, 64<<10, " bytes")
	between("packet_bytes", int64(l.PacketBytes), 64, 1<<20, " bytes")
	between("keepalive", int64(l.Keepalive/time.Second), 1, 18*60*60, "s")
	between("burst", int64(l.Burst), 1, 1_000_000_000, "")
	between("subscriptions", int64(l.Subscriptions), 1, 1000, "")
	return errors.Join(errs...)
}

func parseACL(entries []string, key string) ([]*topic.Template, error) {
	var errs []error
	out := make([]*topic.Template, 0, len(entries))
	for i, e := range entries {
		t, err := topic.ParseFilterTemplate(e)
		if err != nil {
			errs = append(errs, mistake.At(err.Error(), "acl", key, strconv.Itoa(i)))
			continue
		}
		for _, name := range t.Names() {
			if name != "device" {
				errs = append(errs, &mistake.Mistake{
					Path: []string{"acl", key, strconv.Itoa(i)}, What: fmt.Sprintf("unknown variable {%s}", name), Expected: "{device}",
				})
			}
		}
		out = append(out, t)
	}
	return out, errors.Join(errs...)
}

func filters(templates []*topic.Template) []string {
	out := make([]string, 0, len(templates))
	for _, t := range templates {
		out = append(out, t.Filter())
	}
	return out
}

// checkTaken finds topics that devices may publish to though nobody takes them: brokers acknowledge and drop such
// messages.
func (p *plan) checkTaken() error {
	takers := append(p.bridge.Filters(), filters(p.subscribe)...)
	var errs []error
	for i, f := range filters(p.publish) {
		if !slices.ContainsFunc(takers, func(taker string) bool { return topic.Overlap(taker, f) }) {
			errs = append(errs, &mistake.Mistake{
				Path: []string{"acl", "publish", strconv.Itoa(i)},
				What: fmt.Sprintf("nobody takes what is published to %q", p.publish[i]), Expected: "an uplink or a subscriber for it",
			})
		}
	}
	return errors.Join(errs...)
}

// checkUnacked keeps sessions within what nats-server allows them, beyond which it refuses subscriptions.
func (p *plan) checkUnacked() error {
	if p.cfg.Broker.Embedded == nil {
		return nil
	}
	most := max(len(p.bridge.Filters()), p.cfg.Limits.Subscriptions)
	if p.cfg.Broker.MaxUnacked*most <= maxUnacked {
		return nil
	}
	return &mistake.Mistake{
		Path: []string{"broker", "max_unacked"}, What: fmt.Sprintf("%d for each of %d subscriptions", p.cfg.Broker.MaxUnacked, most),
		Expected: fmt.Sprintf("at most %d: a client may have %d altogether", maxUnacked/most, maxUnacked),
	}
}
