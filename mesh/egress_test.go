package mesh_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh"
)

const egress = `kind: Egress
name: portico
principals: [spiffe://shop.test/portico]
hosts:
- {host: a, ports: [1], sniHosts: [a, orders.shop]}
`

// Calls to what no Egress names fail at once, before anything is dialled, and say
// what to add; a reload with that lets the next one through.
func TestEgress(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "mesh.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(egress)
	synctest.Test(t, func(t *testing.T) {
		var seen events
		ca := newCA(t, "shop.test", time.Hour)
		f := newFleet(t, ca, "a:1", "b:1")
		client := join(t, ca, "portico", mesh.Options{PolicyFile: file, OnEvent: seen.add})
		pin := mesh.ExpectIdentity(orders)
		allowed, refused := connect(t, client, &f.network, "static:///a:1", pin), connect(t, client, &f.network, "static:///b:1", pin)
		other := connect(t, join(t, ca, "payments", mesh.Options{PolicyFile: file}), &f.network, "static:///a:1", pin)
		if _, err := call(t.Context(), allowed, writeMethod, "x"); err != nil {
			t.Errorf("allowed: %v", err)
		}
		dialled := f.dialled()
		for name, conn := range map[string]*grpc.ClientConn{"another host": refused, "another workload": other} {
			_, err := call(t.Context(), conn, writeMethod, "x")
			if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "to allow it, add {host: ") {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := openStream(t.Context(), conn, chatMethod); status.Code(err) != codes.PermissionDenied {
				t.Errorf("%s: stream: %v", name, err)
			}
		}
		if n := f.dialled(); n != dialled {
			t.Errorf("%d connections were dialled", n-dialled)
		}
		if got := seen.of(mesh.EgressDenied); len(got) != 2 || got[0].Target != "static:///b:1" || got[0].Method != writeMethod || client.Stats().EgressDenied != 2 {
			t.Errorf("stats %+v, events %+v", client.Stats(), got)
		}

		write(egress + `- {host: "b", ports: [1]}` + "\n")
		time.Sleep(1100 * time.Millisecond)
		if _, err := call(t.Context(), refused, writeMethod, "x"); err != nil {
			t.Errorf("after the rule was added: %v", err)
		}
		write(strings.Replace(egress, "host: a", "host: c", 1))
		time.Sleep(1100 * time.Millisecond)
		if _, err := call(t.Context(), allowed, writeMethod, "x"); status.Code(err) != codes.PermissionDenied {
			t.Errorf("after the rule was taken away, over the same connection: %v", err)
		}
	})
}

// A connection that asks for a name which the entry does not have is not made.
func TestEgressServerNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		f := newFleet(t, ca, "a:1")
		var server names
		server.set(nil, "a")
		policy := parsePolicy(t, strings.ReplaceAll(egress, "host: a,", "host: orders.shop,"))
		client := join(t, ca, "portico", mesh.Options{Policy: policy, LookupHost: server.lookup})
		for authority, want := range map[string]codes.Code{
			"":                 codes.OK, // orders.shop
			"a":                codes.OK,
			"payments.shop:99": codes.PermissionDenied,
		} {
			opts := []grpc.DialOption{mesh.ExpectIdentity(orders)}
			if authority != "" {
				opts = append(opts, grpc.WithAuthority(authority))
			}
			conn := connect(t, client, &f.network, "dns:///orders.shop:1", opts...)
			_, err := call(t.Context(), conn, writeMethod, "x")
			if status.Code(err) != want {
				t.Errorf("%q: %v, want %v", authority, err, want)
			}
			if want != codes.OK && !strings.Contains(err.Error(), "does not allow the server name") {
				t.Errorf("%q: %v", authority, err)
			}
		}
	})
}

func TestExplainEgress(t *testing.T) {
	t.Parallel()
	policy := parsePolicy(t, egress)
	query := mesh.Query{Caller: spiffeid.RequireFromString(portico), Target: "dns:///a:1", Method: echoMethod}
	if e := policy.Explain(query); e.Egress != "portico" || e.EgressDenied != "" || !strings.Contains(e.String(), "  egress: allowed (Egress \"portico\")\n") {
		t.Errorf("allowed: %+v", e)
	}
	query.Target = "dns:///a:2"
	if e := policy.Explain(query); e.Egress != "" || !strings.Contains(e.String(), `egress: refused (mesh: no Egress of the policy lets spiffe://shop.test/portico call dns:///a:2; to allow it, add {host: "a", ports: [2]} to the hosts of one)`) {
		t.Errorf("refused: %s", e)
	}
	query.Caller = spiffeid.ID{}
	if e := policy.Explain(query); e.Egress+e.EgressDenied != "" {
		t.Errorf("without a caller: %+v", e)
	}
}
