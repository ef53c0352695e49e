package mesh_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh"
)

func TestDevCAOptions(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]mesh.DevCAOptions{
		"no trust domain":  {},
		"bad trust domain": {TrustDomain: "Shop Test"},
		"a life too short": {TrustDomain: "shop.test", TTL: time.Millisecond},
	} {
		if ca, err := mesh.NewDevCA(o); err == nil {
			t.Errorf("%s: made %v", name, ca)
		}
	}
	ca := newCA(t, "shop.test", 0)
	for _, name := range []string{"", "a/b", "..", "orders?"} {
		if id, err := ca.Identity(name); err == nil {
			t.Errorf("name %q gave %v", name, id)
		}
	}
}

// A root in a folder survives the process, in a file of its owner's alone.
func TestDevCAKeepsItsRoot(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "ca")
	o := mesh.DevCAOptions{TrustDomain: "shop.test", Dir: dir}
	root := func() []byte {
		ca, err := mesh.NewDevCA(o)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ca.Close() }()
		identity, err := ca.Identity("orders")
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := identity.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString("shop.test"))
		if err != nil {
			t.Fatal(err)
		}
		return bundle.X509Authorities()[0].Raw
	}
	if first, second := root(), root(); string(first) != string(second) {
		t.Error("the second authority has another root")
	}
	file := filepath.Join(dir, "root.pem")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("root file: %v, %v, want mode 0600", info.Mode(), err)
	}
	if _, err := mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: "other.test", Dir: dir}); err == nil {
		t.Error("the root was taken for another trust domain")
	}
	if err := os.WriteFile(file, []byte("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := mesh.NewDevCA(o); err == nil || strings.Contains(err.Error(), "c2VjcmV0") {
		t.Errorf("a broken root file: %v, want an error without its contents", err)
	}
}

// exchange makes one call between two identities.
func exchange(t *testing.T, server, client mesh.Identity) error {
	t.Helper()
	member := func(identity mesh.Identity) *mesh.Mesh {
		m, err := mesh.New(t.Context(), mesh.Options{Identity: identity, Policy: parsePolicy(t, everybody)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		return m
	}
	_, listener := start(t, member(server), &echo{})
	var n network
	n.add("a:1", listener)
	conn := connect(t, member(client), &n, "static:///a:1", mesh.ExpectIdentity(orders))
	_, err := call(t.Context(), conn, echoMethod, "x")
	return err
}

// shortDir is a folder whose name leaves room for a socket's: a test's own folder
// may be too long.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mesh") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Workloads get certificates over their own sockets, and renewed ones.
func TestDevCAServesTheWorkloadAPI(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	sockets := filepath.Join(dir, "agent")
	ca := newCA(t, "shop.test", 2*time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := ca.Serve(ctx, sockets, "orders", "portico"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(sockets); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("socket folder: %v, %v, want mode 0700", info.Mode(), err)
	}
	fetch := func(name string) mesh.Identity {
		identity, err := mesh.WorkloadAPI(t.Context(), "unix://"+filepath.Join(sockets, name+".sock"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = identity.Close() })
		return identity
	}
	server, client := fetch("orders"), fetch("portico")
	svid, err := client.GetX509SVID()
	if err != nil || svid.ID.String() != portico {
		t.Fatalf("identity %v, %v", svid, err)
	}
	if err := exchange(t, server, client); err != nil {
		t.Errorf("call: %v", err)
	}
	for range 300 {
		if next, err := client.GetX509SVID(); err == nil && next.Certificates[0].NotAfter.After(svid.Certificates[0].NotAfter) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the certificate was not renewed in 3s")
}

// The Workload API must not answer what a browser or another program is tricked
// into sending.
func TestWorkloadAPIWantsItsHeader(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	ca := newCA(t, "shop.test", time.Hour)
	if err := ca.Serve(t.Context(), dir, "orders"); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("unix://"+filepath.Join(dir, "orders.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	stream, err := workload.NewSpiffeWorkloadAPIClient(conn).FetchX509SVID(t.Context(), &workload.X509SVIDRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("without the header: %v, want INVALID_ARGUMENT", err)
	}
}

// Files written by the authority make an identity, and its renewals arrive.
func TestFileIdentity(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", 10*time.Second)
		if err := ca.WriteFiles(t.Context(), dir, "orders", "portico"); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(dir, "orders", "tls.key")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("key: %v, %v, want mode 0600", info.Mode(), err)
		}
		read := func(name string) mesh.Identity {
			identity, err := mesh.FileIdentity(t.Context(), mesh.FileOptions{Dir: filepath.Join(dir, name), OnError: func(err error) { t.Error(err) }})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = identity.Close() })
			return identity
		}
		server, client := read("orders"), read("portico")
		if err := exchange(t, server, client); err != nil {
			t.Errorf("call: %v", err)
		}
		first, err := client.GetX509SVID()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(61 * time.Second) // between two renewals
		later, err := client.GetX509SVID()
		if err != nil || !later.Certificates[0].NotAfter.After(time.Now()) || later.Certificates[0].Equal(first.Certificates[0]) {
			t.Errorf("after a minute: valid until %v (now %v), %v", later.Certificates[0].NotAfter, time.Now(), err)
		}
		entries, err := os.ReadDir(filepath.Join(dir, "orders"))
		if err != nil || len(entries) != 5 {
			t.Errorf("%d entries are left in the folder (%v), want three files, the link and one set", len(entries), err)
		}
	})
}

// Half a renewal, foreign certificates and rubbish leave the last good set in
// place, are reported once, and never quoted.
func TestFileIdentityKeepsTheLastGoodSet(t *testing.T) {
	t.Parallel()
	good, bad := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca, other := newCA(t, "shop.test", time.Hour), newCA(t, "shop.test", time.Hour)
		if err := ca.WriteFiles(t.Context(), good, "orders"); err != nil {
			t.Fatal(err)
		}
		if err := other.WriteFiles(t.Context(), bad, "orders"); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		place := func(from, file string) {
			text, err := os.ReadFile(filepath.Join(from, "orders", file))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, file := range []string{"tls.crt", "tls.key", "ca.crt"} {
			place(good, file)
		}
		var mu sync.Mutex
		var reported []string
		identity, err := mesh.FileIdentity(t.Context(), mesh.FileOptions{Dir: dir, Interval: 100 * time.Millisecond, OnError: func(err error) {
			mu.Lock()
			defer mu.Unlock()
			reported = append(reported, err.Error())
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = identity.Close() }()
		before, err := identity.GetX509SVID()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // between two readings
		steps := []func(){
			func() { place(bad, "tls.key") },
			func() { place(bad, "tls.crt") }, // a pair again, of another authority
			func() { _ = os.WriteFile(filepath.Join(dir, "tls.key"), []byte("hunter2"), 0o600) },
			func() { _ = os.Remove(filepath.Join(dir, "tls.key")) },
		}
		for i, step := range steps {
			step()
			time.Sleep(time.Second)
			if after, err := identity.GetX509SVID(); err != nil || after != before {
				t.Errorf("step %d: the identity changed (%v)", i, err)
			}
		}
		mu.Lock()
		if len(reported) != len(steps) || strings.Contains(strings.Join(reported, " "), "hunter2") {
			t.Errorf("reported %q", reported)
		}
		mu.Unlock()
		for _, file := range []string{"tls.crt", "tls.key", "ca.crt"} {
			place(bad, file)
		}
		time.Sleep(time.Second)
		if after, err := identity.GetX509SVID(); err != nil || after == before {
			t.Errorf("a whole new set was not taken up (%v)", err)
		}
	})
}

func TestFileIdentityWaits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		time.AfterFunc(5*time.Second, func() {
			if err := ca.WriteFiles(context.WithoutCancel(t.Context()), dir, "orders"); err != nil {
				t.Error(err)
			}
		})
		identity, err := mesh.FileIdentity(ctx, mesh.FileOptions{Dir: filepath.Join(dir, "orders")})
		if err != nil {
			t.Fatal(err)
		}
		_ = identity.Close()
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := mesh.FileIdentity(ctx, mesh.FileOptions{Dir: filepath.Join(dir, "nobody")}); !errors.Is(err, os.ErrNotExist) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without files: %v", err)
		}
		if _, err := mesh.FileIdentity(ctx, mesh.FileOptions{}); err == nil {
			t.Error("no paths at all were taken")
		}
	})
}
