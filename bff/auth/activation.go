package auth

import (
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/bff/request"
)

// activation gives a rule the values of its variables, each made only when it is asked for.
type activation struct {
	info      *request.Info
	principal *Principal
	rpc       string
	now       time.Time
	message   proto.Message
}

// ResolveName returns the value of a variable.
func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case "request.door":
		return string(a.info.Door), true
	case "request.http_method":
		return a.info.Method, true
	case "request.path":
		return a.info.Path, true
	case "request.headers":
		return a.headers(), true
	case "request.rpc":
		return a.rpc, true
	case "request.message":
		return a.message, a.message != nil
	case "principal.subject":
		return a.principal.Subject, true
	case "principal.kind":
		return string(a.principal.Kind), true
	case "principal.roles":
		return a.principal.Roles, true
	case "principal.scopes":
		return a.principal.Scopes, true
	case "principal.claims":
		if a.principal.Claims == nil {
			return map[string]any{}, true
		}
		return a.principal.Claims, true
	case "principal.authenticated":
		return a.principal.Authenticated, true
	case "now":
		return a.now, true
	default:
		return nil, false
	}
}

// Parent returns nil: there are no other variables.
func (a *activation) Parent() cel.Activation { return nil }

// headers are the request's headers by lower-case name; several values are joined as RFC 9110, section 5.2 says.
func (a *activation) headers() map[string]string {
	out := make(map[string]string, len(a.info.Header))
	for name, values := range a.info.Header {
		out[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return out
}
