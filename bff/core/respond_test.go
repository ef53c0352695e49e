package core

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/upstream"
)

// responding lets clients see some of what every service answers.
func responding(o *Options) {
	for name, cfg := range o.Upstreams {
		cfg.Headers.Respond = []string{"X-Region", "x-sum-bin"}
		o.Upstreams[name] = cfg
	}
}

// Clients see what is listed of a service's headers and trailers, and nothing else; a cached answer has the same.
func TestRespond(t *testing.T) {
	t.Parallel()
	s := newShop(t, responding)
	header := metadata.MD{"x-region": {"north", "south"}, "server": {"internal-7"}, "x-region-secret": {"s"}}
	trailer := metadata.MD{"x-sum-bin": {"\x00\xff"}, "set-cookie": {"a=b"}}
	s.next.invoke = func(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
		return upstream.Reply{Header: header, Trailer: trailer}, nil
	}
	wantHeader, wantTrailer := metadata.MD{"x-region": {"north", "south"}}, metadata.MD{"x-sum-bin": {"\x00\xff"}}
	for _, method := range []string{getOrder, getProduct, getProduct} {
		reply, err := s.get(as(t.Context(), "usr-0001"), t, method, "")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wantHeader, reply.Header) + cmp.Diff(wantTrailer, reply.Trailer); diff != "" {
			t.Errorf("%s: %s", method, diff)
		}
	}
	if got := len(s.next.seen()); got != 2 {
		t.Errorf("%d calls, want 2: one answer comes from the cache", got)
	}
	// An answer that has none of it brings no empty metadata.
	header, trailer = metadata.MD{"server": {"x"}}, nil
	if reply, err := s.get(as(t.Context(), "usr-0001"), t, getOrder, ""); err != nil || reply.Header != nil || reply.Trailer != nil {
		t.Errorf("got %+v, %v", reply, err)
	}
}

// What a service says beside an error passes the same list, and nobody keeps it.
func TestRespondOfFailures(t *testing.T) {
	t.Parallel()
	s := newShop(t, responding)
	s.next.invoke = func(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
		return upstream.Reply{
			Message: []byte("half"), Header: metadata.Pairs("x-region", "north", "server", "x"),
			Trailer: metadata.Pairs("x-sum-bin", "\x01", "server", "x"),
		}, status.Error(codes.NotFound, "no such thing")
	}
	wantHeader, wantTrailer := metadata.MD{"x-region": {"north"}}, metadata.MD{"x-sum-bin": {"\x01"}}
	for _, method := range []string{getOrder, getProduct} {
		reply, err := s.get(as(t.Context(), "usr-0001"), t, method, "")
		diff := cmp.Diff(wantHeader, reply.Header) + cmp.Diff(wantTrailer, reply.Trailer)
		if diff != "" || reply.Message != nil || codeOf(t, err) != codes.NotFound {
			t.Errorf("%s: %q, %s, %v", method, reply.Message, diff, err)
		}
	}
	s.next.invoke = func(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
		return upstream.Reply{}, nil
	}
	if reply, err := s.get(as(t.Context(), "usr-0001"), t, getProduct, ""); err != nil || reply.Header != nil || reply.Trailer != nil {
		t.Errorf("after the failure: %+v, %v", reply, err)
	}
}

// told is a stream that ends at once, with metadata.
type told struct{ upstream.Stream }

func (told) Recv() ([]byte, error) { return nil, io.EOF }
func (told) Header() (metadata.MD, error) {
	return metadata.Pairs("x-region", "north", "server", "x"), nil
}
func (told) Trailer() metadata.MD { return metadata.Pairs("x-sum-bin", "\x01", "server", "x") }

func TestRespondOfStreams(t *testing.T) {
	t.Parallel()
	s := newShop(t, responding)
	s.next.open = func(context.Context, *upstream.Method) (upstream.Stream, error) { return told{}, nil }
	stream, err := s.Open(as(t.Context(), "usr-0001"), s.method(t, watchReadings))
	if err != nil {
		t.Fatal(err)
	}
	header, err := stream.Header()
	if diff := cmp.Diff(metadata.MD{"x-region": {"north"}}, header); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if md := stream.Trailer(); md != nil {
		t.Errorf("trailers before the end: %v", md)
	}
	if _, err := stream.Recv(); err != io.EOF { //nolint:errorlint // the end is io.EOF itself
		t.Error(err)
	}
	if diff := cmp.Diff(metadata.MD{"x-sum-bin": {"\x01"}}, stream.Trailer()); diff != "" {
		t.Error(diff)
	}
}

func TestRespondMistakes(t *testing.T) {
	t.Parallel()
	o := shopOptions(t)
	o.Next = &services{}
	o.Upstreams["bad"] = upstream.Config{Headers: upstream.Headers{
		Respond: []string{"x-ok", "X-OK", "a b", "Set-Cookie", "content-type", "Grpc-Status", "access-control-allow-origin", "x-also-ok"},
	}}
	_, err := New(o)
	var got []string
	for _, m := range mistake.List(err) {
		got = append(got, strings.TrimPrefix(strings.Join(m.Path, " "), "upstreams bad headers "))
	}
	if diff := cmp.Diff([]string{"respond 1", "respond 2", "respond 3", "respond 4", "respond 5", "respond 6"}, got); diff != "" {
		t.Error(diff)
	}
}

// Who has yet to show credentials may do nothing, not even what everybody may.
func TestPending(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) {
		o.Methods[watchReadings] = MethodConfig{Allow: "true"}
		o.Methods[track] = MethodConfig{Allow: `request.message.box_id != "x"`}
	})
	ctx := auth.NewContext(as(t.Context(), ""), &auth.Principal{Kind: auth.Anonymous, Pending: true})
	if _, err := s.get(ctx, t, getProduct, ""); codeOf(t, err) != codes.Unauthenticated {
		t.Errorf("a call: %v", err)
	}
	if _, err := s.Open(ctx, s.method(t, watchReadings)); codeOf(t, err) != codes.Unauthenticated {
		t.Errorf("a stream: %v", err)
	}
	if _, err := s.Share(ctx, s.method(t, watchReadings), nil); codeOf(t, err) != codes.Unauthenticated {
		t.Errorf("a shared stream: %v", err)
	}
	stream, err := s.Open(ctx, s.method(t, track))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(nil); codeOf(t, err) != codes.Unauthenticated {
		t.Errorf("a message: %v", err)
	}
	if got := len(s.next.seen()); got != 0 {
		t.Errorf("%d calls", got)
	}
}
