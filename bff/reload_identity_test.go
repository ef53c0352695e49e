package bff_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

// issuer signs tokens.
type issuer struct {
	key jwk.Key
	set []byte // the public keys
}

func newIssuer(tb testing.TB) *issuer {
	tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	key, err := jwk.Import(private)
	if err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(key.Set(jwk.KeyIDKey, "test"), key.Set(jwk.AlgorithmKey, jwa.ES256())); err != nil {
		tb.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		tb.Fatal(err)
	}
	set, err := json.Marshal(map[string]any{"keys": []jwk.Key{public}})
	if err != nil {
		tb.Fatal(err)
	}
	return &issuer{key: key, set: set}
}

// token is a token of a subject, with a role.
func (i *issuer) token(tb testing.TB, subject, role string) string {
	tb.Helper()
	claims, err := jwt.NewBuilder().Issuer("https://id.shop.test").Audience([]string{"portico"}).Subject(subject).
		Claim("roles", []string{role}).Expiration(time.Now().Add(time.Hour)).Build()
	if err != nil {
		tb.Fatal(err)
	}
	signed, err := jwt.Sign(claims, jwt.WithKey(jwa.ES256(), i.key))
	if err != nil {
		tb.Fatal(err)
	}
	return string(signed)
}

// TestReloadKeepsDevices wants devices to stay connected over reloads, and what they publish to meet the rules of the
// moment.
func TestReloadKeepsDevices(t *testing.T) {
	t.Parallel()
	s := &shop{ingested: make(chan string, 10)}
	id := newIssuer(t)
	jwks := t.TempDir() + "/jwks.json"
	write(t, jwks, string(id.set))
	const fleetRule = `"shop.fleet.v1.FleetService/*": {allow: "true"}`
	r := run(t, s.start(t), "{anonymous: true}", `{jwt: [{issuer: "https://id.shop.test", audiences: [portico], jwks_file: `+jwks+`}]}`,
		"drain: 2s", `drain: 2s
iot:
  broker: {embedded: {store: mqtt}, ack_wait: 2s}
  acl: {publish: ["boxes/{device}/telemetry"]}
  uplinks:
    - {topic: "boxes/{box_id}/telemetry", method: shop.fleet.v1.FleetService/IngestReadings, into: readings, set: {box_id: "{topic.box_id}"}}`)
	device := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + r.Addresses().MQTT.String()).SetClientID("box-1").SetUsername("box-1").
		SetPassword(id.token(t, "box-1", "device")).SetProtocolVersion(4).SetAutoReconnect(false))
	wait := func(tok mqtt.Token) {
		t.Helper()
		if !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
			t.Fatalf("MQTT: %v", tok.Error())
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) { // until the bridge has subscribed
		if tok := device.Connect(); tok.WaitTimeout(time.Second) && tok.Error() == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no device can connect")
		}
	}
	defer device.Disconnect(0)
	publish := func() {
		t.Helper()
		wait(device.Publish("boxes/box-1/telemetry", 1, false, `{"celsius": 4}`))
	}
	ingested := func(within time.Duration) bool {
		select {
		case box := <-s.ingested:
			return box == "box-1"
		case <-time.After(within):
			return false
		}
	}
	publish()
	if !ingested(10 * time.Second) {
		t.Fatal("the service did not get the reading")
	}
	r.edit(fleetRule, `"shop.fleet.v1.FleetService/*": {allow: "false"}`)
	r.reload()
	publish()
	if ingested(300 * time.Millisecond) {
		t.Error("a reading got past the new rule")
	}
	r.edit()
	r.reload()
	if !ingested(10 * time.Second) {
		t.Error("the reading that waited was lost")
	}
	r.edit("ack_wait: 2s", "ack_wait: 3s")
	if _, err := r.Reload(t.Context()); err == nil {
		t.Error("another section iot was taken")
	}
	publish()
	if !ingested(10*time.Second) || !device.IsConnected() {
		t.Error("the device has lost its connection")
	}
}

// TestReloadAwaitsKeys wants tokens to be judged from the first moment of a configuration on, and known keys to be kept.
func TestReloadAwaitsKeys(t *testing.T) {
	t.Parallel()
	id := newIssuer(t)
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(100 * time.Millisecond) // longer than a reload takes
		_, _ = w.Write(id.set)
	}))
	defer keys.Close()
	r := run(t, (&shop{}).start(t))
	bearer := "Bearer " + id.token(t, "usr-1", "customer")
	get := func(want int) {
		t.Helper()
		if status, body := r.do(http.MethodGet, r.base+"/v1/products/a", "", "Authorization", bearer); status != want {
			t.Errorf("answered with %d %s, want %d", status, body, want)
		}
	}
	get(http.StatusUnauthorized)
	trust := func(uri string) []string {
		return []string{"{anonymous: true}", `{jwt: [{issuer: "https://id.shop.test", audiences: [portico], jwks_uri: "` + uri + `"}]}`}
	}
	r.edit(trust("http://127.0.0.1:1/keys")...)
	short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := r.Reload(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without keys: %v", err)
	}
	if status, _ := r.product(); status != http.StatusOK {
		t.Errorf("anonymous clients are answered with %d", status)
	}
	r.edit(trust(keys.URL)...)
	r.reload()
	get(http.StatusOK)
	keys.Close()
	r.reload() // who issues tokens is out of reach, and known
	get(http.StatusOK)
}

// TestReloadRenewsCertificates wants new connections to be shown the certificate that the files hold.
func TestReloadRenewsCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := certificate(t, 1)
	write(t, dir+"/tls.crt", cert)
	write(t, dir+"/tls.key", key)
	r := run(t, (&shop{}).start(t), `{http: "127.0.0.1:0"`, `{http: {address: "127.0.0.1:0", tls: {cert: `+dir+`/tls.crt, key: `+dir+`/tls.key}}`)
	serial := func() int64 {
		t.Helper()
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
		conn, err := d.DialContext(t.Context(), "tcp", r.Addresses().HTTP.String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		c, ok := conn.(*tls.Conn)
		if !ok {
			t.Fatal("no TLS")
		}
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Errorf("the first certificate is number %d", got)
	}
	write(t, dir+"/tls.crt", "no certificate")
	if _, err := r.Reload(t.Context()); err == nil || serial() != 1 {
		t.Errorf("with a broken file: %v", err)
	}
	cert, key = certificate(t, 2)
	write(t, dir+"/tls.crt", cert)
	write(t, dir+"/tls.key", key)
	r.reload()
	if got := serial(); got != 2 {
		t.Errorf("the next certificate is number %d", got)
	}
}

// certificate makes a certificate that has signed itself, and its key, as PEM.
func certificate(tb testing.TB, serial int64) (cert, key string) {
	tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "shop.test"}, NotAfter: time.Now().Add(time.Hour)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		tb.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
