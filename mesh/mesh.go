package mesh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"github.com/portico-bff/portico/mesh/internal/authz"
	"github.com/portico-bff/portico/mesh/internal/rate"
)

// Options configures a [Mesh]. Only Identity is required.
type Options struct {
	// Identity says who this process is. The caller closes it, after the Mesh.
	Identity Identity
	// PolicyFile is read at once (a bad file is an error of [New]) and again
	// whenever its contents change; a bad change keeps the last good policy.
	// With neither PolicyFile nor Policy, servers deny every call, and clients
	// need [ExpectIdentity].
	PolicyFile string
	// PolicyInterval is how often that file is looked at; zero means a second.
	PolicyInterval time.Duration
	// Policy is a policy that stays. Use this or PolicyFile.
	Policy *Policy
	// Idempotent says which methods ("/pkg.Service/Method") may be tried
	// again after an attempt that may have reached the service. Nil asks the
	// idempotency_level of the descriptors that are linked into the program;
	// who calls methods without linked descriptors must answer here.
	Idempotent func(fullMethod string) bool
	// Discovery finds the endpoints of targets "mesh:///{service}".
	Discovery Discovery
	// Zone is where this process runs, as "region/zone". Endpoints near it are
	// preferred; "" prefers none.
	Zone string
	// DNSInterval is how often names are looked up; zero means five seconds.
	DNSInterval time.Duration
	// LookupHost finds the addresses of a name, for dns targets. Nil asks the
	// system's resolver.
	LookupHost func(ctx context.Context, host string) ([]string, error)
	// LookupSRV finds the SRV records of a name, for srv targets. Nil asks the
	// system's resolver.
	LookupSRV func(ctx context.Context, name string) ([]*net.SRV, error)
	// TracerProvider makes spans of calls made and served. W3C trace context
	// is passed on with or without it.
	TracerProvider trace.TracerProvider
	// MeterProvider makes metrics: gRPC's own of calls and attempts, and the mesh's,
	// which the package comment lists. Nil makes none, and costs nothing.
	MeterProvider metric.MeterProvider
	// NoCallMetrics leaves gRPC's own metrics out, for a process that measures its calls
	// otherwise: they take some seventy allocations a call, at both ends together. The
	// mesh's own take none.
	NoCallMetrics bool
	// OnEvent is told what the mesh does on its own: see [Event]. It is called
	// from many goroutines, sometimes while a call waits, so it must be quick.
	OnEvent func(Event)
	// Audit is told what servers decide about calls: all denials, and what a policy in
	// dry run would change, up to a hundred a second; of other calls AuditShare, from 0
	// (none) to 1 (all). It is called while the call waits, from many goroutines.
	Audit      func(Decision)
	AuditShare float64
	// MaxConnectionAge is the age at which servers ask clients to move to a
	// new connection. Zero computes it from the certificate's life, so that no
	// connection grows as old as a certificate that was renewed at half time.
	MaxConnectionAge time.Duration
	// DrainDelay is how long [Server.Drain] goes on taking calls after it has
	// begun to report NOT_SERVING, so that balancers see it. Zero means none.
	DrainDelay time.Duration
}

// Mesh is a process's part of the mesh: its identity, its policy, and the state
// that its clients and servers share. It is safe for concurrent use.
type Mesh struct {
	identity   Identity
	self       spiffeid.ID
	idempotent func(string) bool
	trace      *tracing
	metrics    *metrics       // nil without a provider
	chance     func() float64 // draws from [0, 1)
	discovery  Discovery
	lookup     lookup
	lookupSRV  lookupSRV
	zone       string

	dnsInterval time.Duration
	onEvent     func(Event)
	maxAge      time.Duration
	drainDelay  time.Duration

	policy atomic.Pointer[Policy]
	lives  lives
	rates  rate.Limiter
	counts counters

	overloads overloads
	audit     auditor

	mu         sync.Mutex // guards what follows
	channels   map[*channel]int
	transports map[string]*httpTransport
	closed     bool

	stop context.CancelFunc
	work sync.WaitGroup
}

// New joins the mesh. ctx bounds the start alone. Close what it returns.
func New(ctx context.Context, o Options) (*Mesh, error) {
	var mistakes []error
	if o.Identity == nil {
		mistakes = append(mistakes, errors.New("mesh: an identity is required"))
	}
	if o.PolicyFile != "" && o.Policy != nil {
		mistakes = append(mistakes, errors.New("mesh: want a policy file or a policy, not both"))
	}
	policy := o.Policy
	if o.PolicyFile != "" {
		loaded, err := LoadPolicy(o.PolicyFile)
		mistakes = append(mistakes, err)
		policy = loaded
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	if policy == nil {
		policy = emptyPolicy()
	}
	svid, err := o.Identity.GetX509SVID()
	if err != nil {
		return nil, fmt.Errorf("mesh: asking for the process's identity: %w", err)
	}
	m := &Mesh{
		identity:   o.Identity,
		self:       svid.ID,
		idempotent: o.Idempotent,
		trace:      newTracing(o.TracerProvider),
		chance:     rand.Float64,
		onEvent:    o.OnEvent,
		maxAge:     o.MaxConnectionAge,
		drainDelay: o.DrainDelay,
		channels:   map[*channel]int{},
		audit:      auditor{tell: o.Audit, share: o.AuditShare},
		transports: map[string]*httpTransport{},

		discovery:   o.Discovery,
		lookup:      o.LookupHost,
		lookupSRV:   o.LookupSRV,
		zone:        o.Zone,
		dnsInterval: o.DNSInterval,
	}
	if m.dnsInterval <= 0 {
		m.dnsInterval = dnsDefaultInterval
	}
	if o.PolicyInterval <= 0 {
		o.PolicyInterval = policyInterval
	}
	if m.lookup == nil {
		m.lookup = net.DefaultResolver.LookupHost
	}
	if m.lookupSRV == nil {
		m.lookupSRV = systemSRV
	}
	if m.idempotent == nil {
		m.idempotent = linkedIdempotency()
	}
	if m.onEvent == nil {
		m.onEvent = func(Event) {}
	}
	if m.maxAge <= 0 {
		m.maxAge = connectionAge(life(svid))
	}
	m.policy.Store(policy)
	m.lives.trust.policy = policy
	if m.metrics, err = newMetrics(&o, m); err != nil {
		return nil, err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = stop
	m.work.Go(func() { m.watchTrust(background) })
	if o.PolicyFile != "" {
		m.work.Go(func() { m.watchPolicy(background, o.PolicyFile, o.PolicyInterval, policy.sum) })
	}
	return m, nil
}

// Close ends the mesh's work in the background and its Transports, and waits for
// them. Clients and servers are closed by those who made them, before.
func (m *Mesh) Close() error {
	m.mu.Lock()
	m.closed = true
	transports := slices.Collect(maps.Values(m.transports))
	m.mu.Unlock()
	for _, t := range transports {
		t.close()
	}
	m.stop()
	m.work.Wait()
	return m.metrics.close()
}

// connectionAge is how old a connection may grow under certificates with that
// life. One that is renewed at half time has at least half of its life left when
// it is used in a handshake; gRPC adds up to a tenth to the age by chance, and
// what is left is for the calls that are still running then. X.509 counts in
// whole seconds, of which short lives must be careful.
func connectionAge(life time.Duration) time.Duration {
	return (life - min(time.Second, life/2)) * 35 / 100
}

// incoming reads the metadata of the call being served.
func incoming(ctx context.Context, name string) []string {
	return metadata.ValueFromIncomingContext(ctx, name)
}

// outgoing reads the metadata of the call being made.
func outgoing(ctx context.Context, name string) []string {
	md, _ := metadata.FromOutgoingContext(ctx)
	return md.Get(name)
}

func emptyPolicy() *Policy {
	return &Policy{matcher: authz.Compile(nil, incoming)}
}
