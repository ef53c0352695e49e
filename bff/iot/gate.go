package iot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/iot/bridge"
	"github.com/portico-bff/portico/bff/iot/front"
	"github.com/portico-bff/portico/bff/request"
)

// gate asks the core about devices.
type gate struct {
	core   Core
	bridge *bridge.Bridge
}

var _ front.Gate = (*gate)(nil)

// Open lets nobody in before the broker keeps messages for the bridge.
func (g *gate) Open() error {
	if !g.bridge.Subscribed() {
		return errors.New("the bridge has not subscribed yet")
	}
	return nil
}

// Login takes the password for a token. The user name may be empty, or is the device's id.
func (g *gate) Login(ctx context.Context, c front.Credentials) (front.Device, error) {
	authenticated, err := g.core.Authenticate(ctx, auth.Credentials{
		Bearer: c.Password, Certificates: c.Certificates, Door: request.IoT, Remote: c.Remote,
	})
	if err != nil {
		return front.Device{}, err
	}
	p := auth.FromContext(authenticated)
	switch {
	case !p.Authenticated || p.Kind != auth.Device:
		return front.Device{}, fault.New(codes.PermissionDenied, fmt.Sprintf("%s %.64q is no device", p.Kind, p.Subject))
	case c.Username != "" && c.Username != p.Subject:
		return front.Device{}, fault.New(codes.Unauthenticated, fmt.Sprintf("user name %.64q with a token for %.64q", c.Username, p.Subject))
	}
	return front.Device{
		ID:      p.Subject,
		Expires: p.Expires,
		Admit: func(ctx context.Context, entry, name string) error {
			ctx = auth.NewContext(ctx, p)
			ctx = request.NewContext(ctx, &request.Info{Door: request.IoT, ID: rand.Text(), Path: name, Remote: c.Remote})
			_, err := g.core.Admit(ctx, core.Operation{Name: entry, Door: request.IoT}, 1)
			return err
		},
	}, nil
}
