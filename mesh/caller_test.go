package mesh_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
)

// callerMode is the environment variable that turns the test program into a client
// that calls as fast as it is answered, for "make bench": through the mesh or
// through gRPC alone, with mutual TLS or without (which only tests can have).
const callerMode = "MESH_TEST_CALLER"

// callerPlan is what a caller does; it reads one from its input.
type callerPlan struct {
	Address, Method  string
	Mesh             bool
	Dir              string // of its identity; without one there is no TLS
	Server           string // whom to expect
	Policy           string
	Calls            int           // under way at a time
	Size             int           // of a request, and of a reply
	Deadline         time.Duration // of each call; 0: none that the mesh does not set
	Warmup, Duration time.Duration
}

// callerResult is what a caller has measured.
type callerResult struct {
	Requests int
	Elapsed  time.Duration
	P50, P99 time.Duration
}

// runCaller says true when it is warm, waits for a word, measures, and says what.
func runCaller(in io.Reader, out io.Writer) error {
	ctx := context.Background()
	commands, answers := json.NewDecoder(in), json.NewEncoder(out)
	var plan callerPlan
	if err := commands.Decode(&plan); err != nil {
		return err
	}
	conn, release, err := plan.dial(ctx)
	if err != nil {
		return err
	}
	defer release()
	if _, err := plan.call(ctx, conn, plan.Warmup); err != nil {
		return err
	}
	if err := answers.Encode(true); err != nil {
		return err
	}
	var begin bool
	if err := commands.Decode(&begin); err != nil {
		return err
	}
	if path := os.Getenv("MESH_TEST_PROFILE"); path != "" {
		profile, err := os.Create(path)
		if err != nil {
			return err
		}
		defer func() { _ = profile.Close() }()
		if err := pprof.StartCPUProfile(profile); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	result, err := plan.call(ctx, conn, plan.Duration)
	if err != nil {
		return err
	}
	return answers.Encode(result)
}

// dial connects as the plan says.
func (p *callerPlan) dial(ctx context.Context) (*grpc.ClientConn, func(), error) {
	if !p.Mesh && p.Dir == "" {
		conn, err := grpc.NewClient("passthrough:///"+p.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		return conn, func() { _ = conn.Close() }, err
	}
	identity, err := p.identity(ctx)
	if err != nil {
		return nil, nil, err
	}
	if !p.Mesh {
		id, err := spiffeid.FromString(p.Server)
		if err != nil {
			return nil, nil, err
		}
		config := tlsconfig.MTLSClientConfig(identity, identity, tlsconfig.AuthorizeID(id))
		conn, err := grpc.NewClient("passthrough:///"+p.Address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
		return conn, func() { _, _ = conn.Close(), identity.Close() }, err
	}
	policy, err := mesh.ParsePolicy("policy.yaml", []byte(p.Policy))
	if err != nil {
		return nil, nil, err
	}
	m, err := mesh.New(ctx, mesh.Options{Identity: identity, Policy: policy, Idempotent: func(string) bool { return true }})
	if err != nil {
		return nil, nil, err
	}
	newClient := m.NewClient
	if p.Dir == "" {
		newClient = m.NewPlaintextClient
	}
	conn, err := newClient("static:///" + p.Address)
	return conn, func() { _, _, _ = conn.Close(), m.Close(), identity.Close() }, err
}

// identity is the caller's, or without a folder one that nobody is shown.
func (p *callerPlan) identity(ctx context.Context) (mesh.Identity, error) {
	if p.Dir != "" {
		return mesh.FileIdentity(ctx, mesh.FileOptions{Dir: p.Dir})
	}
	ca, err := mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: "bench.test"})
	if err != nil {
		return nil, err
	}
	return ca.Identity("caller")
}

// call calls for a while.
func (p *callerPlan) call(ctx context.Context, conn *grpc.ClientConn, d time.Duration) (callerResult, error) {
	start := time.Now()
	took, errs := make([][]time.Duration, p.Calls), make([]error, p.Calls)
	var all sync.WaitGroup
	for i := range p.Calls {
		all.Go(func() {
			req, reply := wrapperspb.Bytes(make([]byte, p.Size)), new(wrapperspb.BytesValue)
			for began := time.Now(); began.Sub(start) < d; {
				if errs[i] = p.once(ctx, conn, req, reply); errs[i] != nil {
					return
				}
				now := time.Now()
				took[i] = append(took[i], now.Sub(began))
				began = now
			}
		})
	}
	all.Wait()
	if err := cmp.Or(errs...); err != nil {
		return callerResult{}, err
	}
	sorted := slices.Concat(took...)
	slices.Sort(sorted)
	n := len(sorted)
	if n == 0 {
		return callerResult{}, fmt.Errorf("no call ended within %v", d)
	}
	return callerResult{Requests: n, Elapsed: time.Since(start), P50: sorted[n/2], P99: sorted[n*99/100]}, nil
}

// once makes one call.
func (p *callerPlan) once(ctx context.Context, conn *grpc.ClientConn, req, reply any) error {
	if p.Deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.Deadline)
		defer cancel()
	}
	return conn.Invoke(ctx, p.Method, req, reply)
}

// The caller that "make bench" runs works in each of its ways.
func TestCaller(t *testing.T) {
	t.Parallel()
	ca, dir := newCA(t, "shop.test", time.Hour), t.TempDir()
	if err := ca.WriteFiles(t.Context(), dir, "portico"); err != nil {
		t.Fatal(err)
	}
	server, err := ca.Identity("orders")
	if err != nil {
		t.Fatal(err)
	}
	secure := grpc.Creds(credentials.NewTLS(tlsconfig.MTLSServerConfig(server, server, tlsconfig.AuthorizeAny())))
	for _, folder := range []string{"", filepath.Join(dir, "portico")} {
		var opts []grpc.ServerOption
		if folder != "" {
			opts = append(opts, secure)
		}
		s := grpc.NewServer(opts...)
		register(s, &echo{})
		address := loopback(t, &mesh.Server{Server: s})
		for _, through := range []bool{false, true} {
			plan := callerPlan{
				Address: address, Method: echoMethod, Mesh: through, Dir: folder, Server: orders, Calls: 2, Size: 128,
				Policy: "kind: Destination\nhost: 127.0.0.1\nidentities: [" + orders + "]\n",
				Warmup: 50 * time.Millisecond, Duration: 20 * time.Millisecond,
			}
			line, err := json.Marshal(plan)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := runCaller(bytes.NewReader(append(line, "true"...)), &out); err != nil {
				t.Fatalf("%+v: %v", plan, err)
			}
			var ready bool
			var result callerResult
			answers := json.NewDecoder(&out)
			if err := errors.Join(answers.Decode(&ready), answers.Decode(&result)); err != nil {
				t.Fatal(err)
			}
			if !ready || result.Requests == 0 || result.P50 == 0 || result.P99 < result.P50 || result.Elapsed < plan.Duration {
				t.Errorf("%+v: %v, %+v", plan, ready, result)
			}
		}
	}
}
