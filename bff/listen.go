package bff

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/portico-bff/portico/bff/config"
	"github.com/portico-bff/portico/bff/config/mistake"
)

// listeners are the open listeners of a server.
type listeners struct {
	http, mqtt, admin net.Listener
}

// open opens the listeners. Mistakes are reported together.
func (l *listeners) open(ctx context.Context, cfg *config.Listen, withMQTT bool) error {
	var errs []error
	for _, one := range []struct {
		key   string
		cfg   config.Listener
		lis   *net.Listener
		proto []string
		skip  bool
	}{
		{key: "http", cfg: cfg.HTTP, lis: &l.http, proto: []string{"h2", "http/1.1"}},
		{key: "mqtt", cfg: cfg.MQTT, lis: &l.mqtt, skip: !withMQTT},
		{key: "admin", cfg: cfg.Admin, lis: &l.admin, proto: []string{"h2", "http/1.1"}},
	} {
		if one.skip {
			continue
		}
		lis, err := listen(ctx, one.cfg, one.proto)
		if err != nil {
			errs = append(errs, mistake.In(err, "listen", one.key))
			continue
		}
		*one.lis = lis
	}
	return errors.Join(errs...)
}

func listen(ctx context.Context, cfg config.Listener, protocols []string) (net.Listener, error) {
	settings, err := tlsConfig(cfg.TLS, protocols)
	if err != nil {
		return nil, mistake.In(err, "tls")
	}
	var lc net.ListenConfig
	lis, err := lc.Listen(ctx, "tcp", cfg.Address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &mistake.Mistake{What: cfg.Address + " is taken by another program", Expected: "a free port", Err: err}
	}
	if err != nil {
		return nil, &mistake.Mistake{What: fmt.Sprintf("cannot listen at %s: %v", cfg.Address, err), Err: err}
	}
	if settings != nil {
		lis = tls.NewListener(lis, settings)
	}
	return lis, nil
}

// tlsConfig loads a certificate; nil without one.
func tlsConfig(c *config.Certificate, protocols []string) (*tls.Config, error) {
	if c == nil {
		return nil, nil //nolint:nilnil // no certificate is no TLS
	}
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, &mistake.Mistake{What: "no usable certificate: " + err.Error(), Err: err}
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: minTLS, NextProtos: protocols}, nil
}

// checkListeners finds what is wrong with the listeners without opening them.
func checkListeners(cfg *config.Listen) error {
	var errs []error
	for key, l := range map[string]config.Listener{"http": cfg.HTTP, "mqtt": cfg.MQTT, "admin": cfg.Admin} {
		if _, err := tlsConfig(l.TLS, nil); err != nil {
			errs = append(errs, mistake.In(err, "listen", key, "tls"))
		}
		if _, err := net.ResolveTCPAddr("tcp", l.Address); err != nil {
			errs = append(errs, mistake.In(&mistake.Mistake{What: "no address: " + err.Error(), Err: err}, "listen", key))
		}
	}
	return errors.Join(errs...)
}

func (l *listeners) addresses() Addresses {
	a := Addresses{HTTP: l.http.Addr(), Admin: l.admin.Addr()}
	if l.mqtt != nil {
		a.MQTT = l.mqtt.Addr()
	}
	return a
}

// close closes the listeners that nobody has closed yet.
func (l *listeners) close() error {
	var errs []error
	for _, lis := range []net.Listener{l.http, l.mqtt, l.admin} {
		if lis == nil {
			continue
		}
		if err := lis.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
