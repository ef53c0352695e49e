package scenario

import (
	"context"
	"syscall"
	"time"

	"github.com/portico-bff/portico/mesh"
	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// controlPlane has a client find its servers by xDS, and kills the control plane under
// load. The client goes on with what it knows: no call fails, though none may be
// repeated. An update before that takes effect within a second; one that the control
// plane brings when it is started again, five seconds later, within ten, which the
// client's backoff may take to notice.
func controlPlane(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	servers, err := l.Servers(ctx, 2, node.Config{})
	if err != nil {
		return nil, err
	}
	plane, err := l.Start(ctx, node.Config{Name: "plane", Plane: true, Listen: "127.0.0.1:0"})
	if err != nil {
		return nil, err
	}
	first, second := servers[0].Address, servers[1].Address
	if err := plane.Publish(ctx, lab.Service, first); err != nil {
		return nil, err
	}
	config := node.Config{Name: "client", Bootstrap: node.Bootstrap(plane.Address), Target: "xds:///" + lab.Service}
	if config.Identity, err = l.Identity(ctx, "client", 0); err != nil {
		return nil, err
	}
	if config.Policy, err = l.File("policy.yaml", lab.Destination("", impatient)); err != nil {
		return nil, err
	}
	client, err := l.Start(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := client.Connected(ctx, 1); err != nil {
		return nil, err
	}
	if err := client.Begin(ctx, node.Load{Write: true, Rate: 300}); err != nil {
		return nil, err
	}
	if err := plane.Publish(ctx, lab.Service, first, second); err != nil {
		return nil, err
	}
	update, err := client.In(ctx, second)
	if err != nil {
		return nil, err
	}
	if err := plane.Signal(syscall.SIGKILL); err != nil {
		return nil, err
	}
	if err := lab.Sleep(ctx, l.For(5*time.Second)); err != nil {
		return nil, err
	}
	if plane, err = plane.Restart(ctx); err != nil {
		return nil, err
	}
	if err := plane.Publish(ctx, lab.Service, second); err != nil {
		return nil, err
	}
	again, err := client.Until(ctx, func(s mesh.Stats) bool { return len(s.Endpoints) == 1 && s.Endpoints[0].Address == second })
	if err != nil {
		return nil, err
	}
	if err := lab.Sleep(ctx, l.For(2*time.Second)); err != nil {
		return nil, err
	}
	outcome, err := client.End(ctx)
	return []figure.Figure{
		figure.Count("errors", outcome.Failed, figure.Zero()),
		figure.Count("calls", outcome.Calls, figure.Least(float64(l.Calls(1500)))),
		figure.Seconds("update", update, figure.Most(1)),
		figure.Seconds("update_after_restart", again, figure.Most(10)),
	}, err
}
