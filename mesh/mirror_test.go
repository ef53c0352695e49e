package mesh_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
)

const mirrored = `kind: Destination
host: orders
identities: [spiffe://shop.test/orders]
subsets:
- {name: v1, labels: {version: v1}}
- {name: v2, labels: {version: v2}}
---
kind: Route
hosts: [orders]
http:
- route: [{destination: {host: orders, subset: v1}}]
  mirror: {host: orders, subset: v2}
  timeout: 10s
`

// copies counts what reaches a subset.
type copies struct {
	mu     sync.Mutex
	calls  map[string]int // by version
	marked map[string]int
}

func (c *copies) note(ctx context.Context, r replica) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		c.calls, c.marked = map[string]int{}, map[string]int{}
	}
	c.calls[r.version]++
	if len(metadata.ValueFromIncomingContext(ctx, "x-mesh-mirror")) > 0 {
		c.marked[r.version]++
	}
}

// Copies are marked, a share of the calls, and leave no trace at the caller.
func TestMirror(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen copies
		policy := parsePolicy(t, mirrored+"  mirrorPercentage: {value: 30}\n")
		client, conn := newVersions(t, twoVersions(), mesh.Options{Policy: policy}, func(ctx context.Context, r replica) error {
			seen.note(ctx, r)
			_ = grpc.SetHeader(ctx, metadata.Pairs("version", r.version))
			return nil
		})
		const calls = 1000
		for range calls {
			in := wrapperspb.String("x")
			var header metadata.MD
			reply := new(wrapperspb.StringValue)
			if err := conn.Invoke(t.Context(), echoMethod, in, reply, grpc.Header(&header)); err != nil {
				t.Fatal(err)
			}
			in.Value = "changed" // the copy is the mesh's own
			if header.Get("version")[0] != "v1" || reply.GetValue() != "v1" {
				t.Fatalf("the caller sees %v and %q", header, reply.GetValue())
			}
		}
		synctest.Wait()
		got := client.Stats()
		if n := seen.calls["v2"]; n < 242 || n > 358 || uint64(n) != got.Mirrors || seen.marked["v2"] != n || seen.marked["v1"] != 0 || seen.calls["v1"] != calls {
			t.Errorf("calls %v, marked %v, stats %+v: want 300 copies within four deviations", seen.calls, seen.marked, got)
		}
		if got.Calls != calls || got.Attempts != calls {
			t.Errorf("copies are counted as calls: %+v", got)
		}
	})
}

// Copies that hang, fail or cannot be sent do not show in the calls: neither in their
// answers, nor in their time, nor in the health of endpoints. They are bounded, and
// end with a deadline of their own.
func TestMirrorNeverHurts(t *testing.T) {
	t.Parallel()
	for name, handle := range map[string]func(context.Context) error{
		"hanging": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"failing": func(context.Context) error { return status.Error(codes.Unavailable, "down") },
		"absent":  nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				replicas := twoVersions()
				if handle == nil {
					replicas = replicas[:3]
				}
				client, conn := newVersions(t, replicas, mesh.Options{Policy: parsePolicy(t, mirrored)}, func(ctx context.Context, r replica) error {
					if r.version == "v2" {
						return handle(ctx)
					}
					return nil
				})
				began := time.Now()
				const calls = 500
				for range calls {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					if got, err := call(ctx, conn, echoMethod, "x"); err != nil || got != "v1" {
						t.Fatalf("call: %q, %v", got, err)
					}
					cancel()
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("%d calls took %v", calls, took)
				}
				synctest.Wait()
				got := client.Stats()
				if got.Mirrors+got.MirrorsDropped != calls || name == "hanging" && got.Mirrors != 100 {
					t.Errorf("%d copies, %d dropped", got.Mirrors, got.MirrorsDropped)
				}
				time.Sleep(10*time.Second + time.Millisecond)
				synctest.Wait()
				for _, e := range client.Stats().Endpoints {
					if e.Ejected || e.Active != 0 {
						t.Errorf("afterwards: %+v", e)
					}
				}
			})
		})
	}
}

// Requests of bytes are copied too; what cannot be is not.
func TestMirrorOfOtherKinds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, conn := newVersions(t, twoVersions(), mesh.Options{Policy: parsePolicy(t, strings.ReplaceAll(mirrored, "10s", "5s"))}, nil)
		message, err := proto.Marshal(wrapperspb.String("x"))
		if err != nil {
			t.Fatal(err)
		}
		var reply bytesReply
		if err := conn.Invoke(t.Context(), echoMethod, message, &reply, grpc.ForceCodecV2(bytesCodec{})); err != nil {
			t.Fatal(err)
		}
		_ = conn.Invoke(t.Context(), echoMethod, message, new([]byte), grpc.ForceCodecV2(bytesCodec{}))
		_ = conn.Invoke(t.Context(), echoMethod, struct{}{}, &reply, grpc.ForceCodecV2(bytesCodec{}))
		if got := client.Stats(); got.Mirrors != 1 || got.MirrorsDropped != 2 {
			t.Errorf("bytes, a reply and a request of unknown kinds: %+v", got)
		}
	})
}
