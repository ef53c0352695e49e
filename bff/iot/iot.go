// Package iot is the MQTT door: devices publish to topics that are carried to gRPC methods, and receive what gRPC
// streams bring.
//
// A [Door] has three parts. Package front is where devices connect: it authenticates them, keeps them to their own
// topics and passes what is sound on to the broker. The broker stores messages: nats-server in this process (package
// broker), or an external one. Package bridge carries them between the broker and the services. A device's PUBACK
// means that the broker has stored the message; the bridge acknowledges it to the broker when the service has accepted
// it. Together: no message with a PUBACK is lost. So no device is let in before the bridge has subscribed, for until
// then a broker keeps nothing.
//
// [Check] checks a configuration without starting anything; [New] starts a door.
package iot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/iot/bridge"
	"github.com/portico-bff/portico/bff/iot/front"
	"github.com/portico-bff/portico/bff/limit"
	"github.com/portico-bff/portico/upstream"
)

// Core is what the door needs of package core.
type Core interface {
	Authenticate(ctx context.Context, c auth.Credentials) (context.Context, error)
	Admit(ctx context.Context, op core.Operation, weight int) (limit.Result, error)
	upstream.Caller
}

var _ Core = (*core.Core)(nil)

// Options are what a [Door] is made of, besides its configuration. All of them are required.
type Options struct {
	Core        Core
	Descriptors *upstream.Descriptors
	// Listeners are where devices connect; a TLS listener makes TLS connections. The door closes them.
	Listeners []net.Listener
	Logger    *slog.Logger
	Metrics   prometheus.Registerer
}

// Door is a running MQTT door. It is safe for concurrent use.
type Door struct {
	listeners []net.Listener
	broker    *backend
	bridge    *bridge.Bridge
	front     *front.Server
	serving   sync.WaitGroup
}

// New starts a door: broker, bridge and front. An error that is about the configuration joins a
// [github.com/portico-bff/portico/bff/config/mistake.Mistake] for each thing that is wrong. ctx is for starting alone;
// the door lives until [Door.Close]. If New fails, nothing runs, and the listeners are still the caller's.
func New(ctx context.Context, cfg Config, o Options) (*Door, error) {
	p, err := compile(cfg, o.Descriptors)
	if err != nil {
		return nil, err
	}
	d := &Door{listeners: o.Listeners}
	if d.broker, err = startBackend(ctx, p, o.Logger); err != nil {
		return nil, err
	}
	if d.bridge, err = bridge.New(ctx, bridge.Options{
		Plan:        p.bridge,
		Caller:      o.Core,
		Dial:        d.broker.dial,
		ClientID:    d.broker.bridgeID,
		User:        d.broker.bridge.Name,
		Password:    d.broker.bridge.Password,
		Share:       d.broker.share,
		Redelivers:  d.broker.embedded != nil,
		AckWait:     p.cfg.Broker.AckWait,
		MaxUnacked:  p.cfg.Broker.MaxUnacked,
		WindowBytes: int64(p.cfg.Broker.WindowBytes),
		Logger:      o.Logger,
		Metrics:     o.Metrics,
	}); err != nil {
		d.broker.close()
		return nil, fmt.Errorf("starting the bridge: %w", err)
	}
	limits := p.cfg.Limits
	if d.front, err = front.New(front.Options{
		Limits: front.Limits{
			Connections:    limits.Connections,
			ConnectTimeout: limits.ConnectTimeout,
			ConnectBytes:   int(limits.ConnectBytes),
			PacketBytes:    int(limits.PacketBytes),
			Keepalive:      limits.Keepalive,
			Rate:           rate.Every(limits.Rate.Interval()),
			Burst:          limits.Burst,
			Subscriptions:  limits.Subscriptions,
		},
		Publish:   p.publish,
		Subscribe: p.subscribe,
		Dial:      d.broker.dial,
		User:      d.broker.devices.Name,
		Password:  d.broker.devices.Password,
		Gate:      &gate{core: o.Core, bridge: d.bridge},
		Logger:    o.Logger,
		Metrics:   o.Metrics,
	}); err != nil {
		d.bridge.Close(ctx)
		d.broker.close()
		return nil, fmt.Errorf("starting the front: %w", err)
	}
	for _, lis := range o.Listeners {
		d.serving.Go(func() {
			if err := d.front.Serve(lis); err != nil { //nolint:contextcheck // ctx is for starting; Close ends it
				o.Logger.ErrorContext(context.WithoutCancel(ctx), "serving devices", "error", err)
			}
		})
	}
	return d, nil
}

// Addr is the address of the first listener; nil if there is none.
func (d *Door) Addr() net.Addr {
	if len(d.listeners) == 0 {
		return nil
	}
	return d.listeners[0].Addr()
}

// Ready tells why messages do not flow at the moment, or nil.
func (d *Door) Ready() error {
	return errors.Join(d.broker.ready(), d.bridge.Ready())
}

// Close disconnects the devices, lets deliveries to services that are under way end until ctx does, and stops the
// broker. What is not delivered stays in the broker's store, and is delivered after the next start. A second call does
// nothing.
func (d *Door) Close(ctx context.Context) error {
	d.front.Close()
	d.serving.Wait()
	d.bridge.Close(ctx)
	d.broker.close()
	return nil
}
