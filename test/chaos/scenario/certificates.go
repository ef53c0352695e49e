package scenario

import (
	"context"
	"errors"
	"time"

	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// certificates runs for a minute on certificates that live for five seconds, which the
// Workload API renews. TLS looks at a certificate during the handshake and never again,
// so the mesh has to end connections in time: no call fails, though none may be
// repeated, and neither side sees a call over a certificate that has ended. Both look
// for themselves, at the connection's certificates.
func certificates(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	const life = 5 * time.Second
	serving, err := l.Identity(ctx, lab.Service, life)
	if err != nil {
		return nil, err
	}
	calling, err := l.Identity(ctx, "client", life)
	if err != nil {
		return nil, err
	}
	servers, err := l.Servers(ctx, 3, node.Config{Identity: serving})
	if err != nil {
		return nil, err
	}
	config := node.Config{Name: "client", Identity: calling}
	client, err := l.ClientOf(ctx, config, lab.Destination("", impatient), endpoints(servers)...)
	if err != nil {
		return nil, err
	}
	outcome, err := client.Load(ctx, node.Load{Write: true, Rate: 300}, l.For(time.Minute))
	if err != nil {
		return nil, err
	}
	expired, shown := int64(outcome.Expired), 0
	for _, s := range servers {
		seen, err := s.Served(ctx)
		if err != nil {
			return nil, err
		}
		expired += seen.Expired
		shown = max(shown, seen.Certificates)
	}
	if outcome.Failed > 0 {
		err = errors.New(outcome.First)
	}
	return []figure.Figure{
		figure.Count("errors", outcome.Failed, figure.Zero()),
		figure.Count("calls_over_an_ended_certificate", expired, figure.Zero()),
		// One of the client's every two and a half seconds, or every five at least.
		figure.Count("certificates_shown", shown, figure.Least(float64(l.Calls(10)))),
	}, err
}
