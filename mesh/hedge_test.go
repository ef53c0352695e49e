package mesh_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
)

// hedging is a policy for a cluster of three.
const hedging = `---
kind: Route
hosts: ["static:///replica-0:1,replica-1:1,replica-2:1"]
http:
- timeout: 5s
  retries: {attempts: 1}
  hedging: {maxAttempts: 3, hedgingDelay: 50ms}
`

// One replica is slow: who meets it has an answer from another one after the delay.
func TestHedging(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var cancelled atomic.Int64
		c := newCluster(t, 3, hedging, func(i int, ctx context.Context) error {
			if err := grpc.SetHeader(ctx, metadata.Pairs("replica", strconv.Itoa(i))); err != nil {
				return err
			}
			if i == 1 {
				select {
				case <-ctx.Done():
					cancelled.Add(1)
				case <-time.After(time.Second):
				}
			}
			return nil
		})
		slow := int64(0)
		for range 30 {
			began := time.Now()
			var header metadata.MD
			reply := new(wrapperspb.StringValue)
			if err := c.conn.Invoke(t.Context(), echoMethod, wrapperspb.String("x"), reply, grpc.Header(&header)); err != nil || reply.GetValue() != "x" {
				t.Fatalf("call: %v, %v", reply, err)
			}
			if header.Get("replica")[0] == "1" {
				t.Error("the answer is the slow replica's")
			}
			if took := time.Since(began); took == 50*time.Millisecond {
				slow++
			} else if took != 0 {
				t.Errorf("a call took %v", took)
			}
		}
		synctest.Wait()
		hedges := c.client.Stats().Hedges
		if slow < 10 || slow > 15 || cancelled.Load() != slow || hedges != uint64(slow) {
			t.Errorf("%d calls met the slow replica, which was cancelled %d times; %+v", slow, cancelled.Load(), c.client.Stats())
		}
		// What is not idempotent waits.
		for range 3 {
			if _, err := call(t.Context(), c.conn, writeMethod, "x"); err != nil {
				t.Fatal(err)
			}
		}
		if n := c.client.Stats().Hedges; n != hedges {
			t.Errorf("%d more hedges for calls that may not be repeated", n-hedges)
		}
	})
}

// A hedge's failure leaves the answer to the attempts that run, the last failure
// counts, and an answer that is no failure of the service's is the answer.
func TestHedgesThatFail(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	tests := []struct {
		name     string
		after    []time.Duration // how long the n-th attempt takes
		codes    []codes.Code    // and how it ends
		want     codes.Code
		took     time.Duration
		attempts int64
	}{
		{"the hedge fails", []time.Duration{200 * ms, 10 * ms}, []codes.Code{codes.OK, codes.Unavailable}, codes.OK, 200 * ms, 4},
		{"the first fails", []time.Duration{60 * ms, 40 * ms}, []codes.Code{codes.Unavailable, codes.OK}, codes.OK, 90 * ms, 2},
		{"not found", []time.Duration{200 * ms, 10 * ms}, []codes.Code{codes.OK, codes.NotFound}, codes.NotFound, 60 * ms, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var attempts atomic.Int64
				c := newCluster(t, 3, hedging, func(_ int, ctx context.Context) error {
					n := min(int(attempts.Add(1)), len(test.codes)) - 1
					select {
					case <-time.After(test.after[n]):
					case <-ctx.Done():
						return ctx.Err()
					}
					return status.Error(test.codes[n], "as told")
				})
				began := time.Now()
				_, err := call(t.Context(), c.conn, echoMethod, "x")
				if took := time.Since(began); status.Code(err) != test.want || took != test.took {
					t.Errorf("after %v: %v, want %v after %v", took, err, test.want, test.took)
				}
				if n := attempts.Load(); n > test.attempts {
					t.Errorf("%d attempts", n)
				}
			})
		})
	}
}

// Hedges spend the retries' budget.
func TestHedgesAreBudgeted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, noReserve+hedging, func(_ int, ctx context.Context) error {
			select {
			case <-time.After(500 * time.Millisecond):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		const calls = 100
		for range calls {
			if _, err := call(t.Context(), c.conn, echoMethod, "x"); err != nil {
				t.Fatal(err)
			}
		}
		if n := c.total() - calls; n > calls/5 || n == 0 {
			t.Errorf("%d hedges for %d calls", n, calls)
		}
	})
}

// With hedgingPercentile the delay follows what calls take: the first hundred calls have
// hedgingDelay, the next ones hedge what is slower than nineteen in twenty, also after the
// service's pace has changed, and a changed policy forgets nothing.
func TestHedgingByPercentile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "mesh.yaml")
	write := func(timeout string) {
		writeFile(t, file, "kind: Destination\nhost: \"static:///a:1,b:1,c:1\"\nidentities: ["+orders+"]\n---\nkind: Route\nhosts: [\"static:///a:1,b:1,c:1\"]\n"+
			"http: [{name: all, timeout: "+timeout+", hedging: {maxAttempts: 2, hedgingDelay: 300ms, hedgingPercentile: {value: 95}}}]\n")
	}
	write("5s")
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		var n network
		var calls, pace atomic.Int64
		pace.Store(int64(10 * time.Millisecond))
		for _, address := range []string{"a:1", "b:1", "c:1"} {
			_, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody)}), &echo{unary: func(ctx context.Context, text string) (string, error) {
				wait := time.Duration(pace.Load())
				if calls.Add(1)%50 == 0 { // two in a hundred
					wait *= 20
				}
				select {
				case <-time.After(wait):
				case <-ctx.Done():
				}
				return text, ctx.Err()
			}})
			n.add(address, listener)
		}
		client := join(t, ca, "portico", mesh.Options{PolicyFile: file})
		conn := connect(t, client, &n, "static:///a:1,b:1,c:1")
		slowest := func(number int) (took time.Duration, hedges uint64) {
			t.Helper()
			before := client.Stats().Hedges
			for range number {
				began := time.Now()
				if _, err := call(t.Context(), conn, echoMethod, "x"); err != nil {
					t.Fatal(err)
				}
				took = max(took, time.Since(began))
			}
			return took, client.Stats().Hedges - before
		}
		if took, hedges := slowest(100); took != 200*time.Millisecond || hedges != 0 {
			t.Errorf("at first: %v, %d hedges; want what a slow call takes, and none before hedgingDelay", took, hedges)
		}
		if took, hedges := slowest(500); took > 22*time.Millisecond || hedges < 8 || hedges > 50 {
			t.Errorf("then: %v, %d hedges of 500 calls; want those hedged that take longer than 10ms", took, hedges)
		}
		write("6s")
		time.Sleep(2 * time.Second)
		if took, _ := slowest(100); took > 22*time.Millisecond || client.Stats().PolicyLoads != 1 {
			t.Errorf("after a reload: %v, %d loads", took, client.Stats().PolicyLoads)
		}
		pace.Store(int64(30 * time.Millisecond))
		slowest(1000) // it learns
		if took, hedges := slowest(500); took > 64*time.Millisecond || hedges < 8 || hedges > 50 {
			t.Errorf("at another pace: %v, %d hedges of 500 calls; want those hedged that take longer than 30ms", took, hedges)
		}
	})
}

// bytesReply is a reply of another codec's; taken counts how often one was taken
// from an attempt.
type bytesReply struct {
	text  []byte
	taken int
}

func (r *bytesReply) NewReply() any { return new(bytesReply) }

func (r *bytesReply) TakeReply(from any) {
	other, _ := from.(*bytesReply)
	r.text, r.taken = other.text, r.taken+1
}

// bytesCodec sends []byte and receives *bytesReply, as they are.
type bytesCodec struct{ encoding.CodecV2 }

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	text, ok := v.([]byte)
	if !ok {
		return nil, errors.New("want bytes")
	}
	return mem.BufferSlice{mem.SliceBuffer(text)}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	reply, ok := v.(*bytesReply)
	if !ok {
		return errors.New("want a bytesReply")
	}
	reply.text = data.Materialize()
	return nil
}

// Replies that are raw bytes are hedged too, through their interface.
func TestHedgingRawReplies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		c := newCluster(t, 3, hedging, func(_ int, ctx context.Context) error {
			if calls.Add(1) == 1 {
				<-ctx.Done()
			}
			return ctx.Err()
		})
		var reply bytesReply
		message := []byte{0x0a, 1, 'x'} // StringValue{"x"}
		if err := c.conn.Invoke(t.Context(), echoMethod, message, &reply, grpc.ForceCodecV2(bytesCodec{})); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(reply.text, message) || reply.taken != 1 || c.client.Stats().Hedges != 1 {
			t.Errorf("reply %q, taken %d times; %+v", reply.text, reply.taken, c.client.Stats())
		}
	})
}
