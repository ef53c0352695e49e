package mesh_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
)

const matrixPolicy = `
kind: Authorization
name: doors
action: ALLOW
rules:
- from: [{source: {principals: [spiffe://shop.test/portico]}}]
  to: [{operation: {paths: [/mesh.test.Echo/*]}}]
---
kind: Authorization
name: payments-watches
action: ALLOW
rules:
- from: [{source: {principals: [spiffe://shop.test/payments]}}]
  to: [{operation: {paths: [/mesh.test.Echo/Watch, /mesh.test.Echo/Echo]}}]
---
kind: Authorization
name: nobody-writes-unless-marked
action: DENY
rules:
- to: [{operation: {paths: [/mesh.test.Echo/Write]}}]
  when: [{key: "request.headers[x-may-write]", notValues: ["yes"]}]
---
kind: Authorization
name: probes
action: ALLOW
rules:
- from: [{source: {principals: [spiffe://shop.test/probe]}}]
  to: [{operation: {paths: [/grpc.health.v1.Health/Check]}}]
- from: [{source: {principals: [spiffe://shop.test/tools]}}]
  to: [{operation: {paths: ["/grpc.reflection.v1.ServerReflection/*"]}}]
`

// Every principal and every method, calls and streams, health and reflection:
// allowed where a rule says so, and nowhere else.
func TestAuthorizationMatrix(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	server := join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, matrixPolicy)})
	s := server.NewServer()
	register(s, &echo{})
	reflection.Register(s)
	var n network
	n.add("a:1", listen(t, s))

	unary := func(method string) func(context.Context, *grpc.ClientConn) error {
		return func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := call(ctx, conn, method, "x")
			return err
		}
	}
	stream := func(method string) func(context.Context, *grpc.ClientConn) error {
		return func(ctx context.Context, conn *grpc.ClientConn) error {
			stream, err := openStream(ctx, conn, method)
			if err != nil {
				return err
			}
			_ = stream.SendMsg(wrapperspb.String("x"))
			_ = stream.CloseSend()
			if err = stream.RecvMsg(new(wrapperspb.StringValue)); errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
	methods := []struct {
		name  string
		try   func(context.Context, *grpc.ClientConn) error
		allow map[string]bool
	}{
		{"Echo", unary(echoMethod), map[string]bool{"portico": true, "payments": true}},
		{"Write", unary(writeMethod), nil},
		{"Write, marked", func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := call(metadata.AppendToOutgoingContext(ctx, "x-may-write", "yes"), conn, writeMethod, "x")
			return err
		}, map[string]bool{"portico": true}},
		{"Watch", stream(watchMethod), map[string]bool{"portico": true, "payments": true}},
		{"Chat", stream(chatMethod), map[string]bool{"portico": true}},
		{"health check", func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
			return err
		}, map[string]bool{"probe": true}},
		{"health watch", func(ctx context.Context, conn *grpc.ClientConn) error {
			watch, err := grpc_health_v1.NewHealthClient(conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
			if err != nil {
				return err
			}
			_, err = watch.Recv()
			return err
		}, nil},
		{"reflection", func(ctx context.Context, conn *grpc.ClientConn) error {
			info, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
			if err != nil {
				return err
			}
			_ = info.CloseSend()
			if _, err = info.Recv(); errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}, map[string]bool{"tools": true}},
	}
	for _, principal := range []string{"portico", "payments", "fleet", "probe", "tools", "portico2", "orders"} {
		client := join(t, ca, principal, mesh.Options{})
		conn := connect(t, client, &n, "static:///a:1", mesh.ExpectIdentity(orders))
		for _, method := range methods {
			t.Run(principal+" "+method.name, func(t *testing.T) {
				t.Parallel()
				want := codes.PermissionDenied
				if method.allow[principal] {
					want = codes.OK
				}
				if err := method.try(t.Context(), conn); status.Code(err) != want {
					t.Errorf("%v, want %v", err, want)
				}
			})
		}
	}
}

// A policy in dry run is seen in events and counts alone.
func TestDryRun(t *testing.T) {
	t.Parallel()
	var seen events
	ca := newCA(t, "shop.test", time.Hour)
	server := join(t, ca, "orders", mesh.Options{OnEvent: seen.add, Policy: parsePolicy(t, everybody+`---
kind: Authorization
name: no-writes
action: DENY
dryRun: true
rules:
- to: [{operation: {paths: [/mesh.test.Echo/Write]}}]
`)})
	_, listener := start(t, server, &echo{})
	var n network
	n.add("a:1", listener)
	conn := connect(t, join(t, ca, "portico", mesh.Options{}), &n, "static:///a:1", mesh.ExpectIdentity(orders))
	for _, method := range []string{echoMethod, writeMethod} {
		if _, err := call(t.Context(), conn, method, "x"); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
	differs := seen.of(mesh.DryRunDiffers)
	if len(differs) != 1 || differs[0].Method != writeMethod || differs[0].Policy != "no-writes" || server.Stats().DryRunDiffers != 1 {
		t.Errorf("events %+v, stats %+v", differs, server.Stats())
	}
}

func TestWithoutPolicyAllIsDenied(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	var denied []mesh.Event
	server := join(t, ca, "orders", mesh.Options{OnEvent: func(e mesh.Event) { denied = append(denied, e) }})
	_, listener := start(t, server, &echo{})
	var n network
	n.add("a:1", listener)
	conn := connect(t, join(t, ca, "portico", mesh.Options{}), &n, "static:///a:1", mesh.ExpectIdentity(orders))
	if _, err := call(t.Context(), conn, echoMethod, "x"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("call: %v, want PERMISSION_DENIED", err)
	}
	if len(denied) != 1 || denied[0].Kind != mesh.CallDenied || denied[0].Method != echoMethod || denied[0].Peer.String() != portico {
		t.Errorf("events: %+v", denied)
	}
	if s := server.Stats(); s.Denied != 1 || s.Allowed != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// The audit hook hears of denials, of what a dry run would change and of a share of the
// rest; a flood of denials does not become one of the log.
func TestAudit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		var mu sync.Mutex
		heard := map[mesh.Decision]int{}
		server := join(t, ca, "orders", mesh.Options{
			AuditShare: 0.25,
			Audit: func(d mesh.Decision) {
				mu.Lock()
				defer mu.Unlock()
				if d.Time != time.Now() {
					t.Errorf("a decision of %v", d.Time)
				}
				d.Time = time.Time{}
				heard[d]++
			},
			Policy: parsePolicy(t, allowing("portico")+`---
kind: Authorization
name: no-writes
action: DENY
dryRun: true
rules:
- to: [{operation: {paths: [/mesh.test.Echo/Write]}}]
`),
		})
		_, listener := start(t, server, &echo{})
		var n network
		n.add("a:1", listener)
		for _, name := range []string{"portico", "fleet"} {
			conn := connect(t, join(t, ca, name, mesh.Options{}), &n, "static:///a:1", mesh.ExpectIdentity(orders))
			for range 1000 {
				_, _ = call(t.Context(), conn, echoMethod, "x")
			}
			time.Sleep(time.Second)
			_, _ = call(t.Context(), conn, writeMethod, "x")
			time.Sleep(time.Second)
		}
		mu.Lock()
		defer mu.Unlock()
		allowed, fleet := spiffeid.RequireFromString(portico), spiffeid.RequireFromString("spiffe://shop.test/fleet")
		if got := heard[mesh.Decision{Peer: allowed, Method: echoMethod, Allowed: true, Policy: "everybody"}]; got < 180 || got > 320 {
			t.Errorf("it heard of %d of 1000 allowed calls, want about 250", got)
		}
		if got := heard[mesh.Decision{Peer: allowed, Method: writeMethod, Allowed: true, Policy: "everybody", DryRun: "no-writes"}]; got != 1 {
			t.Errorf("it heard %d times of what the dry run would change", got)
		}
		if got := heard[mesh.Decision{Peer: fleet, Method: echoMethod, Rule: -1}]; got != 100 {
			t.Errorf("it heard of %d of 1000 denials at once, want 100", got)
		}
		if got := heard[mesh.Decision{Peer: fleet, Method: writeMethod, Rule: -1}]; got != 1 || len(heard) != 4 {
			t.Errorf("%v", heard)
		}
		if s := server.Stats(); s.Denied != 1001 || s.Allowed != 1001 {
			t.Errorf("%d denied and %d allowed are counted", s.Denied, s.Allowed)
		}
	})
}
