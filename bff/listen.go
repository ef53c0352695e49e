package bff

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/portico-bff/portico/bff/config"
	"github.com/portico-bff/portico/bff/config/mistake"
)

// listeners are the open listeners of a server.
type listeners struct {
	http, mqtt, admin net.Listener
	certificates      map[string]*atomic.Pointer[tls.Certificate] // by key of the section, of those with TLS
}

// open opens the listeners. Mistakes are reported together.
func (l *listeners) open(ctx context.Context, cfg *config.Listen, withMQTT bool) error {
	certificates, err := loadCertificates(cfg)
	errs := []error{err}
	l.certificates = map[string]*atomic.Pointer[tls.Certificate]{}
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
		lis, err := listen(ctx, one.cfg.Address)
		if err != nil {
			errs = append(errs, mistake.In(err, "listen", one.key))
			continue
		}
		if one.cfg.TLS != nil {
			l.certificates[one.key] = &atomic.Pointer[tls.Certificate]{}
			lis = tls.NewListener(lis, tlsConfig(l.certificates[one.key], one.proto))
		}
		*one.lis = lis
	}
	l.renew(certificates)
	return errors.Join(errs...)
}

// renew gives the listeners their certificates; connections that are open keep those that they have.
func (l *listeners) renew(certificates map[string]*tls.Certificate) {
	for key, certificate := range l.certificates {
		certificate.Store(certificates[key])
	}
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	lis, err := lc.Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &mistake.Mistake{What: address + " is taken by another program", Expected: "a free port", Err: err}
	}
	if err != nil {
		return nil, &mistake.Mistake{What: fmt.Sprintf("cannot listen at %s: %v", address, err), Err: err}
	}
	return lis, nil
}

// tlsConfig serves with the certificate of the moment.
func tlsConfig(certificate *atomic.Pointer[tls.Certificate], protocols []string) *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate.Load(), nil },
		MinVersion:     minTLS, NextProtos: protocols,
	}
}

// loadCertificates reads the certificates of the listeners that have one, by their keys. The error holds a mistake for
// each that is of no use.
func loadCertificates(cfg *config.Listen) (map[string]*tls.Certificate, error) {
	var errs []error
	pairs := map[string]*tls.Certificate{}
	for key, l := range map[string]config.Listener{"http": cfg.HTTP, "mqtt": cfg.MQTT, "admin": cfg.Admin} {
		if l.TLS == nil {
			continue
		}
		pair, err := tls.LoadX509KeyPair(l.TLS.Cert, l.TLS.Key)
		if err != nil {
			errs = append(errs, mistake.In(&mistake.Mistake{What: "no usable certificate: " + err.Error(), Err: err}, "listen", key, "tls"))
		}
		pairs[key] = &pair
	}
	return pairs, errors.Join(errs...)
}

// checkListeners finds what is wrong with the listeners without opening them.
func checkListeners(cfg *config.Listen) error {
	_, err := loadCertificates(cfg)
	errs := []error{err}
	for key, l := range map[string]config.Listener{"http": cfg.HTTP, "mqtt": cfg.MQTT, "admin": cfg.Admin} {
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
