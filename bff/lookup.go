package bff

import (
	"context"
	"strings"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/request"
)

// lookup gives templates of the schema the facts about a request that are not its data.
func lookup(ctx context.Context, path string) (string, bool) {
	switch path {
	case "principal.subject":
		p := auth.FromContext(ctx)
		return p.Subject, p.Subject != ""
	case "principal.kind":
		return string(auth.FromContext(ctx).Kind), true
	case "principal.roles":
		return strings.Join(auth.FromContext(ctx).Roles, ","), true
	case "request.id":
		id := request.FromContext(ctx).ID
		return id, id != ""
	}
	return "", false
}
