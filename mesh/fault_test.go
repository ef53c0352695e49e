package mesh_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh"
)

const faulty = `kind: Destination
host: orders
identities: [spiffe://shop.test/orders]
---
kind: Route
hosts: [orders]
http:
- match: [{headers: {x-fault: {exact: slow}}}]
  fault: {delay: {fixedDelay: 2s}}
- match: [{headers: {x-fault: {exact: too-slow}}}]
  fault: {delay: {fixedDelay: 2s}}
  timeout: 1s
- match: [{headers: {x-fault: {exact: down}}}]
  fault: {abort: {grpcStatus: UNAVAILABLE}}
- match: [{headers: {x-fault: {exact: sometimes}}}]
  fault:
    delay: {fixedDelay: 1s, percentage: {value: 25}}
    abort: {grpcStatus: NOT_FOUND, percentage: {value: 10}}
`

func faulted(ctx context.Context, kind string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-fault", kind)
}

// Calls that are marked wait or fail as the policy says, before they reach anybody;
// others do not.
func TestFaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen events
		reached := 0
		client, conn := newVersions(t, twoVersions(), mesh.Options{Policy: parsePolicy(t, faulty), OnEvent: seen.add}, func(context.Context, replica) error {
			reached++ // one call at a time
			return nil
		})
		tests := []struct {
			fault   string
			want    codes.Code
			took    time.Duration
			reached int
		}{
			{"none", codes.OK, 0, 1},
			{"slow", codes.OK, 2 * time.Second, 1},
			{"too-slow", codes.DeadlineExceeded, time.Second, 0},
			{"down", codes.Unavailable, 0, 0},
		}
		for _, test := range tests {
			reached = 0
			began := time.Now()
			_, err := call(faulted(t.Context(), test.fault), conn, echoMethod, "x")
			if took := time.Since(began); status.Code(err) != test.want || took != test.took || reached != test.reached {
				t.Errorf("%s: %v after %v, %d attempts; want %v after %v, %d", test.fault, err, took, reached, test.want, test.took, test.reached)
			}
		}
		if _, err := openStream(faulted(t.Context(), "down"), conn, chatMethod); status.Code(err) != codes.Unavailable {
			t.Errorf("stream: %v", err)
		}
		if got := seen.of(mesh.FaultInjected); len(got) != 4 || client.Stats().Faults != 4 || got[0].Err != nil ||
			got[2].Method != echoMethod || status.Code(got[2].Err) != codes.Unavailable {
			t.Errorf("stats %+v, events %+v", client.Stats(), got)
		}
	})
}

func TestFaultsByPercent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, conn := newVersions(t, twoVersions(), mesh.Options{Policy: parsePolicy(t, faulty)}, nil)
		const calls = 1000
		slow, failed := 0, 0
		for range calls {
			began := time.Now()
			_, err := call(faulted(t.Context(), "sometimes"), conn, echoMethod, "x")
			if time.Since(began) >= time.Second {
				slow++
			}
			if status.Code(err) == codes.NotFound {
				failed++
			}
		}
		t.Logf("of %d calls %d were slow and %d failed", calls, slow, failed)
		// Four standard deviations.
		if slow < 195 || slow > 305 || failed < 62 || failed > 138 {
			t.Errorf("of %d calls %d were slow and %d failed, want 250 and 100", calls, slow, failed)
		}
	})
}

func TestExplainFaultsAndMirrors(t *testing.T) {
	t.Parallel()
	query := mesh.Query{Target: "mesh:///orders", Method: "/a.S/M", Metadata: metadata.Pairs("x-fault", "sometimes")}
	text := parsePolicy(t, faulty).Explain(query).String()
	if !strings.Contains(text, "  fault: 25% wait 1s\n  fault: 10% end NotFound\n") {
		t.Errorf("%s", text)
	}
	text = parsePolicy(t, mirrored).Explain(query).String()
	if !strings.Contains(text, "  mirror: 100% are copied to subset v2\n") {
		t.Errorf("%s", text)
	}
}
