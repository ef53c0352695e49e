package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
)

// streams is some replicas of a service of streams, and a client of all.
type streams struct {
	client  *mesh.Mesh
	conn    *grpc.ClientConn
	servers []*mesh.Server
	opened  []atomic.Int64 // at each replica's handler
	events  events
}

// newStreams starts replicas in memory, in a ring: handle answers for the n-th stream
// that any of them gets, from one.
func newStreams(t *testing.T, replicas int, route string, o mesh.Options, handle func(n int64, stream grpc.ServerStream) error) *streams {
	t.Helper()
	ca := newCA(t, "shop.test", time.Hour)
	s := &streams{opened: make([]atomic.Int64, replicas)}
	var n network
	var count atomic.Int64
	addresses := make([]string, replicas)
	for i := range replicas {
		addresses[i] = fmt.Sprintf("replica-%d:1", i)
		server, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody)}), &echo{stream: func(stream grpc.ServerStream) error {
			s.opened[i].Add(1)
			return handle(count.Add(1), stream)
		}})
		s.servers = append(s.servers, server)
		n.add(addresses[i], listener)
	}
	target := "static:///" + strings.Join(addresses, ",")
	o.Policy = parsePolicy(t, "kind: Destination\nhost: "+target+"\nidentities: ["+orders+"]\n"+
		"trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {consecutiveGatewayErrors: 0}}\n"+
		"---\nkind: Route\nhosts: [\""+target+"\"]\nhttp: ["+route+"]\n")
	o.OnEvent = s.events.add
	s.client = join(t, ca, "portico", o)
	s.conn = connect(t, s.client, &n, target)
	s.conn.Connect()
	time.Sleep(time.Second)
	for slices.ContainsFunc(s.client.Stats().Endpoints, func(e mesh.EndpointStats) bool { return !e.Ready }) { // on a busy machine
		time.Sleep(10 * time.Millisecond)
	}
	return s
}

var errDown = status.Error(codes.Unavailable, "down")

// echoing answers each message, and ends with the client.
func echoing(stream grpc.ServerStream) error { return (&echo{}).serveStream(stream) }

// converse sends messages on a stream, closes it, and returns what comes back.
func converse(stream grpc.ClientStream, texts ...string) (answers []string, err error) {
	for _, text := range texts {
		if err := stream.SendMsg(wrapperspb.String(text)); err != nil {
			return nil, fmt.Errorf("sending: %w", err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, fmt.Errorf("closing: %w", err)
	}
	for {
		msg := new(wrapperspb.StringValue)
		if err := stream.RecvMsg(msg); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return answers, err
		}
		answers = append(answers, msg.GetValue())
	}
}

// A stream that fails before its caller has seen anything of it goes to another
// replica, with all that was sent; one that was seen, or must not be repeated, fails.
func TestStreamRetry(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fail     func(stream grpc.ServerStream) error // of the first attempt
		route    string
		blind    bool // nothing is idempotent
		opts     []grpc.CallOption
		attempts int64
		want     codes.Code
	}{
		"before the header": {
			fail: func(grpc.ServerStream) error { return errDown }, attempts: 2,
		},
		"after it has read": {
			fail: func(stream grpc.ServerStream) error {
				for range 2 {
					if err := stream.RecvMsg(new(wrapperspb.StringValue)); err != nil {
						return err
					}
				}
				return errDown
			}, attempts: 2,
		},
		"after the header": {
			fail: func(stream grpc.ServerStream) error {
				_ = stream.SendHeader(metadata.MD{})
				return errDown
			}, attempts: 1, want: codes.Unavailable,
		},
		"after a message": {
			fail: func(stream grpc.ServerStream) error {
				_ = stream.SendMsg(wrapperspb.String("x"))
				return errDown
			}, attempts: 1, want: codes.Unavailable,
		},
		"with another code": {
			fail: func(grpc.ServerStream) error { return status.Error(codes.Internal, "broken") }, attempts: 1, want: codes.Internal,
		},
		"told not to": {
			fail: func(stream grpc.ServerStream) error {
				stream.SetTrailer(metadata.Pairs("grpc-retry-pushback-ms", "-1"))
				return errDown
			}, attempts: 1, want: codes.Unavailable,
		},
		"not idempotent": {
			fail: func(grpc.ServerStream) error { return errDown }, blind: true, attempts: 1, want: codes.Unavailable,
		},
		"no retries": {
			fail: func(grpc.ServerStream) error { return errDown }, route: `{retries: {attempts: 0}}`, attempts: 1, want: codes.Unavailable,
		},
		"too much to keep": {
			fail: func(grpc.ServerStream) error { return errDown }, opts: []grpc.CallOption{grpc.MaxRetryRPCBufferSize(4)}, attempts: 1, want: codes.Unavailable,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var heard atomic.Pointer[metadata.MD]
				route := `{retries: {attempts: 2, backoff: 10ms}}`
				if test.route != "" {
					route = test.route
				}
				s := newStreams(t, 2, route, mesh.Options{Idempotent: func(string) bool { return !test.blind }},
					func(n int64, stream grpc.ServerStream) error {
						if n == 1 {
							return test.fail(stream)
						}
						md, _ := metadata.FromIncomingContext(stream.Context())
						heard.Store(&md)
						return echoing(stream)
					})
				finished := 0
				var trailer metadata.MD
				opts := append([]grpc.CallOption{grpc.OnFinish(func(error) { finished++ }), grpc.Trailer(&trailer)}, test.opts...)
				stream, err := s.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, chatMethod, opts...)
				if err != nil {
					t.Fatal(err)
				}
				var answers []string
				if test.attempts > 1 {
					answers, err = converse(stream, "a", "b", "c")
				} else {
					for _, text := range []string{"a", "b", "cdefghij"} { // one that has failed says so with EOF
						if err := stream.SendMsg(wrapperspb.String(text)); err != nil && !errors.Is(err, io.EOF) {
							t.Errorf("sending: %v", err)
						}
					}
					for err == nil {
						err = stream.RecvMsg(new(wrapperspb.StringValue))
					}
				}
				if status.Code(err) != test.want {
					t.Errorf("%v, want %v", err, test.want)
				}
				if again := stream.RecvMsg(new(wrapperspb.StringValue)); again == nil {
					t.Error("a message after the end")
				}
				if a, b := s.opened[0].Load(), s.opened[1].Load(); a+b != test.attempts || a > 1 || b > 1 {
					t.Errorf("%d and %d streams, want %d at different replicas", a, b, test.attempts)
				}
				synctest.Wait()
				if finished != 1 {
					t.Errorf("finished %d times", finished)
				}
				if test.attempts == 1 {
					if got := s.client.Stats().Retries; got != 0 {
						t.Errorf("%d retries", got)
					}
					return
				}
				if diff := cmp.Diff([]string{"a", "b", "c"}, answers); diff != "" {
					t.Error(diff)
				}
				if got := heard.Load().Get("grpc-previous-rpc-attempts"); len(got) != 1 || got[0] != "1" {
					t.Errorf("the second attempt says %q", got)
				}
				if got := s.events.of(mesh.AttemptRetried); len(got) != 1 || got[0].Method != chatMethod || got[0].Endpoint == "" || s.client.Stats().Retries != 1 {
					t.Errorf("events %+v", got)
				}
			})
		})
	}
}

// A caller may ask for the header first; a stream of one answer is retried, too.
func TestStreamRetryInHeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, 3, `{retries: {attempts: 2, backoff: 10ms}}`, mesh.Options{}, func(n int64, stream grpc.ServerStream) error {
			if n%3 != 0 {
				return errDown
			}
			_ = stream.SetHeader(metadata.Pairs("x-attempt", strconv.FormatInt(n, 10)))
			return echoing(stream)
		})
		stream, err := openStream(t.Context(), s.conn, chatMethod)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.SendMsg(wrapperspb.String("a")); err != nil {
			t.Fatal(err)
		}
		header, err := stream.Header()
		if got := header.Get("x-attempt"); err != nil || len(got) != 1 || got[0] != "3" {
			t.Errorf("header %v, %v", header, err)
		}
		if answers, err := converse(stream); err != nil || len(answers) != 1 {
			t.Errorf("%q, %v", answers, err)
		}
		uploads, err := s.conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, chatMethod)
		if err != nil {
			t.Fatal(err)
		}
		_ = uploads.SendMsg(wrapperspb.String("b"))
		_ = uploads.CloseSend()
		msg := new(wrapperspb.StringValue)
		if err := uploads.RecvMsg(msg); err != nil || msg.GetValue() != "b" {
			t.Errorf("%q, %v", msg.GetValue(), err)
		}
		if got := s.client.Stats().Retries; got != 4 || uploads.Context().Err() == nil {
			t.Errorf("%d retries, want 4, and a context that has ended", got)
		}
	})
}

// A stream may end well without a header and a message, and says so as often as asked.
func TestStreamRetryOfNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, 2, `{retries: {attempts: 2, backoff: 10ms}}`, mesh.Options{}, func(n int64, _ grpc.ServerStream) error {
			if n == 1 {
				return errDown
			}
			return nil
		})
		var ended []error
		stream, err := s.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, chatMethod, grpc.OnFinish(func(err error) { ended = append(ended, err) }))
		if err != nil {
			t.Fatal(err)
		}
		if header, err := stream.Header(); len(header) != 0 || err != nil {
			t.Errorf("header %v, %v", header, err)
		}
		for range 2 {
			if err := stream.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
				t.Errorf("%v, want the end", err)
			}
		}
		synctest.Wait()
		if len(ended) != 1 || ended[0] != nil || s.client.Stats().Retries != 1 {
			t.Errorf("finished with %v, after %d retries", ended, s.client.Stats().Retries)
		}
	})
}

// When all attempts fail the caller hears of the last, from Header and RecvMsg alike; and
// the budget bounds them.
func TestStreamRetriesEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, 2, `{retries: {attempts: 3, backoff: 10ms}}`, mesh.Options{}, func(n int64, _ grpc.ServerStream) error {
			return status.Errorf(codes.Unavailable, "down, %d", n)
		})
		stream, err := openStream(t.Context(), s.conn, chatMethod)
		if err != nil {
			t.Fatal(err)
		}
		if header, err := stream.Header(); header != nil || err != nil {
			t.Errorf("header %v, %v", header, err)
		}
		for range 2 {
			if err := stream.RecvMsg(new(wrapperspb.StringValue)); err == nil || !strings.Contains(err.Error(), "down, 4") {
				t.Errorf("%v, want the fourth attempt's", err)
			}
		}
		const calls = 1000
		for range calls {
			if stream, err = openStream(t.Context(), s.conn, chatMethod); err == nil {
				err = stream.RecvMsg(new(wrapperspb.StringValue))
			}
			if status.Code(err) != codes.Unavailable {
				t.Fatal(err)
			}
		}
		if n := s.opened[0].Load() + s.opened[1].Load(); n > calls*12/10+110 || s.client.Stats().RetriesRefused == 0 {
			t.Errorf("%d attempts of %d streams, want a fifth more, and the reserve", n, calls)
		}
	})
}

// perTryTimeout is for the header. A replica that says nothing is left, and judged; one
// that has said something may take its time.
func TestStreamPerTryTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, 2, `{retries: {attempts: 1, perTryTimeout: 100ms, backoff: 10ms}}`, mesh.Options{}, func(n int64, stream grpc.ServerStream) error {
			if n != 2 {
				<-stream.Context().Done()
				return stream.Context().Err()
			}
			_ = stream.SendHeader(metadata.MD{})
			time.Sleep(time.Second)
			return echoing(stream)
		})
		began := time.Now()
		stream, err := openStream(t.Context(), s.conn, chatMethod)
		if err != nil {
			t.Fatal(err)
		}
		if answers, err := converse(stream, "a"); err != nil || len(answers) != 1 || time.Since(began) < 1100*time.Millisecond {
			t.Errorf("%q, %v after %v", answers, err, time.Since(began))
		}
		if stream, err = openStream(t.Context(), s.conn, chatMethod); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "perTryTimeout") {
			t.Errorf("when none answers: %v", err)
		}
	})
}

// A caller who leaves while the next attempt waits is let go at once.
func TestStreamRetryCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, 2, `{retries: {attempts: 5, backoff: 10s}}`, mesh.Options{}, func(int64, grpc.ServerStream) error { return errDown })
		ctx, cancel := context.WithCancel(t.Context())
		finished := 0
		stream, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, chatMethod, grpc.OnFinish(func(error) { finished++ }))
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		if err := stream.RecvMsg(new(wrapperspb.StringValue)); err == nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if n := s.opened[0].Load() + s.opened[1].Load(); n != 1 || finished != 1 {
			t.Errorf("%d attempts, finished %d times", n, finished)
		}
	})
}

// Streams move on when their server goes away, while they send and receive at a time;
// those that have begun to receive fail and are few.
func TestStreamsOutliveAServer(t *testing.T) {
	t.Parallel()
	s := newStreams(t, 3, `{retries: {attempts: 3, backoff: 5ms}}`, mesh.Options{}, func(_ int64, stream grpc.ServerStream) error {
		// Answers when it has heard all.
		var all []string
		for {
			msg := new(wrapperspb.StringValue)
			if err := stream.RecvMsg(msg); errors.Is(err, io.EOF) {
				return stream.SendMsg(wrapperspb.String(strings.Join(all, "")))
			} else if err != nil {
				return err
			}
			all = append(all, msg.GetValue())
		}
	})
	var work sync.WaitGroup
	for i := range 60 {
		work.Go(func() {
			for range 5 {
				stream, err := openStream(t.Context(), s.conn, chatMethod)
				if err != nil {
					t.Error(err)
					return
				}
				received := make(chan error, 1)
				msg := new(wrapperspb.StringValue)
				go func() { received <- stream.RecvMsg(msg) }()
				for part := range 10 {
					if err := stream.SendMsg(wrapperspb.String(strconv.Itoa(part))); err != nil {
						t.Errorf("sending: %v", err)
					}
					time.Sleep(time.Duration(i%5) * time.Millisecond)
				}
				_ = stream.CloseSend()
				if err := <-received; err != nil || msg.GetValue() != "0123456789" {
					t.Errorf("%q, %v", msg.GetValue(), err)
				}
				_ = stream.RecvMsg(new(wrapperspb.StringValue))
			}
		})
	}
	for s.opened[1].Load() < 5 {
		time.Sleep(time.Millisecond)
	}
	s.servers[1].Stop()
	work.Wait()
	if s.client.Stats().Retries == 0 {
		t.Error("no stream was on the server that went away")
	}
}
