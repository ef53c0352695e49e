package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// authority replaces the certificate authority under load, as one does: trust both, then
// show certificates of the new one, then trust the new one alone. Servers take new
// connections all the time, and the processes read their files when they like. No call
// fails, though none may be repeated; and in the end a certificate of the old authority,
// good in itself, is refused, which it was not before.
func authority(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	former, err := lab.NewAuthority(lab.Domain)
	if err != nil {
		return nil, err
	}
	latter, err := lab.NewAuthority(lab.Domain)
	if err != nil {
		return nil, err
	}
	serving, err := newHolder(l, lab.Service, former)
	if err != nil {
		return nil, err
	}
	calling, err := newHolder(l, "client", former)
	if err != nil {
		return nil, err
	}
	servers, err := l.Servers(ctx, 2, node.Config{Identity: serving.dir, MaxConnectionAge: 300 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	config := node.Config{Name: "client", Identity: calling.dir}
	client, err := l.ClientOf(ctx, config, lab.Destination("", impatient), endpoints(servers)...)
	if err != nil {
		return nil, err
	}
	old, err := former.Issue(lab.Leaf{URIs: []string{lab.ID("client")}})
	if err != nil {
		return nil, err
	}
	if err := raw(ctx, servers[0].Address, showing(&old)); err != nil {
		return nil, fmt.Errorf("before the change: %w", err)
	}
	if err := client.Begin(ctx, node.Load{Write: true, Rate: 200}); err != nil {
		return nil, err
	}
	for _, step := range []func(*holder) error{
		func(h *holder) error { return h.trust(former, latter) },
		func(h *holder) error { return errors.Join(h.show(latter), h.trust(former, latter)) },
		func(h *holder) error { return h.trust(latter) },
	} {
		if err := errors.Join(step(serving), step(calling)); err != nil {
			return nil, err
		}
		if err := lab.Sleep(ctx, max(l.For(4*time.Second), time.Second)); err != nil {
			return nil, err
		}
	}
	outcome, err := client.End(ctx)
	if err != nil {
		return nil, err
	}
	taken := 0
	if err := raw(ctx, servers[0].Address, showing(&old)); status.Code(err) != codes.Unavailable {
		taken++
	}
	return []figure.Figure{
		figure.Count("errors", outcome.Failed, figure.Zero()),
		figure.Count("old_certificates_taken", taken, figure.Zero()),
	}, nil
}
