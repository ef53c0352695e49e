package mesh_test

import (
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh"
)

// partners lets the portico of two trust domains call.
const partners = `
kind: Authorization
name: porticos
action: ALLOW
rules:
- from: [{source: {principals: [spiffe://shop.test/portico, spiffe://partner.test/portico]}}]
`

// bundleOf returns the authorities of a domain.
func bundleOf(tb testing.TB, ca *mesh.DevCA, domain string) *x509bundle.Bundle {
	tb.Helper()
	bundle, err := identityOf(tb, ca, "any").GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString(domain))
	if err != nil {
		tb.Fatal(err)
	}
	return bundle
}

// pemOf is a bundle as a file of certificates.
func pemOf(tb testing.TB, bundle *x509bundle.Bundle) []byte {
	tb.Helper()
	text, err := bundle.Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// jsonOf is a bundle as SPIFFE writes it.
func jsonOf(tb testing.TB, bundle *x509bundle.Bundle) []byte {
	tb.Helper()
	text, err := spiffebundle.FromX509Bundle(bundle).Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// dialAs makes one call to orders as a workload, and says what came of it.
func dialAs(tb testing.TB, identity mesh.Identity, n *network) error {
	tb.Helper()
	conn := connect(tb, joinAs(tb, identity, mesh.Options{}), n, "static:///a:1", mesh.ExpectIdentity("spiffe://shop.test/orders"))
	_, err := call(tb.Context(), conn, writeMethod, "x")
	return err
}

// trusting is an identity that trusts other domains, too.
type trusting struct {
	mesh.Identity

	mu     sync.Mutex
	others map[string]*x509bundle.Bundle
}

func (i *trusting) set(domain string, bundle *x509bundle.Bundle) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.others = map[string]*x509bundle.Bundle{domain: bundle}
}

func (i *trusting) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if bundle := i.others[domain.Name()]; bundle != nil {
		return bundle, nil
	}
	return i.Identity.GetX509BundleForTrustDomain(domain)
}

// A folder of bundles says which other domains are trusted, each by its own authorities
// alone; it may change, and what is not good is reported and changes nothing.
func TestFileIdentityForeignDomains(t *testing.T) {
	t.Parallel()
	dir, foreign := t.TempDir(), t.TempDir()
	put := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(foreign, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ca, partner, mallory := newCA(t, "shop.test", time.Hour), newCA(t, "partner.test", time.Hour), newCA(t, "shop.test", time.Hour)
		if err := ca.WriteFiles(t.Context(), dir, "orders"); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var reported []string
		identity, err := mesh.FileIdentity(t.Context(), mesh.FileOptions{
			Dir: filepath.Join(dir, "orders"), ForeignDir: foreign,
			OnError: func(err error) {
				mu.Lock()
				defer mu.Unlock()
				reported = append(reported, err.Error())
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = identity.Close() }()
		var n network
		_, listener := start(t, joinAs(t, identity, mesh.Options{Policy: parsePolicy(t, partners)}), &echo{})
		n.add("a:1", listener)

		stranger := &trusting{Identity: identityOf(t, partner, "portico")}
		stranger.set("shop.test", bundleOf(t, ca, "shop.test"))
		try := func(step string, want codes.Code) {
			t.Helper()
			time.Sleep(3 * time.Second) // for the files to be read
			if err := dialAs(t, stranger, &n); status.Code(err) != want {
				t.Errorf("%s: %v, want %v", step, err, want)
			}
		}
		try("no bundle", codes.Unavailable)
		put("partner.test.json", jsonOf(t, bundleOf(t, partner, "partner.test")))
		try("a SPIFFE bundle", codes.OK)
		put("partner.test.json", []byte("{"))
		try("half a bundle", codes.OK)
		put("partner.test.json", jsonOf(t, bundleOf(t, mallory, "shop.test")))
		try("another authority", codes.Unavailable)
		if err := os.Rename(filepath.Join(foreign, "partner.test.json"), filepath.Join(foreign, ".old")); err != nil {
			t.Fatal(err)
		}
		put("partner.test.pem", pemOf(t, bundleOf(t, partner, "partner.test")))
		try("certificates", codes.OK)
		put("shop.test.pem", pemOf(t, bundleOf(t, mallory, "shop.test")))
		time.Sleep(3 * time.Second)
		posing := &trusting{Identity: identityOf(t, mallory, "portico")}
		posing.set("shop.test", bundleOf(t, ca, "shop.test"))
		if err := dialAs(t, posing, &n); status.Code(err) != codes.Unavailable {
			t.Errorf("a foreign authority for the own domain: %v", err)
		}
		if err := dialAs(t, identityOf(t, ca, "portico"), &n); err != nil {
			t.Errorf("the own domain: %v", err)
		}
		fleet := &trusting{Identity: identityOf(t, partner, "fleet")}
		fleet.set("shop.test", bundleOf(t, ca, "shop.test"))
		if err := dialAs(t, fleet, &n); status.Code(err) != codes.PermissionDenied {
			t.Errorf("a foreign workload that no rule names: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(reported) != 2 || !strings.Contains(reported[0], "partner.test.json") || !strings.Contains(reported[1], "own trust domain") {
			t.Errorf("reported %q", reported)
		}
	})
}

// What is in the folder of foreign bundles and is none is told by name.
func TestForeignBundleMistakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newCA(t, "shop.test", time.Hour)
	if err := ca.WriteFiles(t.Context(), dir, "orders"); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(dir, "orders", "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := os.ReadFile(filepath.Join(dir, "orders", "tls.crt"))
	if err != nil {
		t.Fatal(err)
	}
	good := pemOf(t, bundleOf(t, ca, "shop.test"))
	for want, files := range map[string]map[string][]byte{
		"want a SPIFFE bundle":      {"a.test.txt": good},
		"a second file":             {"a.test.crt": good, "a.test.pem": good},
		"no X.509 authority":        {"a.test.json": []byte(`{"keys":[]}`)},
		"no authority":              {"a.test.pem": leaf},
		"A!.pem":                    {"A!.pem": good},
		"foreign bundle":            {"a.test.pem": key},
		"no such file or directory": nil,
	} {
		foreign := filepath.Join(t.TempDir(), "foreign")
		if files != nil {
			if err := os.Mkdir(foreign, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(foreign, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var got string
		identity, err := mesh.FileIdentity(t.Context(), mesh.FileOptions{
			Dir: filepath.Join(dir, "orders"), ForeignDir: foreign, Interval: time.Hour,
			OnError: func(err error) { got = err.Error() },
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = identity.Close()
		if !strings.Contains(got, want) || strings.Contains(got, "MII") {
			t.Errorf("reported %q, want %q", got, want)
		}
	}
}

// federating is a Workload API that tells of another trust domain.
type federating struct {
	workload.UnimplementedSpiffeWorkloadAPIServer

	answer *workload.X509SVIDResponse
}

func (f *federating) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	if err := stream.Send(f.answer); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

// The bundles of other domains that a Workload API gives are honoured.
func TestWorkloadAPIForeignDomains(t *testing.T) {
	t.Parallel()
	ca, partner := newCA(t, "shop.test", time.Hour), newCA(t, "partner.test", time.Hour)
	svid, err := identityOf(t, ca, "orders").GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(svid.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	api := &federating{answer: &workload.X509SVIDResponse{
		Svids: []*workload.X509SVID{{
			SpiffeId: svid.ID.String(), X509Svid: svid.Certificates[0].Raw, X509SvidKey: key,
			Bundle: bundleOf(t, ca, "shop.test").X509Authorities()[0].Raw,
		}},
		FederatedBundles: map[string][]byte{"spiffe://partner.test": bundleOf(t, partner, "partner.test").X509Authorities()[0].Raw},
	}}
	path := filepath.Join(shortDir(t), "api.sock")
	socket, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, api)
	serve(t, &mesh.Server{Server: server}, socket)
	identity, err := mesh.WorkloadAPI(t.Context(), "unix://"+path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = identity.Close() })
	var n network
	_, listener := start(t, joinAs(t, identity, mesh.Options{Policy: parsePolicy(t, partners)}), &echo{})
	n.add("a:1", listener)
	for name, want := range map[string]codes.Code{"portico": codes.OK, "fleet": codes.PermissionDenied} {
		client := &trusting{Identity: identityOf(t, partner, name)}
		client.set("shop.test", bundleOf(t, ca, "shop.test"))
		if err := dialAs(t, client, &n); status.Code(err) != want {
			t.Errorf("%s of the other domain: %v, want %v", name, err, want)
		}
	}
	posing := &trusting{Identity: identityOf(t, newCA(t, "third.test", time.Hour), "portico")}
	posing.set("shop.test", bundleOf(t, ca, "shop.test"))
	if err := dialAs(t, posing, &n); status.Code(err) != codes.Unavailable {
		t.Errorf("a domain without a bundle: %v", err)
	}
}
