package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// authorization asks a server for every decision of a table: who may call which method,
// with which metadata. Streams are under the same rules as calls, and so are the health
// and reflection services, which everybody forgets; what no rule allows is denied, and
// a server without a policy denies everything. The mark is that no decision is wrong,
// and that no handler ran for a denied call.
func authorization(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	policy, err := l.File("policy.yaml", rules)
	if err != nil {
		return nil, err
	}
	ruled, err := l.Server(ctx, node.Config{Name: "ruled", Policy: policy})
	if err != nil {
		return nil, err
	}
	identity, err := l.Identity(ctx, lab.Service, 0)
	if err != nil {
		return nil, err
	}
	unruled, err := l.Start(ctx, node.Config{Name: "unruled", Identity: identity, Listen: "127.0.0.1:0"})
	if err != nil {
		return nil, err
	}
	clients := map[string]*lab.Process{}
	var wrong []string
	for _, row := range matrix() {
		if clients[row.who] == nil {
			if identity, err = l.Identity(ctx, row.who, 0); err != nil {
				return nil, err
			}
			if clients[row.who], err = l.Start(ctx, node.Config{Name: row.who, Identity: identity}); err != nil {
				return nil, err
			}
		}
		for server, allowed := range map[*lab.Process]map[string]bool{ruled: row.allowed, unruled: {}} {
			found, err := decisions(ctx, clients[row.who], server, row.headers, allowed)
			if err != nil {
				return nil, err
			}
			wrong = append(wrong, found...)
		}
	}
	if len(wrong) > 0 {
		err = errors.New(strings.Join(wrong, "; "))
	}
	return []figure.Figure{figure.Count("wrong_decisions", len(wrong), figure.Zero())}, err
}

// The methods of the table, by short names.
const (
	get        = "get"
	put        = "put"
	watch      = "watch"
	chat       = "chat"
	check      = "health check"
	follow     = "health watch"
	reflection = "reflection"
)

func methods() map[string]string {
	return map[string]string{
		get:        testpb.TestService_CacheableUnaryCall_FullMethodName,
		put:        testpb.TestService_UnaryCall_FullMethodName,
		watch:      testpb.TestService_StreamingOutputCall_FullMethodName,
		chat:       testpb.TestService_FullDuplexCall_FullMethodName,
		check:      grpc_health_v1.Health_Check_FullMethodName,
		follow:     grpc_health_v1.Health_Watch_FullMethodName,
		reflection: grpc_reflection_v1.ServerReflection_ServerReflectionInfo_FullMethodName,
	}
}

// rules are the server's.
const rules = `
kind: Authorization
name: readers
action: ALLOW
rules:
- from: [{source: {principals: [spiffe://chaos.test/reader]}}]
  to: [{operation: {paths: [/grpc.testing.TestService/CacheableUnaryCall, /grpc.testing.TestService/StreamingOutputCall]}}]
---
kind: Authorization
name: writers
action: ALLOW
rules:
- from: [{source: {principals: [spiffe://chaos.test/writer]}}]
  to: [{operation: {paths: [/grpc.testing.TestService/UnaryCall]}}]
  when: [{key: "request.headers[x-reason]", values: [ticket]}]
---
kind: Authorization
name: operators
action: ALLOW
rules:
- from: [{source: {principals: [spiffe://chaos.test/operator]}}]
  to: [{operation: {paths: ["*"]}}]
---
kind: Authorization
name: nobody-chats
action: DENY
rules:
- from: [{source: {principals: ["*"]}}]
  to: [{operation: {paths: [/grpc.testing.TestService/FullDuplexCall]}}]
---
kind: Authorization
name: probes
action: ALLOW
rules:
- from: [{source: {principals: [spiffe://chaos.test/prober]}}]
  to: [{operation: {paths: [/grpc.health.v1.Health/*]}}]
`

type row struct {
	who     string
	headers map[string]string
	allowed map[string]bool // other methods are denied
}

func matrix() []row {
	all := map[string]bool{get: true, put: true, watch: true, check: true, follow: true, reflection: true}
	return []row{
		{"reader", nil, map[string]bool{get: true, watch: true}},
		{"reader", map[string]string{"x-reason": "ticket"}, map[string]bool{get: true, watch: true}},
		{"writer", nil, nil},
		{"writer", map[string]string{"x-reason": "none"}, nil},
		{"writer", map[string]string{"x-reason": "ticket"}, map[string]bool{put: true}},
		{"operator", nil, all}, // but chat
		{"prober", nil, map[string]bool{check: true, follow: true}},
		{"stranger", nil, nil},
		{"stranger", map[string]string{"x-reason": "ticket"}, nil},
		{lab.Service, nil, nil}, // the server's own name is nothing special
	}
}

// decisions has one principal call every method, and returns where the server was wrong.
func decisions(ctx context.Context, client, server *lab.Process, headers map[string]string, allowed map[string]bool) (wrong []string, err error) {
	before, err := server.Served(ctx)
	if err != nil {
		return nil, err
	}
	handled := before.Calls
	for name, method := range methods() {
		answer, err := client.Ask(ctx, node.Call{Method: method, Headers: headers, Timeout: rawTimeout, Address: server.Address, Expect: lab.ID(lab.Service)})
		if err != nil {
			return nil, err
		}
		want := "PermissionDenied"
		if allowed[name] {
			want = "OK"
		}
		if allowed[name] && strings.HasPrefix(method, "/grpc.testing.") {
			handled++
		}
		if answer.Code != want {
			wrong = append(wrong, fmt.Sprintf("%s, %s with %v: %s: %s, want %s", server.Name, client.Name, headers, name, answer.Code, want))
		}
	}
	after, err := server.Served(ctx)
	if after.Calls != handled {
		wrong = append(wrong, fmt.Sprintf("%s ran %d calls of %s, want %d", server.Name, after.Calls-before.Calls, client.Name, handled-before.Calls))
	}
	return wrong, err
}
