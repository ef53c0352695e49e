package client

import (
	"errors"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// Device is an MQTT client.
type Device struct {
	client mqtt.Client
	lost   chan error
}

// TryDevice connects a device: its id is user name and client id, its token the password.
func TryDevice(tb testing.TB, url, id, token string) (*Device, error) {
	tb.Helper()
	d := &Device{lost: make(chan error, 1)}
	d.client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker(url).SetClientID(id).SetUsername(id).SetPassword(token).
		SetProtocolVersion(4).SetCleanSession(true).SetAutoReconnect(false).SetConnectTimeout(timeout).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { d.lost <- err }))
	tb.Cleanup(func() { d.client.Disconnect(0) })
	return d, wait(d.client.Connect(), timeout)
}

// Connect is TryDevice where failing to connect fails the test.
func Connect(tb testing.TB, url, id, token string) *Device {
	tb.Helper()
	d, err := TryDevice(tb, url, id, token)
	if err != nil {
		tb.Fatalf("connect %s to %s: %v", id, url, err)
	}
	return d
}

// Publish publishes with QoS 1 and waits for the acknowledgement.
func (d *Device) Publish(topic, payload string, within time.Duration) error {
	return wait(d.client.Publish(topic, 1, false, payload), within)
}

// Subscribe subscribes with QoS 1 and returns the channel of payloads.
func (d *Device) Subscribe(topic string) (<-chan string, error) {
	payloads := make(chan string, 1024)
	token := d.client.Subscribe(topic, 1, func(_ mqtt.Client, m mqtt.Message) { payloads <- string(m.Payload()) })
	if err := wait(token, timeout); err != nil {
		return nil, err
	}
	if t, ok := token.(*mqtt.SubscribeToken); ok && t.Result()[topic] == 0x80 {
		return nil, errors.New("SUBACK 0x80")
	}
	return payloads, nil
}

// Lost receives the reason when the server closes the connection.
func (d *Device) Lost() <-chan error { return d.lost }

func wait(token mqtt.Token, within time.Duration) error {
	if !token.WaitTimeout(within) {
		return errors.New("no acknowledgement")
	}
	return token.Error()
}
