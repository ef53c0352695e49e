package edge

import (
	"net/http"
	"strings"

	"github.com/rs/cors"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
)

// guarded sets the headers that keep browsers from guessing types, and from leaving TLS; see [guardDocument] for more. It
// also refuses what the router could not understand.
func guarded(next http.Handler) http.Handler {
	// Answers share these; nobody changes a value in place.
	sniff, onlyTLS := []string{"nosniff"}, []string{"max-age=31536000"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["X-Content-Type-Options"] = sniff
		if r.TLS != nil {
			h["Strict-Transport-Security"] = onlyTLS
		}
		if err := exchangeOf(r).record.Err; err != nil { // a path that identified could not read
			fault.WriteProblem(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// guardDocument sets the headers that keep browsers from showing an answer within other pages, and from telling others
// where a user was. Data are never a page, since their type is not guessed, and go without: phones pay for each byte.
func guardDocument(h http.Header) {
	if !isData(h["Content-Type"]) {
		h["X-Frame-Options"] = []string{"DENY"}
		h["Referrer-Policy"] = []string{"no-referrer"}
	}
}

// isData reports whether no browser makes a page of a type.
func isData(contentType []string) bool {
	if len(contentType) != 1 {
		return false
	}
	media, _, _ := strings.Cut(contentType[0], ";")
	switch media {
	case "application/json", "application/graphql-response+json", "application/protobuf",
		"application/x-ndjson", "text/event-stream":
		return true
	}
	return false
}

// newCORS answers browsers that ask what pages of other origins may do (the Fetch standard, section 3.2).
func newCORS(c *CORS) *cors.Cors {
	return cors.New(cors.Options{
		AllowedOrigins: c.Origins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		AllowedHeaders: append([]string{
			"Accept", "Accept-Language", "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match",
			"Last-Event-ID", "Traceparent", "Tracestate", "X-Goog-FieldMask", requestID,
		}, c.Headers...),
		ExposedHeaders: append([]string{
			"Age", "Cache-Status", "ETag", "RateLimit", "RateLimit-Policy", "Retry-After", requestID,
		}, c.Expose...),
		AllowCredentials: c.Credentials,
		MaxAge:           int(c.MaxAge.Seconds()),
	})
}

// sameSite refuses requests that change something and that a browser sends for a page of an origin that CORS does not
// allow.
func sameSite(allowed *cors.Cors) func(http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := protection.Check(r); err != nil && (allowed == nil || !allowed.OriginAllowed(r)) {
				f := fault.New(codes.PermissionDenied, "pages of this origin may not do this", fault.WithCause(err))
				refuse(w, r, f)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// bearer takes the token out of Authorization. ok is false if there is something else in it.
func bearer(r *http.Request) (token string, ok bool) {
	fields := r.Header["Authorization"]
	if len(fields) == 0 {
		return "", true
	}
	scheme, token, _ := strings.Cut(fields[0], " ")
	token = strings.TrimSpace(token)
	return token, len(fields) == 1 && strings.EqualFold(scheme, "Bearer") && token != ""
}

// socketToken takes the token out of the subprotocols of a WebSocket handshake: browsers cannot send Authorization with
// it, but a subprotocol "bearer." and the token. It is cut out, so that nobody chooses it.
func socketToken(r *http.Request) string {
	const name = "Sec-Websocket-Protocol" // as http.Header spells it
	token := ""
	var rest []string
	for _, field := range r.Header[name] {
		for offer := range strings.SplitSeq(field, ",") {
			offer = strings.TrimSpace(offer)
			if t, ok := strings.CutPrefix(offer, "bearer."); ok {
				token = t
			} else if offer != "" {
				rest = append(rest, offer)
			}
		}
	}
	if token == "" {
		return ""
	}
	delete(r.Header, name)
	if len(rest) > 0 {
		r.Header[name] = []string{strings.Join(rest, ", ")}
	}
	return token
}
