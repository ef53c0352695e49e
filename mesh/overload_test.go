package mesh_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
)

const overloaded = everybody + `---
kind: Overload
name: orders
criticalityFrom: [spiffe://shop.test/portico]
rules:
- to: [{operation: {paths: [/mesh.test.Echo/Echo]}}]
  gradientControllerConfig: {}
- to: [{operation: {paths: [/mesh.test.Echo/Write, /mesh.test.Echo/Chat]}}]
  gradientControllerConfig:
    concurrencyLimitParams: {maxConcurrencyLimit: 1}
    minRttCalcParams: {minConcurrency: 1}
  maxPendingRequests: 1
  maxPendingDuration: 10s
  minRemainingTime: 20ms
`

// Three times as many calls as the server can do leave nine tenths of that done, in
// bounded time; the rest hears quickly when to come again, and health checks pass.
func TestOverload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const workers, service, seconds = 10, 20 * time.Millisecond, 6
		places := make(chan struct{}, workers)
		var seen events
		ca := newCA(t, "shop.test", time.Hour)
		server := join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, overloaded), OnEvent: seen.add})
		_, listener := start(t, server, &echo{unary: func(_ context.Context, text string) (string, error) {
			places <- struct{}{}
			time.Sleep(service)
			<-places
			return text, nil
		}})
		var n network
		n.add("a:1", listener)
		conn := connect(t, join(t, ca, "portico", mesh.Options{}), &n, "static:///a:1", mesh.ExpectIdentity(orders))
		var work sync.WaitGroup
		var mu sync.Mutex
		var took []time.Duration
		shed := 0
		const capacity = workers * int(time.Second/service)
		for i := range 3 * capacity * seconds {
			work.Go(func() {
				at := time.Duration(i) * time.Second / time.Duration(3*capacity)
				time.Sleep(at)
				began := time.Now()
				var trailer metadata.MD
				err := conn.Invoke(t.Context(), echoMethod, wrapperspb.String("x"), new(wrapperspb.StringValue), grpc.Trailer(&trailer))
				if at < 2*time.Second {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					took = append(took, time.Since(began))
				case status.Code(err) == codes.ResourceExhausted && len(trailer.Get("grpc-retry-pushback-ms")) == 1:
					shed++
				default:
					t.Errorf("a call ended with %v, %v", err, trailer)
				}
			})
		}
		time.Sleep(4 * time.Second)
		reply, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		if err != nil || reply.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health under load: %v, %v", reply, err)
		}
		work.Wait()
		slices.Sort(took)
		goodput, p99 := float64(len(took))/float64(capacity*(seconds-2)), took[len(took)*99/100]
		t.Logf("goodput %.3f, p99 %v, %d shed", goodput, p99, shed)
		if goodput < 0.9 || p99 > 10*service {
			t.Errorf("goodput %.3f, p99 %v", goodput, p99)
		}
		s := server.Stats()
		if events := seen.of(mesh.CallShed); uint64(len(events)) != s.Shed || events[0].Policy != "orders" || events[0].Peer.String() != portico {
			t.Errorf("%d events, the first %+v, stats %+v", len(events), events[0], s)
		}
		if len(s.Overloads) != 2 || s.Overloads[0].Shed != s.Shed || s.Overloads[0].Limit < workers || s.Overloads[0].Limit > 3*workers || s.Overloads[0].Running != 0 {
			t.Errorf("limits: %+v", s.Overloads)
		}
	})
}

// busy is a server that works on one call of Write at a time, until it is told to go
// on; one more may wait.
func busy(t *testing.T, ca *mesh.DevCA) (n *network, server *mesh.Mesh, proceed chan struct{}) {
	t.Helper()
	n, proceed = &network{}, make(chan struct{})
	server = join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, overloaded)})
	_, listener := start(t, server, &echo{unary: func(ctx context.Context, text string) (string, error) {
		select {
		case <-proceed:
		case <-ctx.Done():
		}
		return text, nil
	}})
	n.add("a:1", listener)
	return n, server, proceed
}

// The more important of two calls waits, the other is shed. Not everybody is believed
// to be important; retries and copies are less so than they say.
func TestCriticality(t *testing.T) {
	t.Parallel()
	attempt := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "grpc-previous-rpc-attempts", "1")
	}
	mirror := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "x-mesh-mirror", "true")
	}
	say := func(c mesh.Criticality) func(context.Context) context.Context {
		return func(ctx context.Context) context.Context { return mesh.WithCriticality(ctx, c) }
	}
	plain := func(ctx context.Context) context.Context { return ctx }
	for name, test := range map[string]struct {
		caller     string
		first      func(context.Context) context.Context // waits already
		second     func(context.Context) context.Context
		secondWins bool
	}{
		"equals":                     {"portico", plain, plain, false},
		"sheddable":                  {"fleet", say(mesh.Sheddable), say(mesh.SheddablePlus), true},
		"sheddable plus":             {"fleet", say(mesh.SheddablePlus), plain, true},
		"critical plus":              {"portico", plain, say(mesh.CriticalPlus), true},
		"critical plus, not trusted": {"fleet", plain, say(mesh.CriticalPlus), false},
		"said as it is":              {"fleet", plain, say(mesh.Critical), false},
		"an unknown word":            {"fleet", say("urgent"), plain, false},
		"a retry":                    {"fleet", attempt, plain, true},
		"a retry of a critical plus": {"portico", func(ctx context.Context) context.Context { return attempt(say(mesh.CriticalPlus)(ctx)) }, plain, false},
		"a copy":                     {"portico", func(ctx context.Context) context.Context { return mirror(say(mesh.CriticalPlus)(ctx)) }, say(mesh.SheddablePlus), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ca := newCA(t, "shop.test", time.Hour)
				n, _, proceed := busy(t, ca)
				conn := connect(t, join(t, ca, test.caller, mesh.Options{}), n, "static:///a:1", mesh.ExpectIdentity(orders))
				results := make([]error, 3)
				var work sync.WaitGroup
				for i, mark := range []func(context.Context) context.Context{plain, test.first, test.second} {
					work.Go(func() { _, results[i] = call(mark(t.Context()), conn, writeMethod, "x") })
					synctest.Wait()
				}
				close(proceed)
				work.Wait()
				want := []codes.Code{codes.OK, codes.OK, codes.ResourceExhausted}
				if test.secondWins {
					want = []codes.Code{codes.OK, codes.ResourceExhausted, codes.OK}
				}
				for i, err := range results {
					if status.Code(err) != want[i] {
						t.Errorf("call %d: %v, want %v", i, err, want[i])
					}
				}
			})
		})
	}
}

// What a server hears and believes holds for the calls that it makes.
func TestCriticalityIsHandedOn(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	var n network
	var heard atomic.Pointer[[]string]
	last := join(t, ca, "payments", mesh.Options{Policy: parsePolicy(t, everybody)})
	_, listener := start(t, last, &echo{unary: func(ctx context.Context, text string) (string, error) {
		values := metadata.ValueFromIncomingContext(ctx, "x-mesh-criticality")
		heard.Store(&values)
		return text, nil
	}})
	n.add("payments:1", listener)
	middle := join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, overloaded)})
	onward := connect(t, middle, &n, "static:///payments:1", mesh.ExpectIdentity("spiffe://shop.test/payments"))
	_, listener = start(t, middle, &echo{unary: func(ctx context.Context, text string) (string, error) {
		return call(ctx, onward, echoMethod, text)
	}})
	n.add("orders:1", listener)
	for _, test := range []struct {
		caller string
		says   mesh.Criticality
		want   []string
	}{
		{"portico", mesh.CriticalPlus, []string{"critical-plus"}},
		{"portico", mesh.Sheddable, []string{"sheddable"}},
		{"fleet", mesh.CriticalPlus, nil},
		{"fleet", mesh.SheddablePlus, []string{"sheddable-plus"}},
		{"fleet", "urgent", nil},
	} {
		conn := connect(t, join(t, ca, test.caller, mesh.Options{}), &n, "static:///orders:1", mesh.ExpectIdentity(orders))
		if _, err := call(mesh.WithCriticality(t.Context(), test.says), conn, echoMethod, "x"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, *heard.Load()); diff != "" {
			t.Errorf("%s says %s: %s", test.caller, test.says, diff)
		}
	}
}

// A call with too little time left is not begun, whether it comes so or has waited too
// long; one that is given up while it waits leaves its place.
func TestMinRemainingTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		n, server, proceed := busy(t, ca)
		conn := connect(t, join(t, ca, "portico", mesh.Options{}), n, "static:///a:1", mesh.ExpectIdentity(orders))
		try := func(limit time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, err := call(ctx, conn, writeMethod, "x")
			return err
		}
		conn.Connect()
		synctest.Wait()
		if err := try(10 * time.Millisecond); status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "minRemainingTime") {
			t.Errorf("with too little time: %v", err)
		}
		var work sync.WaitGroup
		work.Go(func() { _ = try(time.Minute) })
		synctest.Wait()
		work.Go(func() {
			if err := try(time.Second); status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("given up: %v", err)
			}
		})
		time.Sleep(2 * time.Second)
		if s := server.Stats().Overloads[1]; s.Running != 1 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
		work.Go(func() {
			if err := try(time.Second); status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "minRemainingTime") {
				t.Errorf("after it has waited: %v", err)
			}
		})
		time.Sleep(990 * time.Millisecond)
		proceed <- struct{}{}
		work.Wait()
		if got := server.Stats().TooLate; got != 2 {
			t.Errorf("%d calls were too late, want 2", got)
		}
	})
}

// A stream waits its turn and then takes up no place.
func TestStreamsUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		n, server, proceed := busy(t, ca)
		conn := connect(t, join(t, ca, "portico", mesh.Options{}), n, "static:///a:1", mesh.ExpectIdentity(orders))
		open := func() error {
			stream, err := openStream(t.Context(), conn, chatMethod)
			if err != nil {
				return err
			}
			_ = stream.SendMsg(wrapperspb.String("x"))
			return stream.RecvMsg(new(wrapperspb.StringValue))
		}
		for range 3 {
			if err := open(); err != nil {
				t.Errorf("a stream of several: %v", err)
			}
		}
		var work sync.WaitGroup
		work.Go(func() { _, _ = call(t.Context(), conn, writeMethod, "x") })
		synctest.Wait()
		work.Go(func() {
			if err := open(); err != nil {
				t.Errorf("the stream that waits: %v", err)
			}
		})
		synctest.Wait()
		if err := open(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("the stream beyond: %v", err)
		}
		proceed <- struct{}{}
		work.Wait()
		if s := server.Stats().Overloads[1]; s.Running != 0 || s.Shed != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A client that may retry comes again when the server says.
func TestShedCallsComeAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		n, _, proceed := busy(t, ca)
		client := join(t, ca, "portico", mesh.Options{
			Idempotent: func(string) bool { return true },
			Policy: parsePolicy(t, `kind: Route
hosts: ["a:1"]
http: [{retries: {attempts: 50, retryOn: resource-exhausted}}]`),
		})
		conn := connect(t, client, n, "static:///a:1", mesh.ExpectIdentity(orders))
		var work sync.WaitGroup
		for range 3 {
			work.Go(func() {
				if _, err := call(t.Context(), conn, writeMethod, "x"); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		close(proceed)
		work.Wait()
		if s := client.Stats(); s.Retries == 0 || s.Retries > 10 {
			t.Errorf("%d retries, want some, 10ms or more apart", s.Retries)
		}
	})
}

// A changed policy keeps what the server has learned.
func TestOverloadReload(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "mesh.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Error(err)
		}
	}
	write(overloaded)
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		var n network
		server := join(t, ca, "orders", mesh.Options{PolicyFile: file})
		_, listener := start(t, server, &echo{unary: func(_ context.Context, text string) (string, error) {
			time.Sleep(20 * time.Millisecond)
			return text, nil
		}})
		n.add("a:1", listener)
		conn := connect(t, join(t, ca, "portico", mesh.Options{}), &n, "static:///a:1", mesh.ExpectIdentity(orders))
		for range 200 {
			if _, err := call(t.Context(), conn, echoMethod, "x"); err != nil {
				t.Fatal(err)
			}
		}
		before := server.Stats().Overloads[0]
		write(strings.Replace(overloaded, "gradientControllerConfig: {}", "gradientControllerConfig: {}\n  maxPendingRequests: 7", 1))
		time.Sleep(3 * time.Second)
		after := server.Stats()
		if after.PolicyLoads != 1 || before.Base < 19*time.Millisecond || before.Base > 21*time.Millisecond || after.Overloads[0].Base != before.Base {
			t.Errorf("before %+v, after %+v", before, after)
		}
	})
}

func TestExplainOverload(t *testing.T) {
	t.Parallel()
	p := parsePolicy(t, overloaded)
	e := p.Explain(mesh.Query{Caller: spiffeid.RequireFromString(portico), Method: writeMethod})
	want := mesh.OverloadExplanation{Name: "orders", Rule: 1, MaxLimit: 1, Minimum: 20 * time.Millisecond, Trusted: true}
	if diff := cmp.Diff(want, e.Overload); diff != "" {
		t.Error(diff)
	}
	if line := "  overload: Overload \"orders\", rule 2, as many at a time as the server can bear, 1 at most, with 20ms left at least, as critical as the caller says\n"; !strings.Contains(e.String(), line) {
		t.Error(e)
	}
	e = p.Explain(mesh.Query{Caller: spiffeid.RequireFromString(portico), Method: "/grpc.health.v1.Health/Check"})
	if diff := cmp.Diff(mesh.OverloadExplanation{}, e.Overload); diff != "" {
		t.Errorf("a health check meets %+v", e.Overload)
	}
}
