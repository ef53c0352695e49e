package translate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/edge/record"
	"github.com/portico-bff/portico/bff/events"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/bff/translate/urlpath"
	"github.com/portico-bff/portico/upstream"
	"github.com/portico-bff/portico/upstream/wire"
)

// Options says how a [Router] works. Caller is required.
type Options struct {
	// Caller calls the methods.
	Caller upstream.Caller
	// Resolver finds the types of Any messages and extensions; those of the descriptors that the methods come from.
	Resolver wire.Resolver
	// Rules give methods other rules than their annotations, by the method's name as "package.Service/Method". An
	// entry for a method that is not among the router's is ignored.
	Rules map[string]Configured
	// Endpoints are routes that something other than a method answers.
	Endpoints []Endpoint
	// MaxBody bounds a request's body, and a message on a WebSocket; 1 MiB if zero.
	MaxBody int64
	// Origins are the origins beside the server's own whose pages may open WebSockets, as patterns of host names
	// such as "*.example.com", or with a scheme before them.
	Origins []string
	// Streams bounds what streams may do. It must be valid.
	Streams StreamLimits
	// Gate lets a WebSocket's first message bring a token; nil takes none.
	Gate Gate
	// Events keeps the event streams that clients can come back to; nil if there are none. The router does not close it.
	Events events.Source
}

// Endpoint is a route that something other than a gRPC method answers, such as a stored operation.
type Endpoint struct {
	// Name is what messages and logs call it.
	Name string
	// At is where it is written, as file:line:col; empty if that is not known.
	At string
	// Method and Path are the HTTP method and the path template.
	Method, Path string
	// Serve answers a request. vars holds the values of the template's variables. The request's context has the deadline
	// that the client has asked for.
	Serve func(w http.ResponseWriter, r *http.Request, vars []Var)
}

// Var is the value of a variable of a path template.
type Var struct{ Name, Value string }

// Router serves methods at the routes of their rules. It is an [http.Handler], immutable, and safe for concurrent use.
// Close it when the server goes down.
type Router struct {
	caller  upstream.Caller
	trie    trie[target]
	maxBody int64
	origins []string
	limits  StreamLimits
	events  events.Source
	buffers buffers
	paths   paths
	drain   *drain
	gate    Gate
	sockets atomic.Int64 // WebSockets that are open
}

// target is what a route leads to: a method or an endpoint.
type target struct {
	route    *route
	endpoint *Endpoint
}

// streams reports whether it is a streaming method.
func (t target) streams() bool { return t.route != nil && !t.route.method.Unary() }

func (t target) String() string {
	if t.route != nil {
		return t.route.String()
	}
	return fmt.Sprintf("%s (%s %s%s)", t.endpoint.Name, t.endpoint.Method, t.endpoint.Path, declaredAt(t.endpoint.At))
}

var _ http.Handler = (*Router)(nil)

const defaultMaxBody = 1 << 20

// New compiles the routes of methods. Methods without a rule are not served. The error joins a [mistake.Mistake]
// without a path for everything that is wrong with their rules.
func New(methods []*upstream.Method, o Options) (*Router, error) {
	rt := &Router{caller: o.Caller, maxBody: o.MaxBody, origins: o.Origins, events: o.Events, gate: o.Gate, drain: newDrain()}
	if rt.maxBody == 0 {
		rt.maxBody = defaultMaxBody
	}
	rt.limits = o.Streams.withDefaults(rt.maxBody)
	s := settings{
		render: wire.RenderOptions{Resolver: o.Resolver},
		parse:  wire.ParseOptions{Resolver: o.Resolver, MaxBytes: int(rt.maxBody)},
	}
	var errs []error
	for _, m := range methods {
		rule, place := o.Rules[m.Name].Rule, ""
		if rule != nil {
			place = o.Rules[m.Name].place()
		} else {
			var err error
			if rule, err = annotated(m); err != nil {
				errs = append(errs, mistake.At(err.Error()))
				continue
			}
		}
		if rule != nil {
			errs = append(errs, rt.addMethod(m, rule, place, s)...)
		}
	}
	for i := range o.Endpoints {
		e := &o.Endpoints[i]
		tmpl, err := parseTemplate(e.Path)
		if err != nil {
			errs = append(errs, mistake.At(fmt.Sprintf("%s: %v", e.Name, err)))
			continue
		}
		errs = append(errs, rt.add(e.Method, tmpl, target{endpoint: e})...)
	}
	for _, m := range methods {
		errs = append(errs, rt.addSocket(m, s))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return rt, nil
}

// addSocket adds /ws/{service}/{method} for a streaming method, unless somebody else's rule has that path.
func (rt *Router) addSocket(m *upstream.Method, s settings) error {
	if m.Unary() {
		return nil
	}
	made, err := compile(m, binding{httpMethod: http.MethodGet, path: "/ws/" + m.Name, body: "*"}, s)
	if err != nil {
		return mistake.At(fmt.Sprintf("%s: %v", m.Name, err))
	}
	made.socketOnly = true
	rt.trie.insert(http.MethodGet, made.template, target{route: made})
	return nil
}

// addMethod adds the routes of one method. place is where the rule is, if it is none of the method's own annotation.
func (rt *Router) addMethod(m *upstream.Method, rule *annotations.HttpRule, place string, s settings) (errs []error) {
	all, err := bindings(rule)
	if err != nil {
		return []error{mistake.At(fmt.Sprintf("%s: %v", m.Name, err))}
	}
	for _, b := range all {
		made, err := compile(m, b, s)
		if err != nil {
			for _, wrong := range mistake.List(err) {
				errs = append(errs, mistake.At(fmt.Sprintf("%s (%s %s): %s", m.Name, b.httpMethod, b.path, wrong.Text())))
			}
			continue
		}
		made.place = place
		errs = append(errs, rt.add(b.httpMethod, made.template, target{route: made})...)
	}
	return errs
}

func (rt *Router) add(httpMethod string, tmpl *template, t target) []error {
	if taken := rt.trie.insert(httpMethod, tmpl, t); taken != nil {
		return []error{mistake.At(fmt.Sprintf("%v and %v match the same requests", *taken, t))}
	}
	return nil
}

// ServeHTTP answers a request.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := rt.paths.get()
	if err := at.parse(r.URL); err != nil {
		Refuse(w, r, fault.New(codes.InvalidArgument, err.Error(), fault.WithCause(err)))
		return
	}
	p := &at.Path
	found := rt.find(r, p)
	if found == nil {
		methods := rt.trie.methods(p)
		switch {
		case len(methods) == 0:
			Refuse(w, r, noRoute())
		case r.Method == http.MethodOptions:
			options(w, methods)
		default:
			wrongMethod(w, r, methods)
		}
		return
	}
	if e := found.route.endpoint; e != nil {
		e.serve(w, r, variables(found.template, p))
		return
	}
	rt.serve(w, r, found.route.route, p)
	if !found.route.streams() { // nothing goes on
		rt.paths.put(at)
	}
}

// serve answers a request within the time that the client gives it.
func (e *Endpoint) serve(w http.ResponseWriter, r *http.Request, vars []Var) {
	rec := record.FromContext(r.Context())
	rec.Route, rec.Operation = e.Path, e.Name
	limit, err := clientTimeout(r.Header)
	if err != nil {
		Refuse(w, r, err)
		return
	}
	if limit > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		r = r.WithContext(ctx)
	}
	e.Serve(w, r, vars)
}

// find finds the route that a request is for; nil if there is none.
func (rt *Router) find(r *http.Request, p *urlpath.Path) *leaf[target] {
	found := rt.trie.lookup(r.Method, p)
	if request.IsWebSocket(r) && (found == nil || !found.route.streams()) {
		return rt.streaming(p, found)
	}
	return found
}

// streaming finds the streaming method at a path, whatever the HTTP method of its rule: a WebSocket always begins with
// GET. If there is none, it returns found.
func (rt *Router) streaming(p *urlpath.Path, found *leaf[target]) *leaf[target] {
	for _, httpMethod := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := rt.trie.lookup(httpMethod, p)
		if other != nil && other.route.streams() {
			return other
		}
	}
	return found
}

// serve answers a request for a method.
func (rt *Router) serve(w http.ResponseWriter, r *http.Request, to *route, p *urlpath.Path) {
	rec := record.FromContext(r.Context())
	rec.Route, rec.Operation = to.name, to.method.Name
	switch {
	case to.method.Unary():
		rt.unary(w, r, to, p)
	case request.IsWebSocket(r):
		rt.socket(w, r, to, p)
	case to.uploads != nil && !to.socketOnly:
		rt.upload(w, r, to.uploads, p)
	case to.method.ClientStreaming, to.socketOnly:
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		Refuse(w, r, fault.New(codes.InvalidArgument, "this path speaks WebSocket",
			fault.WithHTTPStatus(http.StatusUpgradeRequired)))
	default:
		rt.stream(w, r, to, p)
	}
}

// variables pairs the names of a template's variables with what they matched.
func variables(t *template, p *urlpath.Path) []Var {
	values := t.values(nil, p)
	vars := make([]Var, len(values))
	for i, value := range values {
		vars[i] = Var{Name: t.vars[i].field, Value: value}
	}
	return vars
}
