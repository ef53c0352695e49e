package bff

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/mesh"
)

// TestKeysThroughTheMesh has an issuer in the mesh: its keys are fetched from the workload that the policy names, and
// from no other.
func TestKeysThroughTheMesh(t *testing.T) {
	t.Parallel()
	ca, err := mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: "shop.test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ca.Close() })
	address := serveKeys(t, ca)
	for _, c := range []struct {
		name, pinned, want string
	}{
		{"the issuer", "spiffe://shop.test/issuer", ""},
		{"somebody else", "spiffe://shop.test/payments", "spiffe://shop.test/issuer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := &member{}
			var err error
			if m.identity, err = ca.Identity("portico"); err != nil {
				t.Fatal(err)
			}
			policy := filepath.Join(t.TempDir(), "mesh.yaml")
			text := "kind: Destination\nhost: " + address + "\nidentities: [" + c.pinned + "]\n"
			if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if m.mesh, err = mesh.New(t.Context(), mesh.Options{Identity: m.identity, PolicyFile: policy}); err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			a, err := auth.New(t.Context(), auth.Config{JWT: []auth.JWT{{
				Issuer: "shop", Audiences: []string{"portico"}, JWKSURI: "https://" + address + "/keys", JWKSMesh: true,
			}}}, auth.Options{Logger: slog.New(slog.DiscardHandler), Mesh: m.Transport})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			deadline := time.Now().Add(10 * time.Second)
			for err = a.Ready(); err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)); err = a.Ready() {
				if time.Now().After(deadline) {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// serveKeys serves a key set as the workload "issuer".
func serveKeys(t *testing.T, ca *mesh.DevCA) (address string) {
	t.Helper()
	identity, err := ca.Identity("issuer")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)
		}),
		TLSConfig:         tlsconfig.MTLSServerConfig(identity, identity, tlsconfig.AuthorizeAny()),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return listener.Addr().String()
}
