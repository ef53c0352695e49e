package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/portico-bff/portico/mesh"
	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// partition has two servers in each of two zones, every zone and the client in a network
// namespace of its own, and cuts the cable between the client and its own zone for six
// seconds: packets are lost and nobody is told, as when a switch dies. Until then the
// zone has all calls. With retries at most one call in a thousand fails; within two
// seconds the zone is out of use and the other one has the calls; and within ten after
// the cable is mended they are back, for by then the probes after ejections and TCP's
// own backoff have come round.
func partition(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	client, servers, cables, err := zones(ctx, l)
	if err != nil {
		return nil, err
	}
	near := servers[:2]
	if err := client.Begin(ctx, node.Load{Rate: 300}); err != nil {
		return nil, err
	}
	if err := lab.Sleep(ctx, l.For(3*time.Second)); err != nil {
		return nil, err
	}
	before, err := client.Progress(ctx)
	if err != nil {
		return nil, err
	}
	if err := cables[0].cut(ctx); err != nil {
		return nil, err
	}
	out, err := client.Until(ctx, func(s mesh.Stats) bool { return used(s, near) == 0 })
	if err != nil {
		return nil, err
	}
	if err := lab.Sleep(ctx, 6*time.Second-out); err != nil {
		return nil, err
	}
	if err := cables[0].mend(ctx); err != nil {
		return nil, err
	}
	back, err := client.Until(ctx, func(s mesh.Stats) bool { return used(s, near) == len(near) })
	if err != nil {
		return nil, err
	}
	middle, err := client.Progress(ctx)
	if err != nil {
		return nil, err
	}
	if err := lab.Sleep(ctx, l.For(3*time.Second)); err != nil {
		return nil, err
	}
	outcome, err := client.End(ctx)
	returned := nearby(outcome) - nearby(middle)
	return []figure.Figure{
		figure.Percent("own_zone_before", nearby(before), before.Calls-before.Failed, figure.Least(100)),
		figure.Percent("failed", outcome.Failed, outcome.Calls, figure.Most(0.1)),
		figure.Seconds("failed_over", out, figure.Most(2)),
		figure.Seconds("back", back, figure.Most(10)),
		figure.Percent("own_zone_after", returned, outcome.Calls-middle.Calls, figure.Least(99)),
	}, err
}

// used counts the servers that a client uses.
func used(s mesh.Stats, servers []*lab.Process) (count int) {
	for _, e := range s.Endpoints {
		for _, p := range servers {
			if e.Address == p.Address && e.Ready && !e.Ejected {
				count++
			}
		}
	}
	return count
}

// nearby counts the answers of the client's own zone.
func nearby(o node.Outcome) (calls int) {
	for server, n := range o.Answered {
		if strings.HasPrefix(server, "north") {
			calls += n
		}
	}
	return calls
}

// cable is between the client and a zone.
type cable struct {
	number int
	zone   string // the zone's namespace
}

func (c cable) cut(ctx context.Context) error  { return lab.Cut(ctx, c.number, c.zone) }
func (c cable) mend(ctx context.Context) error { return lab.Mend(ctx, c.number, c.zone) }

// zones lays cables from a client to two zones, and starts them: the first two servers
// are in the client's own.
func zones(ctx context.Context, l *lab.Lab) (client *lab.Process, servers []*lab.Process, cables []cable, err error) {
	home, err := l.Namespace(ctx, "home")
	if err != nil {
		return nil, nil, nil, err
	}
	for i, region := range []string{"north", "south"} {
		zone, err := l.Namespace(ctx, region)
		if err != nil {
			return nil, nil, nil, err
		}
		if err := lab.Cable(ctx, i+1, home, zone); err != nil {
			return nil, nil, nil, err
		}
		cables = append(cables, cable{number: i + 1, zone: zone})
		for k := range 2 {
			server, err := l.Server(ctx, node.Config{
				Name: fmt.Sprintf("%s%d", region, k+1), Zone: region + "/1",
				Listen: fmt.Sprintf("10.77.%d.2:%d", i+1, 7001+k), Namespace: zone,
			})
			if err != nil {
				return nil, nil, nil, err
			}
			servers = append(servers, server)
		}
	}
	policy := lab.Destination("outlierDetection: {baseEjectionTime: 1s, maxEjectionTime: 2s}", patient)
	client, err = l.ClientOf(ctx, node.Config{Name: "client", Zone: "north/1", Namespace: home}, policy, endpoints(servers)...)
	return client, servers, cables, err
}
