package core

import (
	"context"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/upstream"
)

func TestOutgoingHeaders(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) {
		o.Upstreams["orders"] = upstream.Config{Services: []string{"shop.orders.v1.OrderService"}, Headers: upstream.Headers{
			Forward: []string{"Accept-Language", "X-Trace-Bin", "x-hop"},
			Set: map[string]string{
				"X-User-ID": "{principal.subject}", "x-user-role": "{principal.roles}", "x-from": "{request.door}/{header.x-app}",
				"x-static": "portico", "x-tenant": "t:{principal.claims.org.tenant}", "x-level": "{principal.claims.level}",
			},
		}}
	})
	ctx := as(t.Context(), "usr-0001",
		"X-User-Id", "usr-9999", "X-User-Role", "admin", "x_user_id", "usr-9999", "Authorization", "Bearer secret", "Cookie", "a=b",
		"Accept-Language", "de", "X-Hop", "1", "Connection", "keep-alive, X-Hop", "Te", "trailers", "X-App", "ios",
		"X-Trace-Bin", "aGk=, AAH/", "X-Request-Id", "forged", "Grpc-Timeout", "1n", "Traceparent", "00-forged", "X-Static", "forged")
	ctx = auth.NewContext(ctx, &auth.Principal{
		Subject: "usr-0001", Kind: auth.User, Authenticated: true, Roles: []string{"customer", "vip", "a,admin"},
		Claims: map[string]any{"level": 3.0, "org": map[string]any{}},
	})
	// Metadata that a door left in the context is not sent.
	ctx = metadata.NewOutgoingContext(ctx, metadata.Pairs("x-user-id", "usr-9999"))
	if _, err := s.get(ctx, t, getOrder, ""); err != nil {
		t.Fatal(err)
	}
	want := metadata.MD{
		"x-user-id": {"usr-0001"}, "x-user-role": {"customer,vip"}, "x-from": {"mobile/ios"}, "x-static": {"portico"}, "x-level": {"3"},
		"accept-language": {"de"}, "x-trace-bin": {"hi", "\x00\x01\xff"}, "x-request-id": {"req-usr-0001"},
	}
	if diff := cmp.Diff(want, s.next.seen()[0].md); diff != "" {
		t.Error(diff)
	}
}

// Metadata that clients mark as such passes only if configuration wants it, and never onto a name that we set.
func TestForwardedMetadata(t *testing.T) {
	t.Parallel()
	sent := []string{
		"Grpc-Metadata-X-Tenant", "t1", "Grpc-Metadata-X-Raw-Bin", "aGk=", "Grpc-Metadata-X-User-Id", "usr-9999", "Grpc-Metadata-Authorization", "Bearer x",
		"Grpc-Metadata-Te", "x", "Grpc-Metadata-Grpc-Timeout", "1n", "Grpc-Metadata-X-Request-Id", "forged", "Grpc-Metadata-", "x",
		"Grpc-Metadata-X-Hop", "1", "Grpc-Metadata-X-App", "forged", "Connection", "Grpc-Metadata-X-Hop", "X-App", "ios", "X-Tenant", "t2",
	}
	for name, test := range map[string]struct {
		forward []string
		want    metadata.MD
	}{
		"none":          {nil, metadata.MD{}},
		"one":           {[]string{"Grpc-Metadata-X-Tenant"}, metadata.MD{"x-tenant": {"t1"}}},
		"one for us":    {[]string{"grpc-metadata-x-hop"}, metadata.MD{}},
		"one by itself": {[]string{"grpc-metadata-authorization"}, metadata.MD{"authorization": {"Bearer x"}}},
		"all": {
			[]string{"x-app", "Grpc-Metadata-*"},
			metadata.MD{"x-app": {"ios"}, "x-tenant": {"t1"}, "x-raw-bin": {"hi"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, func(o *Options) {
				for name, cfg := range o.Upstreams {
					cfg.Headers = upstream.Headers{Forward: test.forward, Set: map[string]string{"x-user-id": "{principal.subject}"}}
					o.Upstreams[name] = cfg
				}
			})
			if _, err := s.get(as(t.Context(), "usr-0001", sent...), t, getOrder, ""); err != nil {
				t.Fatal(err)
			}
			test.want["x-user-id"], test.want["x-request-id"] = []string{"usr-0001"}, []string{"req-usr-0001"}
			if diff := cmp.Diff(test.want, s.next.seen()[0].md); diff != "" {
				t.Error(diff)
			}
			// A shared answer depends on nothing that anybody says of themselves.
			if _, err := s.get(as(t.Context(), "", "Grpc-Metadata-X-Tenant", "t1"), t, getProduct, ""); err != nil {
				t.Fatal(err)
			}
			if got := s.next.seen()[1].md.Get("x-tenant"); name == "all" && got != nil {
				t.Errorf("a public call carries x-tenant %q", got)
			}
		})
	}
	s := newShop(t, func(o *Options) {
		o.Upstreams["orders"] = upstream.Config{Services: []string{"shop.orders.v1.OrderService"}, Headers: upstream.Headers{Forward: []string{"Grpc-Metadata-*"}}}
	})
	if _, err := s.get(as(t.Context(), "usr-0001", "Grpc-Metadata-X-Raw-Bin", "!"), t, getOrder, ""); codeOf(t, err) != codes.InvalidArgument {
		t.Errorf("malformed metadata: %v", err)
	}
	_, err := newHeaderPolicy(upstream.Headers{
		Set:     map[string]string{"x-user-id": "{principal.subject}"},
		Forward: []string{"Grpc-Metadata-X-User-Id", "Grpc-Metadata-Grpc-Timeout", "Grpc-Metadata-", "x-a", "Grpc-Metadata-X-A", "Grpc-Timeout"},
	})
	var wrong []string
	for _, m := range mistake.List(err) {
		wrong = append(wrong, m.Path[1])
	}
	if diff := cmp.Diff([]string{"0", "1", "2", "4", "5"}, wrong); diff != "" {
		t.Error(diff)
	}
}

func TestAnonymousSetsNoIdentity(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) { o.Methods[getOrder] = MethodConfig{Allow: "true"} })
	if _, err := s.get(as(t.Context(), "", "X-User-Id", "usr-9999"), t, getOrder, ""); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(metadata.MD{"x-request-id": {"req-"}, "x-call": {"req-"}}, s.next.seen()[0].md); diff != "" {
		t.Error(diff)
	}
}

func TestHeadersThatCannotBeSent(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	umlaut := auth.NewContext(as(t.Context(), ""), &auth.Principal{Subject: "usr-ü", Authenticated: true})
	if _, err := s.get(umlaut, t, getOrder, ""); codeOf(t, err) != codes.Internal {
		t.Errorf("got %v", err)
	}
	for name, value := range map[string]string{"Accept-Language": "d\xc3\xa4", "X-Trace-Bin": "!"} {
		if _, err := s.get(as(t.Context(), "usr-0001", name, value), t, getOrder, ""); codeOf(t, err) != codes.InvalidArgument {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if got := len(s.next.seen()); got != 0 {
		t.Errorf("%d calls", got)
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	s := newShop(t, func(o *Options) { o.Tracer = provider })
	header := http.Header{"Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, "Tracestate": {"a=b"}}
	ctx := propagation.TraceContext{}.Extract(as(t.Context(), "usr-0001"), propagation.HeaderCarrier(header))
	if _, err := s.get(ctx, t, getOrder, ""); err != nil {
		t.Fatal(err)
	}
	s.next.invoke = func(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
		return upstream.Reply{}, status.Error(codes.NotFound, "x")
	}
	if _, err := s.get(ctx, t, getOrder, ""); err == nil {
		t.Fatal("no error")
	}
	got := spans.GetSpans()
	if len(got) != 2 || got[0].Name != getOrder || got[0].Parent.SpanID().String() != "00f067aa0ba902b7" || got[1].Status.Description != "NOT_FOUND" {
		t.Fatalf("spans %+v", got)
	}
	md := s.next.seen()[0].md
	want := "00-4bf92f3577b34da6a3ce929d0e0e4736-" + got[0].SpanContext.SpanID().String() + "-01"
	if diff := cmp.Diff([]string{want}, md.Get("traceparent")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a=b"}, md.Get("tracestate")); diff != "" {
		t.Error(diff)
	}
	// Without a tracer, the caller's trace is still passed on.
	plain := newShop(t, nil)
	if _, err := plain.get(ctx, t, getOrder, ""); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(header["Traceparent"], plain.next.seen()[0].md.Get("traceparent")); diff != "" {
		t.Error(diff)
	}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	info := &request.Info{ID: "r-1", Door: request.Web, Header: http.Header{"X-A": {"1", "2"}}}
	p := &auth.Principal{
		Subject: "u", Kind: auth.User, Issuer: "i", Scopes: []string{"a", "b"},
		Claims: map[string]any{"list": []any{"x", 1.5, true, nil}, "a.b": "dotted", "o": map[string]any{"k": "v"}},
	}
	for text, want := range map[string]string{
		"{principal.kind}@{principal.issuer}": "user@i", "{principal.scopes}": "a,b", "{principal.claims.list}": "x,1.5,true",
		"{principal.claims.a.b}": "dotted", "{principal.claims.o.k}": "v", "{principal.claims.o}": "", "x{principal.claims.none}": "",
		"{header.x-a}": "1, 2", "{request.id}-{request.door}": "r-1-web", "plain": "plain", "{request.remote}": "",
	} {
		tpl, err := parseTemplate(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := tpl.expand(info, p); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
