package translate

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/coder/websocket"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/limit"
	"github.com/portico-bff/portico/bff/request"
)

// Gate finds out who shows a token on a WebSocket.
type Gate interface {
	// Authenticate returns a context that carries who shows the credentials.
	Authenticate(ctx context.Context, cred auth.Credentials) (context.Context, error)
	// Admit counts a request against the client's limits.
	Admit(ctx context.Context, op core.Operation, weight int) (limit.Result, error)
}

var _ Gate = (*core.Core)(nil)

// TakesToken reports whether a request begins a WebSocket whose first message may be a token, so that it may come in
// without: until the token is there, the router calls nothing.
func (rt *Router) TakesToken(r *http.Request) bool {
	if rt.gate == nil || !request.IsWebSocket(r) {
		return false
	}
	var at path
	if at.parse(r.URL) != nil {
		return false
	}
	found := rt.find(r, &at.Path)
	return found != nil && found.route.streams()
}

// maxTokenFrame bounds a frame that brings a token.
const maxTokenFrame = 64 << 10

// tokenIn takes the token out of a frame {"@token": "..."}.
func tokenIn(kind websocket.MessageType, frame []byte) (token string, ok bool) {
	value, ok := control(kind, frame, "@token", maxTokenFrame)
	if !ok || json.Unmarshal(value, &token) != nil {
		return "", ok // no token is a bad one
	}
	return token, true
}

// identify finds out who shows a token, and returns the context to call with in that name.
func identify(ctx context.Context, g Gate, token string) (context.Context, error) {
	info := request.FromContext(ctx)
	if token == "" {
		return nil, fault.New(codes.Unauthenticated, "@token must be a text with a token in it")
	}
	known, err := g.Authenticate(ctx, auth.Credentials{Bearer: token, Door: info.Door, Remote: info.Remote})
	if err != nil {
		return nil, err
	}
	if _, err := g.Admit(known, core.Operation{Name: "http", Door: info.Door}, 1); err != nil {
		return nil, err
	}
	return known, nil
}

// unknown reports whether a call was denied to a client only because nobody knows who it is.
func unknown(ctx context.Context, err error) bool {
	return err != nil && fault.From(err).Code == codes.Unauthenticated && !auth.FromContext(ctx).Authenticated
}
