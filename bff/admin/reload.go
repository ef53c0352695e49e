package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"
)

// Config is the admin section. Its zero value lets nobody do more than ask for health and metrics.
type Config struct {
	// Token is what POST /reload wants as "Authorization: Bearer TOKEN": 16 characters or more, better from an environment
	// variable than in the file. Without it, only a signal reloads.
	Token string `yaml:"token" json:"token,omitempty" jsonschema:"pattern=^$|^[!-~]{16\\,}$,title=a token of 16 characters or more,writeOnly=true"`
}

// Outcome is what came of a reload.
type Outcome struct {
	// Reloaded reports that the configuration is in force; otherwise nothing has changed.
	Reloaded bool `json:"reloaded"`
	// Warnings tell what will be in force only after a restart.
	Warnings []string `json:"warnings,omitempty"`
	// Mistakes are all that is wrong in the configuration and the files that it names.
	Mistakes []Mistake `json:"mistakes,omitempty"`
	// Error says what else was in the way.
	Error string `json:"error,omitempty"`
}

// Mistake is one thing that is wrong, at a place in a file.
type Mistake struct {
	// File, Line and Column say where, counted from 1. Line and Column are 0 if the mistake is the whole file's.
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	// Text says what is wrong and what was expected.
	Text string `json:"text"`
}

// status is 200 for a reload, 422 for mistakes and 503 for what may pass.
func (o *Outcome) status() int {
	switch {
	case o.Reloaded:
		return http.StatusOK
	case len(o.Mistakes) > 0:
		return http.StatusUnprocessableEntity
	default:
		return http.StatusServiceUnavailable
	}
}

// reload answers POST /reload to who has the token.
func reload(token func() string, run func(context.Context) Outcome) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		want := token()
		if want == "" {
			http.Error(w, "no admin.token is configured: send the process a SIGHUP", http.StatusForbidden)
			return
		}
		scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		// Digests, since the time of a comparison tells the length.
		a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(a[:], b[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "expected Authorization: Bearer with the admin token", http.StatusUnauthorized)
			return
		}
		outcome := run(r.Context())
		body, err := json.MarshalIndent(outcome, "", "  ")
		if err != nil { // strings and numbers always encode
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(outcome.status())
		_, _ = w.Write(append(body, '\n'))
	}
}
