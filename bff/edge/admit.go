package edge

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/edge/record"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/limit"
	"github.com/portico-bff/portico/bff/request"
)

// admitted finds out who is calling, and counts the request against the client's limits. A client that begins a
// WebSocket without credentials where nobody may do without comes in as a pending principal, who may do nothing, if who
// serves the WebSocket takes a token with its first message.
func admitted(c Core, takesToken func(*http.Request) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			info := request.FromContext(r.Context())
			cred := auth.Credentials{Door: info.Door, Remote: info.Remote}
			var understood bool
			if cred.Bearer, understood = bearer(r); !understood {
				w.Header().Set("WWW-Authenticate", `Bearer error="invalid_request"`)
				refuse(w, r, fault.New(codes.Unauthenticated, "Authorization must be one Bearer token"))
				return
			}
			if token := socketToken(r); cred.Bearer == "" {
				cred.Bearer = token
			}
			if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
				cred.Certificates = r.TLS.VerifiedChains[0]
			}
			ctx, err := c.Authenticate(r.Context(), cred)
			if err != nil && cred.Bearer == "" && takesToken != nil && isUpgrade(r) && takesToken(r) &&
				fault.From(err).Code == codes.Unauthenticated {
				ctx, err = auth.NewContext(r.Context(), &auth.Principal{Kind: auth.Anonymous, Pending: true}), nil
			}
			if err != nil {
				f := fault.From(err)
				if f.Code == codes.Unauthenticated && cred.Bearer != "" {
					w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`) // RFC 6750, section 3
				}
				refuse(w, r, f)
				return
			}
			record.FromContext(ctx).Client = auth.FromContext(ctx).Subject
			result, err := c.Admit(ctx, core.Operation{Name: "http", Door: info.Door}, 1)
			limitHeaders(w.Header(), result)
			if err != nil {
				refuse(w, r, err)
				return
			}
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
}

// isUpgrade reports whether a request asks for a WebSocket (RFC 6455, section 4.2.1).
func isUpgrade(r *http.Request) bool {
	return r.Method == http.MethodGet && hasToken(r.Header["Connection"], "upgrade") && hasToken(r.Header["Upgrade"], "websocket")
}

func hasToken(fields []string, token string) bool {
	for _, field := range fields {
		for part := range strings.SplitSeq(field, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

func refuse(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.From(err)
	rec := record.FromContext(r.Context())
	rec.Code, rec.Err = f.Code, f
	fault.WriteProblem(w, r, f)
}

// limitHeaders tells the client how much is left (draft-ietf-httpapi-ratelimit-headers, sections 3 and 4).
func limitHeaders(h http.Header, r limit.Result) {
	if r.Limit == 0 {
		return
	}
	h["Ratelimit-Policy"] = []string{`"default";q=` + strconv.Itoa(r.Limit) + ";w=" + strconv.Itoa(seconds(r.Window))}
	h["Ratelimit"] = []string{`"default";r=` + strconv.Itoa(r.Remaining) + ";t=" + strconv.Itoa(seconds(r.Reset))}
}

// seconds is a time in whole seconds, rounded up.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
