// Package admin is the port for those who run the server: whether it lives, whether it is ready, and its metrics.
//
// It asks nobody for credentials, so it must not be reachable by clients.
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

// Handler serves the admin port:
//
//   - GET /healthz: 200 as long as the process can answer at all.
//   - GET /readyz: 200 if ready returns no error, else 503; JSON tells what is failing.
//   - GET /metrics: the metrics in reg, as Prometheus and OpenMetrics read them.
//
// Everything else is 404. ready gives an error by name for every check that fails; entries with a nil error pass. A
// nil ready is always ready.
func Handler(reg *prometheus.Registry, ready func(ctx context.Context) map[string]error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		answer(w, check(ctx, ready))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg, EnableOpenMetrics: true}))
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
