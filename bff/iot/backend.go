package iot

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/iot/broker"
)

// bridgeID is the bridge's client id at the embedded broker. Devices' ids begin with [front.ClientIDPrefix].
const bridgeID = "portico-bridge"

// backend is the broker behind the door, whichever it is.
type backend struct {
	embedded        *broker.Broker // nil for an external one
	dial            func(context.Context) (net.Conn, error)
	devices, bridge broker.User
	bridgeID, share string
}

func startBackend(ctx context.Context, p *plan, logger *slog.Logger) (*backend, error) {
	if p.cfg.Broker.External != nil {
		return external(p)
	}
	cfg := p.cfg.Broker
	b, err := broker.Start(ctx, broker.Options{
		Store:      cfg.Embedded.Store,
		SyncAlways: cfg.Embedded.Sync == syncAlways,
		MaxBytes:   int64(cfg.Embedded.MaxBytes),
		AckWait:    cfg.AckWait,
		MaxUnacked: cfg.MaxUnacked,
		Devices:    broker.Topics{Publish: filters(p.publish), Subscribe: filters(p.subscribe)},
		Bridge:     broker.Topics{Publish: p.bridge.Publishes(), Subscribe: p.bridge.Filters()},
		Logger:     logger,
	})
	if err != nil {
		return nil, mistake.In(err, "broker", "embedded", "store")
	}
	return &backend{
		embedded: b,
		devices:  b.Devices(),
		bridge:   b.Bridge(),
		bridgeID: bridgeID,
		dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", b.Addr())
		},
	}, nil
}

func external(p *plan) (*backend, error) {
	cfg := p.cfg.Broker.External
	user := broker.User{Name: cfg.Username, Password: cfg.Password}
	b := &backend{devices: user, bridge: user, bridgeID: cfg.ClientID, share: cfg.Share}
	if !p.externalTLS {
		b.dial = func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", p.externalAddr)
		}
		return b, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CA != "" {
		pem, err := os.ReadFile(cfg.CA)
		if err != nil {
			return nil, mistake.In(err, "broker", "external", "ca")
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, mistake.At(cfg.CA+" holds no PEM certificate", "broker", "external", "ca")
		}
	}
	b.dial = func(ctx context.Context) (net.Conn, error) {
		return (&tls.Dialer{Config: t}).DialContext(ctx, "tcp", p.externalAddr)
	}
	return b, nil
}

func (b *backend) ready() error {
	if b.embedded != nil && !b.embedded.Running() {
		return errors.New("the embedded broker has stopped")
	}
	return nil
}

func (b *backend) close() {
	if b.embedded != nil {
		b.embedded.Close()
	}
}
