// Package mobile is the REST door: methods of gRPC services at the routes of their google.api.http rules, and stored
// GraphQL operations at the routes of their @rest directives, in one table of routes.
//
// Start with [New]. Package translate does the work for methods; this package adds the operations. See [Operation] for
// what a request to one looks like and what it answers.
package mobile

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/events"
	"github.com/portico-bff/portico/bff/translate"
	"github.com/portico-bff/portico/upstream"
)

// Options is what the door works with. Descriptors and Caller are required.
type Options struct {
	// Descriptors knows the services.
	Descriptors *upstream.Descriptors
	// Caller calls their methods.
	Caller upstream.Caller
	// Operations are the stored operations with a route.
	Operations []Operation
	// Rules give methods other rules than their annotations, by the method's name as "package.Service/Method".
	Rules map[string]translate.Configured
	// MaxBody bounds a request's body and a WebSocket's messages; 1 MiB if zero.
	MaxBody int64
	// Origins are the origins beside the server's own whose pages may open WebSockets.
	Origins []string
	// Gate lets a WebSocket's first message bring a token; nil takes none.
	Gate translate.Gate
	// Events makes the calls of the streams in [Config.Streams]; required if there are any.
	Events events.Caller
	// Metrics takes the metrics of these streams; nil registers them nowhere.
	Metrics prometheus.Registerer
	// Previous is the door that this one may replace; nil if there is none. If [Config.Streams] are the same, the two have
	// the same event logs, whose calls Events of the first of them goes on to make. See [Door.TakeOver].
	Previous *Door
}

// Door is the REST door. It is an [http.Handler], safe for concurrent use. Close it when the server goes down.
type Door struct {
	router  *translate.Router
	events  *events.Hub // nil if no stream can be resumed
	streams map[string]events.Config
	shares  atomic.Pointer[Door] // whose event logs these are; nil if they are its own
	lent    atomic.Bool          // the event logs are a later door's
}

var _ http.Handler = (*Door)(nil)

// New compiles all routes. The error holds a [mistake.Mistake] for everything that is wrong, at paths of
// [Config]; what is wrong with an annotation or an operation has no path.
func New(cfg Config, o Options) (*Door, error) {
	var errs []error
	var methods []*upstream.Method
	listed := map[string]bool{}
	for i, service := range cfg.Services {
		found := o.Descriptors.Methods(service)
		switch {
		case len(found) == 0:
			errs = append(errs, &mistake.Mistake{
				Path: []string{"services", strconv.Itoa(i)}, What: fmt.Sprintf("unknown service %q", service),
				Nearest: mistake.Nearest(service, o.Descriptors.Services()),
			})
		case listed[service]:
			errs = append(errs, mistake.At(fmt.Sprintf("service %q is listed twice", service), "services", strconv.Itoa(i)))
		default:
			methods = append(methods, found...)
		}
		listed[service] = true
	}
	errs = append(errs, mistake.In(cfg.StreamLimits.Validate(), "stream_limits"))
	endpoints := make([]translate.Endpoint, len(o.Operations))
	for i := range o.Operations {
		endpoints[i] = o.Operations[i].endpoint(o.MaxBody)
		errs = append(errs, o.Operations[i].check())
	}
	door := &Door{streams: cfg.Streams}
	routing := translate.Options{
		Caller: o.Caller, Resolver: o.Descriptors.Types(), Rules: o.Rules, Endpoints: endpoints,
		MaxBody: o.MaxBody, Origins: o.Origins, Streams: cfg.StreamLimits, Gate: o.Gate,
	}
	if len(cfg.Streams) > 0 {
		var err error
		door.events, err = events.New(cfg.Streams, methods, events.Options{Caller: o.Events, Metrics: o.Metrics})
		errs = append(errs, mistake.In(err, "streams"))
		if err == nil && o.Previous != nil && reflect.DeepEqual(o.Previous.streams, cfg.Streams) {
			door.events = o.Previous.events.Share(methods)
			door.shares.Store(o.Previous)
		}
		routing.Events = door.events
	}
	var err error
	door.router, err = translate.New(methods, routing)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return door, nil
}

// ServeHTTP answers a request.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) { d.router.ServeHTTP(w, r) }

// TakesToken reports whether a request begins a WebSocket whose first message may be a token, so that it may come in
// without.
func (d *Door) TakesToken(r *http.Request) bool { return d.router.TakesToken(r) }

// TakeOver makes the event logs that d shares with previous d's own: closing previous does not end them any more. It must be
// called when d takes the place of previous; until then, and forever if it never does, they are previous's.
func (d *Door) TakeOver(previous *Door) {
	if d.shares.CompareAndSwap(previous, nil) {
		previous.lent.Store(true)
	}
}

// Close ends all streams and WebSockets, telling their clients that the server goes down and to come back, and waits for
// them until ctx ends. From then on streams are refused; other requests are still answered.
func (d *Door) Close(ctx context.Context) error {
	err := d.router.Close(ctx)
	if d.ownsEvents() {
		err = errors.Join(err, d.events.Close(ctx))
	}
	return err
}

// Retire is [Door.Close] where another door has taken this one's place: clients are told that the configuration has changed.
func (d *Door) Retire(ctx context.Context) error {
	err := d.router.Retire(ctx)
	if d.ownsEvents() {
		err = errors.Join(err, d.events.Retire(ctx))
	}
	return err
}

func (d *Door) ownsEvents() bool {
	return d.events != nil && !d.lent.Load() && d.shares.Load() == nil
}
