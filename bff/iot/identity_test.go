package iot_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/portico-bff/portico/bff/iot"
)

func TestWhoIsLetIn(t *testing.T) {
	t.Parallel()
	d := open(t, config(t.TempDir()), newFleet())
	tests := []struct {
		name            string
		id, user, token string
		want            error
	}{
		{"a device", "box-1", "box-1", "device box-1", nil},
		{"a bad token", "box-1", "box-1", "nonsense", packets.ErrorRefusedBadUsernameOrPassword},
		{"somebody else's user name", "box-1", "box-2", "device box-1", packets.ErrorRefusedBadUsernameOrPassword},
		{"somebody else's client id", "box-2", "box-1", "device box-1", packets.ErrorRefusedIDRejected},
		{"a customer", "usr-1", "usr-1", "user usr-1", packets.ErrorRefusedNotAuthorised},
		{"no token", "box-1", "box-1", "", packets.ErrorRefusedNotAuthorised},
	}
	for _, tt := range tests {
		c := mqtt.NewClient(d.options(tt.id, tt.token).SetUsername(tt.user))
		err := wait(c.Connect())
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err == nil {
			c.Disconnect(0)
		}
	}
}

// A device is gone when its token is.
func TestTokenExpires(t *testing.T) {
	t.Parallel()
	d := open(t, config(t.TempDir()), newFleet())
	lost := make(chan struct{})
	connect(t, d.options("box-1", "device box-1 500ms").SetConnectionLostHandler(func(mqtt.Client, error) { close(lost) }))
	select {
	case <-lost:
	case <-time.After(3 * time.Second):
		t.Fatal("still connected after the token has expired")
	}
}

// While the bridge has not subscribed, the broker would acknowledge messages and drop them: nobody is let in.
func TestNobodyBeforeTheBridge(t *testing.T) {
	t.Parallel()
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // a broker that never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	lis, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := config("")
	cfg.Broker = iot.Broker{External: &iot.External{URL: "tcp://" + silent.Addr().String()}}
	d, err := iot.New(t.Context(), cfg, iot.Options{
		Core: newFleet(), Descriptors: descriptors(t), Listeners: []net.Listener{lis},
		Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	c := mqtt.NewClient((&door{addr: lis.Addr().String()}).options("box-1", "device box-1"))
	if err := wait(c.Connect()); !errors.Is(err, packets.ErrorRefusedServerUnavailable) {
		t.Errorf("connecting: %v", err)
	}
	if d.Ready() == nil {
		t.Error("the door says that it is ready")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := d.Close(ctx); err != nil {
		t.Error(err)
	}
}

// Over TLS the door is the same; a client that never shakes hands is dropped in time.
func TestTLS(t *testing.T) {
	t.Parallel()
	https := httptest.NewTLSServer(nil) // for its certificate
	defer https.Close()
	lis, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: https.TLS.Certificates, MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	f := newFleet()
	d, err := iot.New(t.Context(), config(t.TempDir()), iot.Options{
		Core: f, Descriptors: descriptors(t), Listeners: []net.Listener{lis},
		Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	open := &door{Door: d, addr: lis.Addr().String()}
	t.Cleanup(func() { open.close(t) })
	eventually(t, 5*time.Second, d.Ready)
	roots := x509.NewCertPool()
	roots.AddCert(https.Certificate())
	o := open.options("box-1", "device box-1").SetTLSConfig(&tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS13})
	o.Servers = nil
	c := connect(t, o.AddBroker("ssl://"+d.Addr().String()))
	if err := wait(c.Publish("boxes/box-1/telemetry", 1, false, reading(1))); err != nil {
		t.Error(err)
	}
	silent, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", d.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if err := silent.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := silent.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a client that says nothing stays connected")
	}
}

// tool finds a program, or skips the test; under PORTICO_REQUIRE_ALL it must be there.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	if os.Getenv("PORTICO_REQUIRE_ALL") != "" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed (Debian: mosquitto, mosquitto-clients)", name)
	return ""
}

// A client that is not ours: what mosquitto_pub publishes is stored, and mosquitto_sub receives a command.
func TestMosquittoClients(t *testing.T) {
	t.Parallel()
	pub, sub := tool(t, "mosquitto_pub"), tool(t, "mosquitto_sub")
	f := newFleet()
	d := open(t, config(t.TempDir()), f)
	_, port, err := net.SplitHostPort(d.addr)
	if err != nil {
		t.Fatal(err)
	}
	login := []string{"-h", "127.0.0.1", "-p", port, "-i", "box-0006", "-u", "box-0006", "-P", "device box-0006"}
	out, err := exec.CommandContext(t.Context(), pub, append(login, "-q", "1", "-t", "boxes/box-0006/telemetry", "-m", reading(7))...).CombinedOutput()
	if err != nil {
		t.Fatalf("mosquitto_pub: %v: %s", err, out)
	}
	eventually(t, 5*time.Second, func() error {
		if f.stored("box-0006")[7] == nil {
			return errors.New("the reading is not stored")
		}
		return nil
	})
	done := make(chan struct{})
	go func() { // again and again: who is not subscribed yet misses a command
		for i := 0; ; i++ {
			select {
			case f.commands <- command(fmt.Sprintf("cmd-%d", i), "box-0006"):
				time.Sleep(20 * time.Millisecond)
			case <-done:
				return
			}
		}
	}()
	out, err = exec.CommandContext(t.Context(), sub, append(login, "-q", "1", "-t", "boxes/box-0006/commands", "-C", "1", "-W", "10")...).CombinedOutput()
	close(done)
	if err != nil || !strings.Contains(string(out), `"commandId":"cmd-`) {
		t.Errorf("mosquitto_sub: %v: %s", err, out)
	}
}
