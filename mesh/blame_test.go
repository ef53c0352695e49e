package mesh_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
)

// blamed makes one call or stream to a service whose replicas serve alike, where one
// failure ejects and opens the breaker, and says whether it did.
func blamed(t *testing.T, server mesh.Options, entry string, serve func(context.Context) error, calling func(*grpc.ClientConn) error) (ejected, opened bool) {
	t.Helper()
	ca := newCA(t, "shop.test", time.Hour)
	var n network
	for _, address := range []string{"a:1", "b:1"} {
		_, listener := start(t, join(t, ca, "orders", server), &echo{
			unary:  func(ctx context.Context, text string) (string, error) { return text, serve(ctx) },
			stream: func(stream grpc.ServerStream) error { return serve(stream.Context()) },
		})
		n.add(address, listener)
	}
	const target = "static:///a:1,b:1"
	client := join(t, ca, "portico", mesh.Options{Policy: parsePolicy(t, fmt.Sprintf(`kind: Destination
host: %q
identities: [%s]
trafficPolicy: {outlierDetection: {consecutiveGatewayErrors: 1}}
---
kind: Route
hosts: [%q]
http: [{%s, circuitBreaker: {consecutiveGatewayErrors: 1}}]
`, target, orders, target, entry))})
	conn := connect(t, client, &n, target)
	conn.Connect()
	time.Sleep(time.Second)
	if err := calling(conn); status.Code(err) != codes.DeadlineExceeded && status.Code(err) != codes.Canceled {
		t.Errorf("error = %v, want the end of the time", err)
	}
	time.Sleep(time.Second)
	s := client.Stats()
	return slices.ContainsFunc(s.Endpoints, func(e mesh.EndpointStats) bool { return e.Ejected }), s.Breakers[0].State == "open"
}

// A server is blamed for DEADLINE_EXCEEDED where it was silent for as long as the policy
// lets it: not where it says so itself while there is time, having looked at how much is
// left, nor where its caller's patience ended first.
func TestBlameForTime(t *testing.T) {
	t.Parallel()
	after := func(d time.Duration) func(context.Context) error {
		return func(context.Context) error {
			time.Sleep(d)
			return status.Error(codes.DeadlineExceeded, "so says the server")
		}
	}
	silent := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	tests := map[string]struct {
		entry          string
		serve          func(context.Context) error
		deadline       time.Duration // the caller's; zero: none
		cancel         time.Duration // when it leaves; zero: it does not
		unary, streams bool          // blamed
		alone          bool          // not for streams
	}{
		"an answer at once, with a timeout":      {entry: "timeout: 10s", serve: after(0)},
		"an answer at once, by default":          {entry: "retries: {attempts: 1}", serve: after(0)},
		"an answer at once, within the attempt":  {entry: "timeout: 10s, retries: {attempts: 1, perTryTimeout: 2s}", serve: after(0)},
		"an answer at once, to hedges":           {entry: "timeout: 10s, hedging: {maxAttempts: 2, hedgingDelay: 10ms}", serve: after(0)},
		"an answer before the timeout":           {entry: "timeout: 2s, retries: {attempts: 0}", serve: after(1980 * time.Millisecond)},
		"an answer before a short timeout":       {entry: "timeout: 100ms, retries: {attempts: 0}", serve: after(98 * time.Millisecond)},
		"an answer by a clock that is fast":      {entry: "timeout: 2s, retries: {attempts: 0}", serve: after(1995 * time.Millisecond), unary: true},
		"the timeout":                            {entry: "timeout: 2s", serve: silent, unary: true, alone: true},
		"the default timeout":                    {entry: "retries: {attempts: 1}", serve: silent, unary: true, alone: true},
		"the timeout, of hedges":                 {entry: "timeout: 2s, hedging: {maxAttempts: 2, hedgingDelay: 10ms}", serve: silent, unary: true, alone: true},
		"the attempt's":                          {entry: "retries: {attempts: 1, perTryTimeout: 100ms}", serve: silent, unary: true, streams: true},
		"the attempt's, before the caller's":     {entry: "retries: {attempts: 1, perTryTimeout: 100ms}", serve: silent, deadline: 10 * time.Second, unary: true, streams: true},
		"the timeout, before the caller's":       {entry: "timeout: 1s", serve: silent, deadline: 2 * time.Second, unary: true},
		"the caller's":                           {entry: "timeout: 10s", serve: silent, deadline: 20 * time.Millisecond},
		"the caller's, before the attempt's":     {entry: "retries: {attempts: 1, perTryTimeout: 2s}", serve: silent, deadline: 20 * time.Millisecond},
		"the caller's, of hedges":                {entry: "retries: {attempts: 0, perTryTimeout: 2s}, hedging: {maxAttempts: 2, hedgingDelay: 5ms}", serve: silent, deadline: 20 * time.Millisecond},
		"the caller's, and no attempts are left": {entry: "retries: {attempts: 0, perTryTimeout: 2s}", serve: silent, deadline: 20 * time.Millisecond},
		"the caller's, less a margin":            {entry: "timeoutMargin: 10ms, retries: {attempts: 1, perTryTimeout: 2s}", serve: silent, deadline: time.Second},
		"the caller leaves":                      {entry: "retries: {attempts: 1, perTryTimeout: 2s}", serve: silent, cancel: 20 * time.Millisecond},
	}
	for name, test := range tests {
		for kind, want := range map[string]bool{"unary": test.unary, "stream": test.streams} {
			if kind == "stream" && test.alone {
				continue // it would not end
			}
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					ejected, opened := blamed(t, mesh.Options{Policy: parsePolicy(t, everybody)}, test.entry, test.serve, func(conn *grpc.ClientConn) error {
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						if test.deadline > 0 {
							ctx, cancel = context.WithTimeout(ctx, test.deadline)
							defer cancel()
						}
						if test.cancel > 0 {
							time.AfterFunc(test.cancel, cancel)
						}
						if kind == "unary" {
							_, err := call(ctx, conn, echoMethod, "x")
							return err
						}
						stream, err := openStream(ctx, conn, chatMethod)
						if err != nil {
							return err
						}
						return stream.RecvMsg(new(wrapperspb.StringValue))
					})
					if ejected != want || opened != want {
						t.Errorf("the endpoint is ejected: %v, the breaker is open: %v; want %v", ejected, opened, want)
					}
				})
			})
		}
	}
}

// An injected fault is to the breaker what a server would be that behaves so.
func TestBlameForFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		entry    string
		deadline time.Duration // the caller's
		opens    bool
	}{
		"a delay until the timeout":          {entry: "timeout: 1s, fault: {delay: {fixedDelay: 2s}}", deadline: time.Minute, opens: true},
		"a delay until the caller's":         {entry: "timeout: 10s, fault: {delay: {fixedDelay: 2s}}", deadline: time.Second},
		"an answer at once":                  {entry: "timeout: 1s, fault: {abort: {grpcStatus: DEADLINE_EXCEEDED}}", deadline: time.Minute},
		"an answer at once, with no timeout": {entry: "fault: {abort: {grpcStatus: DEADLINE_EXCEEDED}}", deadline: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ejected, opened := blamed(t, mesh.Options{Policy: parsePolicy(t, everybody)}, test.entry, nil, func(conn *grpc.ClientConn) error {
					ctx, cancel := context.WithTimeout(t.Context(), test.deadline)
					defer cancel()
					_, err := call(ctx, conn, echoMethod, "x")
					return err
				})
				if opened != test.opens || ejected {
					t.Errorf("the breaker is open: %v, want %v; an endpoint is ejected: %v", opened, test.opens, ejected)
				}
			})
		})
	}
}

// So a server of the mesh may refuse what it has no time for: that it says so at once
// costs it no calls.
func TestRefusingForLackOfTimeIsNoFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		busy := mesh.Options{Policy: parsePolicy(t, everybody+"---\nkind: Overload\nname: calls\nrules: [{minRemainingTime: 60ms, gradientControllerConfig: {}}]\n")}
		began, reached := time.Now(), false
		ejected, opened := blamed(t, busy, "timeout: 50ms, retries: {attempts: 0}", func(context.Context) error {
			reached = true
			return nil
		}, func(conn *grpc.ClientConn) error {
			began = time.Now()
			_, err := call(t.Context(), conn, echoMethod, "x")
			if time.Since(began) > 10*time.Millisecond {
				t.Errorf("the refusal took %v", time.Since(began))
			}
			return err
		})
		if ejected || opened || reached {
			t.Errorf("ejected %v, the breaker is open: %v, reached the handler: %v", ejected, opened, reached)
		}
	})
}
