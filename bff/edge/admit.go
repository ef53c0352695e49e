package edge

import (
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/limit"
	"github.com/portico-bff/portico/bff/request"
)

// admitted finds out who is calling, and counts the request against the client's limits. A client that begins a
// WebSocket without credentials where nobody may do without comes in as a pending principal, who may do nothing, if who
// serves the WebSocket takes a token with its first message.
func admitted(c Core, takesToken func(*http.Request) bool) func(http.Handler) http.Handler {
	var told policies
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			x := exchangeOf(r)
			cred := auth.Credentials{Door: x.info.Door, Remote: x.info.Remote}
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
			who, err := c.Identify(r.Context(), cred)
			if err != nil && cred.Bearer == "" && takesToken != nil && request.IsWebSocket(r) && takesToken(r) &&
				fault.From(err).Code == codes.Unauthenticated {
				who, err = &auth.Principal{Kind: auth.Anonymous, Pending: true}, nil
			}
			if err != nil {
				f := fault.From(err)
				if f.Code == codes.Unauthenticated && cred.Bearer != "" {
					w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`) // RFC 6750, section 3
				}
				refuse(w, r, f)
				return
			}
			x.principal, x.record.Client = who, who.Subject
			result, err := c.Admit(r.Context(), core.Operation{Name: "http", Door: x.info.Door}, 1)
			told.limitHeaders(x, w.Header(), result)
			if err != nil {
				refuse(w, r, err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func refuse(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.From(err)
	rec := &exchangeOf(r).record
	rec.Code, rec.Err = f.Code, f
	fault.WriteProblem(w, r, f)
}

// limitHeaders tells the client how much is left (draft-ietf-httpapi-ratelimit-headers, sections 3 and 4).
func (p *policies) limitHeaders(x *exchange, h http.Header, r limit.Result) {
	if r.Limit == 0 {
		return
	}
	h["Ratelimit-Policy"] = p.of(r)
	h["Ratelimit"] = x.own(1, parameters("r", r.Remaining, "t", r.Reset))
}

// policies remembers the policy that was told last, which answers then share: there are as many as limits. The zero
// value is ready, and safe for concurrent use.
type policies struct{ last atomic.Pointer[policy] }

// policy is a limit as a header tells it.
type policy struct {
	limit  int
	window time.Duration
	value  []string
}

func (p *policies) of(r limit.Result) []string {
	if last := p.last.Load(); last != nil && last.limit == r.Limit && last.window == r.Window {
		return last.value
	}
	made := &policy{limit: r.Limit, window: r.Window, value: []string{parameters("q", r.Limit, "w", r.Window)}}
	p.last.Store(made)
	return made.value
}

// parameters writes a number and a time with their names.
func parameters(count string, n int, span string, d time.Duration) string {
	var text [64]byte
	b := append(append(append(text[:0], `"default";`...), count...), '=')
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(append(append(b, ';'), span...), '=')
	return string(strconv.AppendInt(b, int64(seconds(d)), 10))
}

// seconds is a time in whole seconds, rounded up.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
