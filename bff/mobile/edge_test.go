package mobile_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/edge"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/limit"
	"github.com/portico-bff/portico/bff/mobile"
	"github.com/portico-bff/portico/bff/request"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
	"github.com/portico-bff/portico/upstream"
)

// fleet answers streams: it counts positions, and sends readings until its client leaves.
type fleet struct{ caller }

func (fleet) Identify(_ context.Context, cred auth.Credentials) (*auth.Principal, error) {
	switch cred.Bearer {
	case "":
		return nil, fault.New(codes.Unauthenticated, "authentication is required")
	case "bad":
		return nil, fault.New(codes.Unauthenticated, "the token is not valid")
	}
	return &auth.Principal{Subject: cred.Bearer, Kind: auth.User, Authenticated: true}, nil
}

func (f fleet) Authenticate(ctx context.Context, cred auth.Credentials) (context.Context, error) {
	p, err := f.Identify(ctx, cred)
	if err != nil {
		return ctx, err
	}
	return auth.NewContext(ctx, p), nil
}

func (fleet) Admit(context.Context, core.Operation, int) (limit.Result, error) {
	return limit.Result{Allowed: true}, nil
}

func (fleet) Open(ctx context.Context, m *upstream.Method) (upstream.Stream, error) {
	p := auth.FromContext(ctx)
	if !p.Authenticated {
		return nil, fault.New(codes.Unauthenticated, "authentication is required")
	}
	return &fleetStream{ctx: ctx, method: m, user: p.Subject, requests: make(chan []byte, 1)}, nil
}

type fleetStream struct {
	ctx      context.Context //nolint:containedctx // a stream lives as long as its context
	method   *upstream.Method
	user     string
	requests chan []byte
	count    int64
}

func (s *fleetStream) Send(m []byte) error { s.requests <- m; return nil }
func (s *fleetStream) CloseSend() error    { close(s.requests); return nil }

func (s *fleetStream) Recv() ([]byte, error) {
	select {
	case m, ok := <-s.requests:
		if !ok {
			if s.method.ClientStreaming {
				return nil, io.EOF
			}
			<-s.ctx.Done()
			return nil, s.ctx.Err()
		}
		s.count++
		if s.method.ClientStreaming {
			var r fleetv1.TrackRequest
			if err := proto.Unmarshal(m, &r); err != nil {
				return nil, err
			}
			return proto.Marshal(&fleetv1.TrackResponse{Received: s.count, Advice: r.GetBoxId() + " " + s.user})
		}
		return proto.Marshal(&fleetv1.Reading{BoxId: strings.Repeat("b", 1000)})
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}
func (s *fleetStream) Header() (metadata.MD, error) { return nil, nil }
func (s *fleetStream) Trailer() metadata.MD         { return nil }

// Streams and WebSockets work through all of the middleware.
func TestBehindTheEdge(t *testing.T) {
	t.Parallel()
	door, err := mobile.New(mobile.Config{Services: []string{"shop.fleet.v1.FleetService"}}, mobile.Options{Descriptors: shop(t), Caller: fleet{}, Gate: fleet{}})
	if err != nil {
		t.Fatal(err)
	}
	var h http.Handler = door
	chain := edge.Chain(edge.Config{}, edge.Options{
		Core: fleet{}, Door: func(*http.Request) request.Door { return request.Mobile }, TakesToken: door.TakesToken,
	})
	for _, middleware := range slices.Backward(chain) {
		h = middleware(h)
	}
	server := httptest.NewServer(h)
	defer server.Close()

	transport := &http.Transport{}
	for accept, want := range map[string]string{
		"text/event-stream": `data: {"boxId":"bbb`, "application/x-ndjson": `{"boxId":"bbb`, "application/json": `[{"boxId":"bbb`,
	} { // the service sends nothing after the first message, and nothing holds that back
		t.Run(accept, func(t *testing.T) {
			ctx, leave := context.WithTimeout(t.Context(), 20*time.Second)
			defer leave()
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/boxes/box-1/readings:watch", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer ada")
			r.Header.Set("Accept", accept)
			r.Header.Set("Accept-Encoding", "gzip, zstd, br")
			res, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			line, err := bufio.NewReader(res.Body).ReadString('\n')
			if err != nil || !strings.HasPrefix(line, want) || res.Header.Get("Content-Encoding") != "" {
				t.Errorf("first line %.40q, %v; headers %v", line, err, res.Header)
			}
		})
	}
	t.Run("socket", func(t *testing.T) {
		conn, res, err := websocket.Dial(t.Context(), server.URL+"/v1/boxes/box-1:track",
			&websocket.DialOptions{Subprotocols: []string{"portico.json", "bearer.ada"}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.CloseNow() }()
		if got := res.Header.Get("Sec-WebSocket-Protocol"); got != "portico.json" {
			t.Errorf("subprotocol %q", got)
		}
		for _, want := range []string{`{"received":"1","advice":"box-1 ada"}`, `{"received":"2","advice":"box-1 ada"}`} {
			if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"position":{}}`)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := conn.Read(t.Context()); err != nil || string(got) != want {
				t.Errorf("got %s, %v; want %s", got, err, want)
			}
		}
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"@end":{}}`)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(t.Context()); err != nil || string(got) != `{"@end":{"code":"OK"}}` {
			t.Errorf("last frame %s, %v", got, err)
		}
	})
	t.Run("socket with a token in its first message", func(t *testing.T) {
		for token, want := range map[string]string{"eva": `{"@token":{}}`, "bad": `"detail":"the token is not valid"`} {
			conn, _, err := websocket.Dial(t.Context(), server.URL+"/v1/boxes/box-1:track", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.CloseNow() }()
			if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"@token":"`+token+`"}`)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := conn.Read(t.Context()); err != nil || !strings.Contains(string(got), want) {
				t.Errorf("%s: got %s, %v", token, got, err)
			}
			if token == "bad" {
				continue
			}
			if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"position":{}}`)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := conn.Read(t.Context()); err != nil || string(got) != `{"received":"1","advice":"box-1 eva"}` {
				t.Errorf("got %s, %v", got, err)
			}
		}
	})
	t.Run("without a token", func(t *testing.T) {
		conn, _, err := websocket.Dial(t.Context(), server.URL+"/v1/boxes/box-1:track", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.CloseNow() }()
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"position":{}}`)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(t.Context()); err != nil || !strings.Contains(string(got), `"code":"UNAUTHENTICATED"`) {
			t.Errorf("got %s, %v", got, err)
		}
		// A path that is no stream is not opened by asking for a WebSocket.
		_, res, err := websocket.Dial(t.Context(), server.URL+"/v1/boxes/box-1", nil)
		if err == nil || res == nil || res.StatusCode != http.StatusUnauthorized {
			t.Errorf("response %v, %v", res, err)
		}
	})
	transport.CloseIdleConnections()
	if err := door.Close(t.Context()); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
