package mesh_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"

	"github.com/portico-bff/portico/mesh"
)

// site is HTTP servers of the mesh on loopback: the endpoints of one service.
type site struct {
	addresses []string
	hits      []*atomic.Int64 // requests of each
	conns     []*atomic.Int64 // connections of each, so far
	open      []*atomic.Int64 // and now
}

// target is what the mesh finds them by.
func (s *site) target() string { return "static:///" + strings.Join(s.addresses, ",") }

// url is that of a path.
func (s *site) url(path string) string { return "https://" + s.addresses[0] + path }

// total is how many requests came.
func (s *site) total() int64 {
	var sum int64
	for _, n := range s.hits {
		sum += n.Load()
	}
	return sum
}

// protocol is what servers speak.
type protocol bool

const (
	http1 protocol = false
	http2 protocol = true
)

// serveHTTP starts a server for each handler, all with the identity of that name.
func serveHTTP(tb testing.TB, ca *mesh.DevCA, name string, speaks protocol, handlers ...http.HandlerFunc) *site {
	tb.Helper()
	identity := identityOf(tb, ca, name)
	s := &site{}
	for _, handler := range handlers {
		listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		hits, conns, open := new(atomic.Int64), new(atomic.Int64), new(atomic.Int64)
		s.addresses = append(s.addresses, listener.Addr().String())
		s.hits, s.conns, s.open = append(s.hits, hits), append(s.conns, conns), append(s.open, open)
		var protocols http.Protocols
		protocols.SetHTTP1(true)
		protocols.SetHTTP2(bool(speaks))
		server := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				hits.Add(1)
				handler(w, r)
			}),
			TLSConfig:         tlsconfig.MTLSServerConfig(identity, identity, tlsconfig.AuthorizeAny()),
			Protocols:         &protocols,
			ReadHeaderTimeout: time.Minute,
			ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
			ConnState: func(_ net.Conn, state http.ConnState) {
				switch state {
				case http.StateNew:
					conns.Add(1)
					open.Add(1)
				case http.StateClosed:
					open.Add(-1)
				case http.StateActive, http.StateIdle, http.StateHijacked:
				}
			},
		}
		var work sync.WaitGroup
		work.Go(func() { _ = server.ServeTLS(listener, "", "") })
		tb.Cleanup(func() {
			_ = server.Close()
			work.Wait()
		})
	}
	return s
}

// answer is a handler that says something.
func answer(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// fails is a handler that fails.
func fails(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", status) }
}

// repeat is so many times the same handler.
func repeat(n int, handler http.HandlerFunc) []http.HandlerFunc {
	list := make([]http.HandlerFunc, n)
	for i := range list {
		list[i] = handler
	}
	return list
}

// fetch makes a request and reads the answer.
func fetch(client *http.Client, req *http.Request) (int, string, error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// get fetches a path of the site.
func get(tb testing.TB, client *http.Client, s *site, path string) (int, string, error) {
	tb.Helper()
	return fetch(client, request(tb, http.MethodGet, s.url(path), ""))
}

// request makes one; an empty body is none.
func request(tb testing.TB, method, url, body string) *http.Request {
	tb.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(tb.Context(), method, url, reader)
	if err != nil {
		tb.Fatal(err)
	}
	return req
}

// pinned is a policy's Destination for a site, with what its trafficPolicy says.
func pinned(s *site, name, traffic string) string {
	if traffic == "" {
		traffic = "{}"
	}
	return fmt.Sprintf("kind: Destination\nhost: %q\nidentities: [spiffe://shop.test/%s]\ntrafficPolicy: %s\n", strings.Join(s.addresses, ","), name, traffic)
}

// routed is its Route with one entry.
func routed(s *site, entry string) string {
	return fmt.Sprintf("---\nkind: Route\nhosts: [%q]\nhttp: [%s]\n", strings.Join(s.addresses, ","), entry)
}

// client makes an HTTP client of a site, of the workload "portico".
func client(tb testing.TB, ca *mesh.DevCA, s *site, policy string, o mesh.Options) (*http.Client, *mesh.Mesh) {
	tb.Helper()
	o.Policy = parsePolicy(tb, policy)
	m := join(tb, ca, "portico", o)
	return &http.Client{Transport: m.Transport(s.target())}, m
}

// outsider starts a server that is not of the mesh: it has a certificate for a name,
// and asks for none. It returns its address, and a file of who vouches for it.
func outsider(tb testing.TB, name string) (address, roots string) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	roots = filepath.Join(tb.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		tb.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			w.WriteHeader(http.StatusTeapot) // nobody out there is to know us
		}
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		ClientAuth:   tls.RequestClientCert,
	}
	server.StartTLS()
	tb.Cleanup(server.Close)
	return server.Listener.Addr().String(), roots
}
