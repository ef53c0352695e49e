package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

// command runs a command line and returns what it printed.
func command(t *testing.T, env map[string]string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), args, streams{
		in: strings.NewReader(""), out: &out, err: io.Discard,
		lookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	})
	return out.String(), err
}

func TestHelpHasExamples(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{}, {"init"}, {"serve"}, {"check"}, {"token"}, {"mqtt", "pub"}, {"mqtt", "sub"}, {"mesh"}, {"mesh", "explain"}, {"health"}, {"version"}, {"config", "schema"},
	} {
		out, err := command(t, nil, append(args, "--help")...)
		if err != nil || !strings.Contains(out, "Examples:\n  bff ") {
			t.Errorf("bff %s --help: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func TestUnknownCommandNamesTheNearest(t *testing.T) {
	t.Parallel()
	if _, err := command(t, nil, "srve"); err == nil || !strings.Contains(err.Error(), "serve") {
		t.Errorf("bff srve: %v", err)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if out, err := command(t, nil, "version"); err != nil || !strings.HasPrefix(out, "portico ") {
		t.Errorf("bff version: %q, %v", out, err)
	}
}

func TestConfigSchemaIsJSON(t *testing.T) {
	t.Parallel()
	out, err := command(t, nil, "config", "schema")
	if err != nil || !json.Valid([]byte(out)) || !strings.Contains(out, `"upstreams"`) {
		t.Errorf("bff config schema: %v\n%.200s", err, out)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	env := map[string]string{"PORTICO_WORKLOAD_API": "unix:///run/agent.sock"}
	out, err := command(t, env, "check", "-c", "../demo/portico.yaml")
	if err != nil || out != "../demo/portico.yaml: ok\n" {
		t.Errorf("bff check of the demo: %q, %v", out, err)
	}
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("version: 1\nlisten: {htpp: \":1\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = command(t, nil, "check", "-c", broken)
	if err == nil || !strings.Contains(err.Error(), broken+`:2:10: unknown key "htpp"`) || !strings.Contains(err.Error(), `did you mean "http"?`) {
		t.Errorf("bff check of a broken file: %v", err)
	}
	if _, err = command(t, nil, "check", "-c", broken+".nowhere"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("bff check of no file: %v", err)
	}
}

// writeKey writes a private key as PKCS #8 PEM.
func writeKey(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestToken(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	out, err := command(t, nil, "token", "--key", writeKey(t, key), "--subject", "usr-1", "--role", "customer,admin", "--ttl", "1h",
		"--issuer", "https://id.example.com", "--audience", "a")
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Parse([]byte(strings.TrimSpace(out)), jwt.WithKey(jwa.ES256(), key.Public()),
		jwt.WithIssuer("https://id.example.com"), jwt.WithAudience("a"), jwt.WithSubject("usr-1"))
	if err != nil {
		t.Fatal(err)
	}
	if expires, ok := token.Expiration(); !ok || time.Until(expires) > time.Hour || time.Until(expires) < 59*time.Minute {
		t.Errorf("exp is %s", expires)
	}
	var roles []any
	if err := token.Get("roles", &roles); err != nil || len(roles) != 2 || roles[0] != "customer" || roles[1] != "admin" {
		t.Errorf("roles are %v, %v", roles, err)
	}
	message, err := jws.Parse([]byte(strings.TrimSpace(out)))
	if err != nil {
		t.Fatal(err)
	}
	if kid, ok := message.Signatures()[0].ProtectedHeaders().KeyID(); !ok || len(kid) != 43 {
		t.Errorf("kid is %q, want a SHA-256 thumbprint", kid)
	}
}

func TestTokenRefusals(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no key":        {[]string{"--subject", "x"}, "key"},
		"no subject":    {[]string{"--key", "k"}, "subject"},
		"no file":       {[]string{"--subject", "x", "--key", "nowhere.pem"}, "no such file"},
		"RSA":           {[]string{"--subject", "x", "--key", writeKey(t, rsaKey)}, "not an ECDSA P-256 key"},
		"another curve": {[]string{"--subject", "x", "--key", writeKey(t, p384)}, "not an ECDSA P-256 key"},
		"no PEM":        {[]string{"--subject", "x", "--key", "main_test.go"}, "no PEM block"},
		"no life":       {[]string{"--subject", "x", "--key", writeKey(t, p256), "--ttl", "0s"}, "expected a duration above 0"},
	} {
		if out, err := command(t, nil, append([]string{"token"}, test.args...)...); err == nil || !strings.Contains(err.Error(), test.want) || out != "" {
			t.Errorf("%s: %q, %v; want %q", name, out, err, test.want)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	state := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(state)
		_, _ = w.Write([]byte(`{"ready":true}`))
	}))
	if out, err := command(t, nil, "health", "--admin", server.URL+"/"); err != nil || out != `{"ready":true}` {
		t.Errorf("of a ready server: %q, %v", out, err)
	}
	state = http.StatusServiceUnavailable
	if _, err := command(t, nil, "health", "--admin", server.URL); err == nil || !strings.Contains(err.Error(), "not ready: 503") {
		t.Errorf("of a server that is not ready: %v", err)
	}
	server.Close()
	if _, err := command(t, nil, "health", "--admin", server.URL); err == nil || !strings.Contains(err.Error(), "ask for readiness") {
		t.Errorf("of no server: %v", err)
	}
}

func TestMQTTRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no topic":     {[]string{"pub", "-m", "x"}, "topic"},
		"QoS 2":        {[]string{"pub", "-t", "a", "-m", "x", "-q", "2"}, "expected 0 or 1"},
		"too large":    {[]string{"pub", "-t", "a", "-m", strings.Repeat("x", maxPayload+1)}, "over 131072 bytes"},
		"nobody there": {[]string{"sub", "-t", "a", "--url", "tcp://127.0.0.1:1", "--timeout", "2s"}, "connect to tcp://127.0.0.1:1"},
	} {
		if _, err := command(t, nil, append([]string{"mqtt"}, test.args...)...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
