package mesh_test

import (
	"context"
	"errors"
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
