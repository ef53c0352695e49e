package broker_test

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/goleak"

	"github.com/portico-bff/portico/bff/iot/broker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, dir string, maxBytes int64) *broker.Broker {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Options{
		Store: dir, MaxBytes: maxBytes, AckWait: 2 * time.Second, MaxUnacked: 1000,
		Devices: broker.Topics{Publish: []string{"boxes/+/telemetry"}, Subscribe: []string{"boxes/+/commands"}},
		Bridge:  broker.Topics{Publish: []string{"dead/boxes"}, Subscribe: []string{"boxes/+/telemetry"}},
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func connect(t *testing.T, b *broker.Broker, id string, u broker.User, handler mqtt.MessageHandler) mqtt.Client {
	t.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + b.Addr()).SetClientID(id).
		SetUsername(u.Name).SetPassword(u.Password).SetCleanSession(false).SetAutoReconnect(false).
		SetAutoAckDisabled(true).SetDefaultPublishHandler(handler))
	if tok := c.Connect(); !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	return c
}

func wait(t *testing.T, tok mqtt.Token) error {
	t.Helper()
	if !tok.WaitTimeout(3 * time.Second) {
		t.Fatal("no answer from the broker")
	}
	return tok.Error()
}

// What was acknowledged to a publisher is there after a restart of the broker, for the session that wanted it.
func TestKeepsMessagesOverRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, dir, 1<<20)
	bridge := connect(t, b, "bridge", b.Bridge(), nil)
	if err := wait(t, bridge.Subscribe("boxes/+/telemetry", 1, nil)); err != nil {
		t.Fatal(err)
	}
	bridge.Disconnect(0)
	device := connect(t, b, "d_1", b.Devices(), nil)
	if err := wait(t, device.Publish("boxes/1/telemetry", 1, false, "cold")); err != nil {
		t.Fatal(err)
	}
	device.Disconnect(0)
	b.Close()
	b.Close()

	b = start(t, dir, 2<<20) // with another limit
	defer b.Close()
	got := make(chan mqtt.Message, 1)
	bridge = connect(t, b, "bridge", b.Bridge(), func(_ mqtt.Client, m mqtt.Message) { got <- m })
	defer bridge.Disconnect(0)
	select {
	case m := <-got:
		if m.Topic() != "boxes/1/telemetry" || !bytes.Equal(m.Payload(), []byte("cold")) {
			t.Errorf("got %s %q", m.Topic(), m.Payload())
		}
		m.Ack()
	case <-time.After(5 * time.Second):
		t.Fatal("the message is lost")
	}
}

// A full store acknowledges nothing, so that a device keeps what it could not hand over.
func TestFullStoreWithholdsAcks(t *testing.T) {
	t.Parallel()
	b := start(t, t.TempDir(), 64<<10)
	defer b.Close()
	bridge := connect(t, b, "bridge", b.Bridge(), func(mqtt.Client, mqtt.Message) {})
	defer bridge.Disconnect(0)
	if err := wait(t, bridge.Subscribe("boxes/+/telemetry", 1, nil)); err != nil {
		t.Fatal(err)
	}
	lost := make(chan struct{})
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + b.Addr()).SetClientID("d_1").
		SetUsername(b.Devices().Name).SetPassword(b.Devices().Password).SetAutoReconnect(false).
		SetConnectionLostHandler(func(mqtt.Client, error) { close(lost) }))
	if err := wait(t, c.Connect()); err != nil {
		t.Fatal(err)
	}
	defer c.Disconnect(0)
	acked := 0
	for range 100 {
		tok := c.Publish("boxes/1/telemetry", 1, false, make([]byte, 4<<10))
		select {
		case <-tok.Done():
			if tok.Error() == nil {
				acked++
			}
			continue
		case <-lost:
		case <-time.After(3 * time.Second):
			t.Fatal("the publisher is neither acknowledged nor disconnected")
		}
		break
	}
	if acked == 0 || acked > 16 {
		t.Errorf("%d messages of 4 KiB were acknowledged, the store holds 64 KiB", acked)
	}
}

// Logins other than the two, and the setup user over MQTT, are refused.
func TestRefusesStrangers(t *testing.T) {
	t.Parallel()
	b := start(t, t.TempDir(), 1<<20)
	defer b.Close()
	for _, u := range []broker.User{
		{}, {Name: "devices", Password: "devices"}, {Name: "devices", Password: b.Bridge().Password}, {Name: "setup"},
	} {
		c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + b.Addr()).SetClientID("x").
			SetUsername(u.Name).SetPassword(u.Password).SetAutoReconnect(false))
		if err := wait(t, c.Connect()); err == nil {
			c.Disconnect(0)
			t.Errorf("%q was let in", u.Name)
		}
	}
}
