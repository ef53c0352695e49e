package core

import (
	"context"
	"strconv"
	"time"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/cache"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/upstream"
)

// Share authorizes a call of a server-streaming method, as Open and Send would, and returns its key. Calls of equal
// keys are the same request by the same principal with the same grants, and send the same headers: one stream can
// serve all of them.
func (c *Core) Share(ctx context.Context, m *upstream.Method, req []byte) (cache.Key, error) {
	info := request.FromContext(ctx)
	key, err := c.share(ctx, info, m, req)
	if err != nil {
		f := present(ctx, err)
		c.metrics.called(info.Door, m.Name, f)
		return cache.Key{}, f
	}
	return key, nil
}

func (c *Core) share(ctx context.Context, info *request.Info, m *upstream.Method, req []byte) (cache.Key, error) {
	compiled := c.methods[m]
	if compiled == nil || !m.ServerStreaming || m.ClientStreaming {
		return cache.Key{}, misuse(m)
	}
	if err := c.rules.Allow(ctx, m, req, time.Now()); err != nil {
		return cache.Key{}, err
	}
	who := auth.FromContext(ctx)
	headers, err := compiled.headers.compose(info, who, false)
	if err != nil {
		return cache.Key{}, err
	}
	var b cache.KeyBuilder
	beginKey(&b, compiled, headers)
	for _, part := range []string{strconv.FormatBool(who.Authenticated), string(who.Kind), who.Issuer, who.Subject} {
		b.AddString(part)
	}
	for _, grants := range [][]string{who.Roles, who.Scopes} {
		b.AddString(strconv.Itoa(len(grants)))
		for _, grant := range grants {
			b.AddString(grant)
		}
	}
	b.Add(req)
	return b.Key(), nil
}
