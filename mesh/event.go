package mesh

import (
	"cmp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// EventKind says what an [Event] is about.
type EventKind string

// The kinds of events.
const (
	// CallDenied: a server refused a call. Method, Peer and Policy (the
	// policy whose DENY rule matched, "" if none allowed it) are set.
	CallDenied EventKind = "call_denied"
	// DryRunDiffers: a policy in dry run (Policy) would have decided otherwise.
	// Method and Peer are set.
	DryRunDiffers EventKind = "dry_run_differs"
	// CallLimited: a server refused a call because its caller had made too many.
	// Method, Peer and Policy (the RateLimit) are set.
	CallLimited EventKind = "call_limited"
	// CallShed: a server had too much to do to take a call on. Method, Peer and
	// Policy (the Overload) are set.
	CallShed EventKind = "call_shed"
	// CallTooLate: a call was refused as too little time was left for it. Method is
	// set, and Target at a client.
	CallTooLate EventKind = "call_too_late"
	// CallExpired: a server refused a call over a connection one of whose
	// certificates has ended. Method and Peer are set.
	CallExpired EventKind = "call_expired"
	// StreamRotated: a stream was ended because its connection's certificate
	// ended. Method is set.
	StreamRotated EventKind = "stream_rotated"
	// HandlerPanicked: a handler panicked. Method, Err and Stack are set.
	HandlerPanicked EventKind = "handler_panicked"
	// AttemptRetried: a client tries a call again. Target, Method, Endpoint (of
	// the failed attempt) and Err (its error) are set.
	AttemptRetried EventKind = "attempt_retried"
	// AttemptHedged: a client makes another attempt while earlier ones wait for
	// their answer. Target and Method are set.
	AttemptHedged EventKind = "attempt_hedged"
	// RetryRefused: a retry or hedge was due, and the budget had none left. As above.
	RetryRefused EventKind = "retry_refused"
	// FaultInjected: a client was held up, or refused with Err, as the policy
	// says. Target and Method are set.
	FaultInjected EventKind = "fault_injected"
	// EgressDenied: a client may not call its target (Err tells the rule to add).
	// Target and Method are set.
	EgressDenied EventKind = "egress_denied"
	// EndpointEjected: an endpoint gets no calls until Until. Target and
	// Endpoint are set.
	EndpointEjected EventKind = "endpoint_ejected"
	// BreakerOpened: the circuit breaker of a route's entry (Policy) at Target lets no
	// calls out until Until, Err being what the last one ended with. Method is set.
	BreakerOpened EventKind = "breaker_opened"
	// PolicyLoaded: a changed policy file (Target) is in use.
	PolicyLoaded EventKind = "policy_loaded"
	// PolicyRefused: a changed policy file (Target) is bad (Err); the last
	// good one stays.
	PolicyRefused EventKind = "policy_refused"
	// DiscoveryFailed: the endpoints of Target could not be found (Err); the
	// last good ones stay.
	DiscoveryFailed EventKind = "discovery_failed"
	// PlaintextAccepted: a server took a connection without TLS from Endpoint, as its
	// PeerAuthentication is PERMISSIVE.
	PlaintextAccepted EventKind = "plaintext_accepted"
	// ConnectionRevoked: a connection was closed, as its peer would not be trusted any
	// more (Err). Endpoint and Peer are set.
	ConnectionRevoked EventKind = "connection_revoked"
	// HandshakeRefused: a TLS handshake failed. Target is set at a client, and
	// Err at both ends.
	HandshakeRefused EventKind = "handshake_refused"
)

// Event is something the mesh did on its own. The fields that a kind does not
// name are zero.
type Event struct {
	Kind     EventKind
	Method   string      // full method: "/pkg.Service/Method"
	Peer     spiffeid.ID // the caller
	Policy   string
	Target   string // what the client was made for, or the policy file
	Endpoint string // address
	Until    time.Time
	Err      error
	Stack    []byte
}

// Stats are the counts of a [Mesh] since it was made, for metrics.
type Stats struct {
	// Calls and Attempts are of clients' unary calls; attempts include the
	// first of each call.
	Calls    uint64 `json:"calls"`
	Attempts uint64 `json:"attempts"`
	// Retries were made, and Hedges beside running attempts; RetriesRefused, of
	// either kind, were not for want of budget.
	Retries        uint64 `json:"retries"`
	Hedges         uint64 `json:"hedges"`
	RetriesRefused uint64 `json:"retries_refused"`
	// Faults were injected. Mirrors are copies of calls that were sent, and
	// MirrorsDropped those that were not: too many were under way, or the request
	// or reply was of a kind that cannot be copied.
	Faults         uint64 `json:"faults"`
	Mirrors        uint64 `json:"mirrors"`
	MirrorsDropped uint64 `json:"mirrors_dropped"`
	// Overflows are attempts that a connectionPool did not let out.
	Overflows uint64 `json:"overflows"`
	// BreakerOpens counts openings of circuit breakers, and Broken the calls and streams
	// that they did not let out.
	BreakerOpens uint64 `json:"breaker_opens"`
	Broken       uint64 `json:"broken"`
	// EgressDenied counts calls that the policy's Egress did not let out.
	EgressDenied uint64 `json:"egress_denied"`
	// Ejections are of endpoints.
	Ejections uint64 `json:"ejections"`
	// Allowed and Denied are servers' decisions; Expired counts calls refused
	// because the connection's certificate had ended.
	Allowed uint64 `json:"allowed"`
	Denied  uint64 `json:"denied"`
	Expired uint64 `json:"expired"`
	// Plaintext counts calls that came without TLS, allowed or not. Permissive says
	// whether the policy lets some server of this process take them.
	Plaintext  uint64 `json:"plaintext"`
	Permissive bool   `json:"permissive"`
	// Limited counts allowed calls that a RateLimit refused.
	Limited uint64 `json:"limited"`
	// Shed counts calls that a server had too much to do for, and TooLate calls that
	// were not made, or not begun, as too little time was left.
	Shed    uint64 `json:"shed"`
	TooLate uint64 `json:"too_late"`
	// DryRunDiffers counts decisions that a policy in dry run would change.
	DryRunDiffers uint64 `json:"dry_run_differs"`
	// Rotated counts streams that ended with their connection's certificate,
	// at either end.
	Rotated uint64 `json:"rotated"`
	// Revoked counts connections that were closed because their peers were trusted no
	// more, at either end.
	Revoked uint64 `json:"revoked"`
	// Panics are of handlers.
	Panics uint64 `json:"panics"`
	// PolicyLoads and PolicyErrors count changes of the policy file.
	PolicyLoads  uint64 `json:"policy_loads"`
	PolicyErrors uint64 `json:"policy_errors"`
	// DiscoveryErrors count failures to find endpoints.
	DiscoveryErrors uint64 `json:"discovery_errors"`
	// CertificateExpiry is when the process's own certificate ends.
	CertificateExpiry time.Time `json:"certificate_expiry"`
	// Overloads are the adaptive limits of servers, in the order of the policy.
	Overloads []OverloadStats `json:"overloads,omitempty"`
	// PolicyVersion is the beginning of the policy's hash, "" without a policy.
	PolicyVersion string `json:"policy_version"`
	// Budgets of all open clients, by target.
	Budgets []BudgetStats `json:"budgets,omitempty"`
	// Breakers of all open clients, by target.
	Breakers []BreakerStats `json:"breakers,omitempty"`
	// Endpoints of all open clients, by target and address.
	Endpoints []EndpointStats `json:"endpoints"`
}

// EndpointStats describes one endpoint of one client.
type EndpointStats struct {
	Target  string `json:"target"`
	Address string `json:"address"`
	// Zone is where it is, as "region/zone"; "" if nobody knows.
	Zone string `json:"zone,omitempty"`
	// Ready says whether there is a connection to it.
	Ready bool `json:"ready"`
	// Ejected says whether it is kept from calls.
	Ejected bool `json:"ejected"`
	// Active is the number of calls and streams that it has now.
	Active int64 `json:"active"`
	// Warmth is which part of its share it gets while warmup lasts; 1 is all.
	Warmth float64 `json:"warmth"`
}

type counters struct {
	calls, attempts, ejections                 atomic.Uint64
	retries, hedges, retriesRefused            atomic.Uint64
	faults, mirrors, mirrorsDropped            atomic.Uint64
	egressDenied, limited                      atomic.Uint64
	shed, tooLate                              atomic.Uint64
	breakerOpens, broken                       atomic.Uint64
	allowed, denied, dryRunDiffers             atomic.Uint64
	overflows                                  atomic.Uint64
	expired, rotated, panics, plaintext        atomic.Uint64
	revoked                                    atomic.Uint64
	policyLoads, policyErrors, discoveryErrors atomic.Uint64
}

// Stats returns the counts so far. It is meant to be read every few seconds, by
// a metrics collector.
func (m *Mesh) Stats() Stats {
	c := &m.counts
	s := Stats{
		Calls: c.calls.Load(), Attempts: c.attempts.Load(),
		Retries: c.retries.Load(), Hedges: c.hedges.Load(), RetriesRefused: c.retriesRefused.Load(),
		Faults: c.faults.Load(), Mirrors: c.mirrors.Load(), MirrorsDropped: c.mirrorsDropped.Load(),
		Overflows:    c.overflows.Load(),
		BreakerOpens: c.breakerOpens.Load(), Broken: c.broken.Load(),
		EgressDenied: c.egressDenied.Load(), Ejections: c.ejections.Load(),
		Allowed: c.allowed.Load(), Denied: c.denied.Load(), DryRunDiffers: c.dryRunDiffers.Load(), Expired: c.expired.Load(),
		Limited: c.limited.Load(), Shed: c.shed.Load(), TooLate: c.tooLate.Load(),
		Plaintext: c.plaintext.Load(), Revoked: c.revoked.Load(), Permissive: m.policy.Load().anyPermissive(m.self),
		PolicyVersion: m.policy.Load().version(),
		Overloads:     m.overloads.stats(m.policy.Load()),
		Rotated:       c.rotated.Load(), Panics: c.panics.Load(),
		PolicyLoads: c.policyLoads.Load(), PolicyErrors: c.policyErrors.Load(), DiscoveryErrors: c.discoveryErrors.Load(),
	}
	if svid, err := m.identity.GetX509SVID(); err == nil {
		s.CertificateExpiry = svid.Certificates[0].NotAfter
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for ch := range m.channels {
		s.Endpoints = append(s.Endpoints, ch.endpoints()...)
		s.Breakers = append(s.Breakers, ch.breakers()...)
		s.Budgets = append(s.Budgets, BudgetStats{Target: ch.target, Retries: ch.plan().budget.Balance(time.Now())})
	}
	slices.SortFunc(s.Budgets, func(a, b BudgetStats) int { return strings.Compare(a.Target, b.Target) })
	slices.SortStableFunc(s.Breakers, func(a, b BreakerStats) int { return strings.Compare(a.Target, b.Target) })
	sortEndpoints(s.Endpoints)
	return s
}

func sortEndpoints(list []EndpointStats) {
	slices.SortFunc(list, func(a, b EndpointStats) int {
		return cmp.Or(strings.Compare(a.Target, b.Target), strings.Compare(a.Address, b.Address))
	})
}
