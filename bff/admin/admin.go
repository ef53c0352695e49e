// Package admin is the port for those who run the server: whether it lives, whether it is ready, its metrics, and reloads
// of its configuration.
//
// Only what changes something asks for credentials, so it must not be reachable by clients.
package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readyTimeout bounds the checks of /readyz.
const readyTimeout = 2 * time.Second

// readiness is the answer of /readyz.
type readiness struct {
	// Ready reports that every check passed.
	Ready bool `json:"ready"`
	// Failing says, by check, what is wrong.
	Failing map[string]string `json:"failing,omitempty"`
}

// Options are what the admin port shows and does.
type Options struct {
	// Metrics is what is measured; required.
	Metrics *prometheus.Registry
	// Ready gives an error by name for every check that fails; entries with a nil error pass. nil is always ready.
	Ready func(ctx context.Context) map[string]error
	// Token is the token of [Config] of the moment. Required if there is Reload.
	Token func() string
	// Reload reloads the configuration; nil if that is not possible.
	Reload func(ctx context.Context) Outcome
}

// Handler serves the admin port:
//
//   - GET /healthz: 200 as long as the process can answer at all.
//   - GET /readyz: 200 if ready returns no error, else 503; JSON tells what is failing.
//   - GET /metrics: the metrics, as Prometheus and OpenMetrics read them.
//   - POST /reload, with the token: reloads the configuration; the answer is an [Outcome], with the status 200 if it is
//     in force, 422 if there are mistakes in it, and 503 if something else was in the way.
//
// Everything else is 404.
func Handler(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		answer(w, check(ctx, o.Ready))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{Registry: o.Metrics, EnableOpenMetrics: true}))
	if o.Reload != nil {
		mux.Handle("POST /reload", reload(o.Token, o.Reload))
	}
	return mux
}

func check(ctx context.Context, ready func(context.Context) map[string]error) readiness {
	state := readiness{Ready: true}
	if ready == nil {
		return state
	}
	for name, err := range ready(ctx) {
		if err == nil {
			continue
		}
		if state.Failing == nil {
			state.Ready, state.Failing = false, map[string]string{}
		}
		state.Failing[name] = err.Error()
	}
	return state
}

func answer(w http.ResponseWriter, state readiness) {
	body, err := json.Marshal(state)
	if err != nil { // a bool and strings always encode
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !state.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(append(body, '\n'))
}
