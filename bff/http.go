package bff

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/config"
	"github.com/portico-bff/portico/bff/edge"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
)

// serveHTTP makes the servers of the HTTP doors and of the admin port.
func (s *Server) serveHTTP(cfg *config.Config) {
	s.http = edge.Server(cfg.LimitsHTTP, http.HandlerFunc(s.dispatch))
	s.http.ErrorLog = slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug)
	s.admin = s.adminServer()
}

// router puts the doors behind the edge's middleware: the GraphQL door at its path and below, and REST everywhere
// else.
func router(cfg *config.Config, parts *compiled, env environment, ext Extensions) http.Handler {
	path := ""
	if parts.web != nil {
		path = parts.web.Path()
	}
	middleware := edge.Chain(cfg.LimitsHTTP, edge.Options{
		Core: parts.core, Logger: env.logger, Metrics: env.metrics, Tracer: env.tracer,
		Door: func(r *http.Request) request.Door {
			// As chi does, by the path before decoding: an encoded slash does not separate.
			if at := r.URL.EscapedPath(); path != "" && (at == path || strings.HasPrefix(at, path+"/")) {
				return request.Web
			}
			return request.Mobile
		},
		TakesToken: func(r *http.Request) bool {
			if path != "" && r.URL.EscapedPath() == path && r.URL.Path == path {
				return true
			}
			return parts.mobile != nil && parts.mobile.TakesToken(r)
		},
	})
	r := chi.NewRouter()
	if parts.web != nil {
		r.Handle(path, parts.web)
		r.Handle(path+"/*", parts.web)
	}
	var rest http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fault.WriteProblem(w, r, fault.New(codes.NotFound, "there is nothing at this path"))
	})
	if parts.mobile != nil {
		rest = parts.mobile
	}
	r.NotFound(rest.ServeHTTP)
	r.MethodNotAllowed(rest.ServeHTTP)
	// The middleware is around the router, not in it: chi runs its own only where it has routes. It makes a context and a
	// request of its own for each request, which those for the REST door, known by now, need not pay for.
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if request.FromContext(req.Context()).Door == request.Mobile {
			rest.ServeHTTP(w, req)
			return
		}
		r.ServeHTTP(w, req)
	})
	for _, wrap := range slices.Backward(slices.Concat(middleware, ext.Middleware)) {
		h = wrap(h)
	}
	return h
}
