package mobile_test

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/events"
	"github.com/portico-bff/portico/bff/mobile"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
	"github.com/portico-bff/portico/upstream"
)

const watchReadings = "shop.fleet.v1.FleetService/WatchReadings"

// readings is an upstream whose streams send what comes through a channel.
type readings struct {
	caller
	opened chan context.Context
	next   chan string
}

func (r *readings) Open(ctx context.Context, _ *upstream.Method) (upstream.Stream, error) {
	r.opened <- ctx
	return &readingStream{readings: r, ctx: ctx}, nil
}

type readingStream struct {
	*readings
	ctx context.Context //nolint:containedctx // a stream lives as long as its context
}

func (s *readingStream) Send([]byte) error            { return nil }
func (s *readingStream) CloseSend() error             { return nil }
func (s *readingStream) Header() (metadata.MD, error) { return nil, nil } //nolint:nilnil // there are none
func (s *readingStream) Trailer() metadata.MD         { return nil }
func (s *readingStream) Recv() ([]byte, error) {
	select {
	case id := <-s.next:
		return proto.Marshal(&fleetv1.Reading{BoxId: id})
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

// With the real core: a client comes back to the call that it left; without the role that the rule wants it does not,
// whatever it has seen; Close ends the call.
func TestResume(t *testing.T) {
	t.Parallel()
	d := shop(t)
	up := &readings{opened: make(chan context.Context, 5), next: make(chan string)}
	c, err := core.New(core.Options{
		Descriptors: d, Next: up, Methods: map[string]core.MethodConfig{watchReadings: {Allow: "'rider' in principal.roles"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	reg := prometheus.NewRegistry()
	door, err := mobile.New(mobile.Config{
		Services: []string{"shop.fleet.v1.FleetService"},
		Streams:  map[string]events.Config{watchReadings: {Resume: time.Minute}},
	}, mobile.Options{Descriptors: d, Caller: c, Events: c, Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &auth.Principal{Subject: "ann", Kind: auth.User, Authenticated: true, Roles: r.Header["X-Role"]}
		door.ServeHTTP(w, r.WithContext(auth.NewContext(r.Context(), p)))
	}))
	defer server.Close()
	connect := func(role, last string) (*http.Response, func() string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/v1/boxes/box-1/readings:watch", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/event-stream")
		r.Header.Set("X-Role", role)
		r.Header.Set("Last-Event-ID", last)
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(res.Body)
		return res, func() string {
			for {
				line, err := lines.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				if line = strings.TrimSuffix(line, "\n"); line != "" && !strings.HasPrefix(line, ":") {
					return line
				}
			}
		}
	}
	first, line := connect("rider", "")
	call := <-up.opened
	up.next <- "a"
	id := strings.TrimPrefix(line(), "id: ")
	if got := line(); got != `data: {"boxId":"a"}` {
		t.Errorf("got %s", got)
	}
	_ = first.Body.Close()
	up.next <- "b"

	refused, _ := connect("customer", id)
	if refused.StatusCode != http.StatusForbidden {
		t.Errorf("without the role: %s", refused.Status)
	}
	_ = refused.Body.Close()
	again, line := connect("rider", id)
	defer again.Body.Close()
	line() // the id
	if got := line(); got != `data: {"boxId":"b"}` {
		t.Errorf("got %s", got)
	}
	if n, err := testutil.GatherAndCount(reg, "portico_event_replays_total"); err != nil || n != 1 || len(up.opened) != 0 {
		t.Errorf("%d replays, %v; %d more calls", n, err, len(up.opened))
	}
	if err := door.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if call.Err() == nil {
		t.Error("the call goes on")
	}
}

func TestStreamMistakes(t *testing.T) {
	t.Parallel()
	_, err := mobile.New(mobile.Config{
		Services: []string{"shop.fleet.v1.FleetService"},
		Streams:  map[string]events.Config{watchReadings: {}, "shop.fleet.v1.FleetService/WatchReading": {Resume: time.Second}},
	}, mobile.Options{Descriptors: shop(t), Caller: caller(nil)})
	var got []string
	for _, m := range mistake.List(err) {
		got = append(got, m.Error())
	}
	want := []string{
		`streams.shop.fleet.v1.FleetService/WatchReading: the listed services have no method "shop.fleet.v1.FleetService/WatchReading", did you mean "` + watchReadings + `"?`,
		"streams." + watchReadings + ".resume: streams cannot be kept for 0s, expected more than 0 and at most 24h",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
