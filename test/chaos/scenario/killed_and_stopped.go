package scenario

import (
	"context"
	"syscall"
	"time"

	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// killedAndStopped kills one of three servers under load and starts it again, then stops
// one for a while, so that its connections stay and nobody answers on them. With retries
// at most one call in a thousand fails, each time. A dead process is out of use as soon
// as its connections are, a stopped one once five calls in a row have run into their
// time limit (250 ms): both within a second. It is used again within five seconds.
func killedAndStopped(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	servers, err := l.Servers(ctx, 3, node.Config{})
	if err != nil {
		return nil, err
	}
	client, err := l.Client(ctx, lab.Destination("outlierDetection: {baseEjectionTime: 2s}", patient), servers...)
	if err != nil {
		return nil, err
	}
	killed, err := fell(ctx, l, client, "killed", servers[0].Address, func() error {
		return servers[0].Signal(syscall.SIGKILL)
	}, func() error {
		_, err := servers[0].Restart(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	stopped, err := fell(ctx, l, client, "stopped", servers[1].Address, func() error {
		return servers[1].Signal(syscall.SIGSTOP)
	}, func() error {
		return servers[1].Signal(syscall.SIGCONT)
	})
	return append(killed, stopped...), err
}

// fell makes load, fells the server at an address, lets it rise, and says what became
// of that.
func fell(ctx context.Context, l *lab.Lab, client *lab.Process, what, address string, fall, rise func() error) ([]figure.Figure, error) {
	if err := client.Begin(ctx, node.Load{Rate: 500}); err != nil {
		return nil, err
	}
	if err := lab.Sleep(ctx, l.For(2*time.Second)); err != nil {
		return nil, err
	}
	if err := fall(); err != nil {
		return nil, err
	}
	out, err := client.Out(ctx, address)
	if err != nil {
		return nil, err
	}
	if err := lab.Sleep(ctx, l.For(3*time.Second)); err != nil {
		return nil, err
	}
	if err := rise(); err != nil {
		return nil, err
	}
	back, err := client.In(ctx, address)
	if err != nil {
		return nil, err
	}
	if err := lab.Sleep(ctx, l.For(3*time.Second)); err != nil {
		return nil, err
	}
	outcome, err := client.End(ctx)
	return []figure.Figure{
		figure.Percent(what+"_failed", outcome.Failed, outcome.Calls, figure.Most(0.1)),
		figure.Seconds(what+"_out_of_use", out, figure.Most(1)),
		figure.Seconds(what+"_back", back, figure.Most(5)),
	}, err
}
