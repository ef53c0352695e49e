package policy

import (
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/portico-bff/portico/mesh/internal/gate"
	"github.com/portico-bff/portico/mesh/internal/picker"
)

// Locality says what the zones of endpoints mean.
type Locality struct {
	Off bool // all zones are alike
	// Failover names the region that comes next after a region.
	Failover map[string]string
}

// Tier says how far an endpoint's zone is from the process's own, both as
// "region/zone": 0 is the same zone, then come the region, the region to fail over
// to, and the rest.
func (l *Locality) Tier(own, zone string) int {
	if l.Off || own == "" || zone == own {
		return 0
	}
	ownRegion, _, _ := strings.Cut(own, "/")
	region, _, _ := strings.Cut(zone, "/")
	switch {
	case region == ownRegion:
		return 1
	case region != "" && l.Failover[ownRegion] == region:
		return 2
	default:
		return 3
	}
}

// Equal says whether both mean the same.
func (l *Locality) Equal(other *Locality) bool {
	if l.Off != other.Off || len(l.Failover) != len(other.Failover) {
		return false
	}
	for from, to := range l.Failover {
		if other.Failover[from] != to {
			return false
		}
	}
	return true
}

// Pool bounds what a process asks of a service at a time. Zeros are no bounds.
type Pool struct {
	// MaxConnections is to all endpoints together.
	MaxConnections int
	// MaxRequests is how many attempts run at a time, and MaxPending how many
	// wait for that.
	MaxRequests, MaxPending int
	// MaxRequestsPerConnection is after how many requests a connection is replaced.
	MaxRequestsPerConnection int
	// ConnectTimeout bounds the making of a connection, and then TLS's handshake;
	// zero means [DefaultConnectTimeout].
	ConnectTimeout time.Duration
}

// DefaultConnectTimeout is how long making a connection may take if no policy says.
// It is the most that one may say, too, since gRPC gives up then.
const DefaultConnectTimeout = 10 * time.Second

// Gate returns the bounds of attempts.
func (p *Pool) Gate() gate.Config { return gate.Config{Running: p.MaxRequests, Waiting: p.MaxPending} }

// defaultPending is how many requests wait if a policy bounds those that run, and
// says nothing of this: Envoy's default.
const defaultPending = 1024

func (r *reader) loadBalancer(n ast.Node, d *Destination) {
	chosen := 0
	r.mapping(n, "loadBalancer",
		key{name: "simple", read: func(n ast.Node) {
			chosen++
			word, _ := r.word(n, "simple", "ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "PEAK_EWMA")
			switch word {
			case "LEAST_REQUEST":
				d.Balance.Algorithm = picker.LeastRequest
			case "RANDOM":
				d.Balance.Algorithm = picker.Random
			case "PEAK_EWMA":
				d.Balance.Algorithm = picker.PeakEWMA
			}
		}},
		key{name: "consistentHash", read: func(n ast.Node) {
			chosen++
			d.Balance.Algorithm = picker.ConsistentHash
			d.Balance.RingSize = picker.DefaultRingSize
			r.mapping(n, "consistentHash",
				key{name: "httpHeaderName", must: true, read: func(n ast.Node) {
					s, _ := r.text(n, "httpHeaderName")
					d.HashHeader = strings.ToLower(s)
				}},
				key{name: "ringHash", read: func(n ast.Node) {
					r.mapping(n, "ringHash", key{name: "minimumRingSize", must: true, read: func(n ast.Node) {
						r.integer(n, "minimumRingSize", 1, 1<<20, &d.Balance.RingSize)
					}})
				}})
		}},
		key{name: "warmup", read: func(n ast.Node) { r.warmup(n, &d.Balance.Warmup) }},
		key{name: "localityLbSetting", read: func(n ast.Node) { r.locality(n, &d.Locality) }})
	if chosen > 1 {
		r.fail(place(n), `loadBalancer: want "simple" or "consistentHash", not both`)
	}
	if d.Balance.Algorithm == picker.ConsistentHash && d.Balance.Warmup.Duration > 0 {
		r.fail(place(n), `loadBalancer: "warmup" has no effect on "consistentHash"`)
	}
}

func (r *reader) warmup(n ast.Node, w *picker.Warmup) {
	w.Aggression, w.MinimumPercent = 1, 10
	r.mapping(n, "warmup",
		key{name: "duration", must: true, read: func(n ast.Node) { r.duration(n, "duration", &w.Duration) }},
		key{name: "aggression", read: func(n ast.Node) { r.number(n, "aggression", 1, 100, &w.Aggression) }},
		key{name: "minimumPercent", read: func(n ast.Node) {
			r.integer(n, "minimumPercent", 1, 100, &w.MinimumPercent)
		}})
}

func (r *reader) locality(n ast.Node, l *Locality) {
	r.mapping(n, "localityLbSetting",
		key{name: "enabled", read: func(n ast.Node) {
			enabled := true
			r.boolean(n, "enabled", &enabled)
			l.Off = !enabled
		}},
		key{name: "failover", read: func(n ast.Node) {
			l.Failover = map[string]string{}
			r.each(n, "failover", func(n ast.Node) {
				var from, to string
				r.mapping(n, "failover",
					key{name: "from", must: true, read: func(n ast.Node) { from = r.region(n, "from") }},
					key{name: "to", must: true, read: func(n ast.Node) { to = r.region(n, "to") }})
				if _, twice := l.Failover[from]; twice {
					r.fail(place(n), "failover: a second one from %q", from)
				}
				l.Failover[from] = to
			})
		}})
}

func (r *reader) region(n ast.Node, what string) string {
	s, ok := r.text(n, what)
	if ok && strings.Contains(s, "/") {
		r.fail(place(n), "%s: %q, want a region: what stands before the slash in a zone", what, s)
	}
	return s
}

// most is as much as anybody may bound something to.
const most = 1<<31 - 1

func (r *reader) connectionPool(n ast.Node, d *Destination) {
	r.mapping(n, "connectionPool",
		key{name: "tcp", read: func(n ast.Node) {
			r.mapping(n, "tcp",
				key{name: "maxConnections", read: func(n ast.Node) {
					r.integer(n, "maxConnections", 1, most, &d.Pool.MaxConnections)
				}},
				key{name: "connectTimeout", read: func(n ast.Node) {
					r.duration(n, "connectTimeout", &d.Pool.ConnectTimeout)
					if d.Pool.ConnectTimeout > DefaultConnectTimeout {
						r.fail(place(n), "connectTimeout: want at most %v", DefaultConnectTimeout)
					}
				}})
		}},
		key{name: "http", read: func(n ast.Node) {
			pending := -1
			r.mapping(n, "http",
				key{name: "http2MaxRequests", read: func(n ast.Node) {
					r.integer(n, "http2MaxRequests", 1, most, &d.Pool.MaxRequests)
				}},
				key{name: "http1MaxPendingRequests", read: func(n ast.Node) {
					r.integer(n, "http1MaxPendingRequests", 0, most, &pending)
				}},
				key{name: "maxRequestsPerConnection", read: func(n ast.Node) {
					r.integer(n, "maxRequestsPerConnection", 1, most, &d.Pool.MaxRequestsPerConnection)
				}},
				key{name: "maxConcurrentStreams", read: func(n ast.Node) {
					r.integer(n, "maxConcurrentStreams", 1, most, &d.Balance.MaxActive)
				}})
			if pending >= 0 && d.Pool.MaxRequests == 0 {
				r.fail(place(n), `http: "http1MaxPendingRequests" bounds nothing without "http2MaxRequests"`)
			}
			if d.Pool.MaxPending = pending; pending < 0 {
				d.Pool.MaxPending = defaultPending
			}
		}})
}
