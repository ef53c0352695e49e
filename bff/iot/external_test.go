package iot_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/iot"
)

// mosquitto starts a broker that lets in portico with a password alone, and returns its address.
func mosquitto(t *testing.T) string {
	t.Helper()
	bin, passwd := tool(t, "mosquitto"), tool(t, "mosquitto_passwd")
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	if out, err := exec.CommandContext(t.Context(), passwd, "-b", "-c", users, "portico", "secret").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v: %s", err, out)
	}
	lis, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, ok := lis.Addr().(*net.TCPAddr)
	if !ok || lis.Close() != nil {
		t.Fatal("no free port")
	}
	conf := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\npassword_file %s\nallow_anonymous false\nmax_inflight_messages 1000\nmax_queued_messages 0\nuser root\n",
		addr.Port, users)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually(t, 5*time.Second, func() error {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr.String())
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	return addr.String()
}

// With an external broker everything is as with the embedded one: two doors share the uplinks, and a broker that does
// not deliver again by itself is made to.
func TestExternalBroker(t *testing.T) {
	t.Parallel()
	addr := mosquitto(t)
	f := newFleet()
	cfg := config("")
	cfg.Broker = iot.Broker{AckWait: time.Second, External: &iot.External{
		URL: "tcp://" + addr, Username: "portico", Password: "secret", Share: "portico",
	}}
	one := open(t, cfg, f)
	second := *cfg.Broker.External
	second.ClientID = "portico-bridge-2"
	cfg.Broker.External = &second
	two := open(t, cfg, f)

	f.setFail(status.Error(codes.Unavailable, "away"))
	const n = 100
	for i, d := range []*door{one, two} {
		c := d.device(t, fmt.Sprintf("box-%d", i))
		for s := range n {
			if err := wait(c.Publish(fmt.Sprintf("boxes/box-%d/telemetry", i), 1, false, reading(1000+s))); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(1200 * time.Millisecond) // beyond ack_wait
	f.setFail(nil)
	for i := range 2 {
		eventually(t, 15*time.Second, func() error {
			if got := len(f.stored(fmt.Sprintf("box-%d", i))); got != n {
				return fmt.Errorf("%d of %d readings of box %d are stored", got, n, i)
			}
			return nil
		})
	}
	got := make(chan mqtt.Message, 1)
	c := one.device(t, "box-0")
	if err := wait(c.Subscribe("boxes/box-0/commands", 1, func(_ mqtt.Client, m mqtt.Message) { got <- m })); err != nil {
		t.Fatal(err)
	}
	f.commands <- command("cmd-1", "box-0")
	select {
	case <-got:
	case <-time.After(5 * time.Second):
		t.Fatal("no command arrived")
	}
}
