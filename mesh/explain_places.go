package mesh

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/portico-bff/portico/mesh/internal/policy"
)

// LocalityExplanation says how zones count. Its zero value is what holds by default:
// the endpoints of the process's zone first, then those of its region.
type LocalityExplanation struct {
	// Zone is the process's own, "" for none (or where a [Policy] explains): then
	// all endpoints are alike.
	Zone string
	// Off says that all endpoints are alike, whatever their zones.
	Off bool
	// Failover names the region that comes next after a region.
	Failover map[string]string
}

// WarmupExplanation says how the share of a new endpoint grows: from MinimumPercent
// to all, over Duration, as (age/duration)^(1/Aggression). A zero Duration gives it
// all at once.
type WarmupExplanation struct {
	Duration       time.Duration
	MinimumPercent int
	Aggression     float64
}

// Explain says what the policy in force makes of a call, without making it, and what
// there is to be known of the endpoints of its target.
func (m *Mesh) Explain(q Query) Explanation {
	e := m.policy.Load().Explain(q)
	if q.Target == "" {
		return e
	}
	e.Locality.Zone = m.zone
	m.mu.Lock()
	defer m.mu.Unlock()
	for ch := range m.channels {
		if ch.target != q.Target {
			continue
		}
		e.Endpoints = append(e.Endpoints, ch.endpoints()...)
		if ch.source != nil {
			e.Ignored = append(e.Ignored, ch.source.Ignored()...)
		}
	}
	sortEndpoints(e.Endpoints)
	slices.Sort(e.Ignored)
	e.Ignored = slices.Compact(e.Ignored)
	return e
}

// places says what a destination makes of zones, and of the age of endpoints.
func (e *Explanation) places(d *policy.Destination) {
	e.Locality = LocalityExplanation{Off: d.Locality.Off, Failover: maps.Clone(d.Locality.Failover)}
	if w := &d.Balance.Warmup; w.Duration > 0 {
		e.Warmup = WarmupExplanation{Duration: w.Duration, MinimumPercent: w.MinimumPercent, Aggression: w.Aggression}
	}
}

// writePlaces tells how zones and the age of endpoints count, where they do.
func (e *Explanation) writePlaces(b *strings.Builder) {
	switch l := &e.Locality; {
	case l.Off:
		b.WriteString("  locality: off\n")
	case l.Zone != "" || len(l.Failover) > 0:
		b.WriteString("  locality: nearest first")
		if l.Zone != "" {
			fmt.Fprintf(b, ", from %s", l.Zone)
		}
		for _, from := range slices.Sorted(maps.Keys(l.Failover)) {
			fmt.Fprintf(b, ", %s fails over to %s", from, l.Failover[from])
		}
		b.WriteString("\n")
	}
	if w := &e.Warmup; w.Duration > 0 {
		fmt.Fprintf(b, "  warmup: %v from %d%%, aggression %g\n", w.Duration, w.MinimumPercent, w.Aggression)
	}
}

// writeLive tells of endpoints, and of what an xDS server wants in vain.
func (e *Explanation) writeLive(b *strings.Builder) {
	for _, endpoint := range e.Endpoints {
		fmt.Fprintf(b, "  endpoint: %s", endpoint.Address)
		if endpoint.Zone != "" {
			fmt.Fprintf(b, " in %s", endpoint.Zone)
		}
		switch {
		case endpoint.Ejected:
			b.WriteString(", ejected")
		case !endpoint.Ready:
			b.WriteString(", not connected")
		case endpoint.Warmth < 1:
			fmt.Fprintf(b, ", warming up: %.0f%%", 100*endpoint.Warmth)
		}
		b.WriteString("\n")
	}
	for _, line := range e.Ignored {
		fmt.Fprintf(b, "  ignored: %s\n", line)
	}
}
