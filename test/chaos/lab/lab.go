// Package lab is where scenarios run: it starts nodes as processes, gives them
// identities, policies and endpoints, and cleans up behind them.
package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/portico-bff/portico/mesh"
	"github.com/portico-bff/portico/test/chaos/node"
)

// Domain is the trust domain of the lab.
const Domain = "chaos.test"

// Service is what scenarios call: its host in policies, and the name of its identity.
const Service = "echo"

// Target is what its clients call.
const Target = "mesh:///" + Service

// Lab is one scenario's. It is for one goroutine, but for what processes do.
type Lab struct {
	// Brief asks for a scenario in small, as a test of the scenario itself: few calls,
	// short times.
	Brief bool

	program string
	dir     string

	mu         sync.Mutex // guards what follows
	processes  []*Process
	namespaces []string
	cas        map[time.Duration]*mesh.DevCA
	files      int
}

// New makes a lab whose nodes are processes of that program (see [node.Main]). Close it.
func New(program string) (*Lab, error) {
	dir, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		return nil, err
	}
	return &Lab{program: program, dir: dir, cas: map[time.Duration]*mesh.DevCA{}}, nil
}

// Close ends all processes and removes all files, even if ctx is over.
func (l *Lab) Close(ctx context.Context) error {
	var errs []error
	var all sync.WaitGroup
	for _, p := range l.processes {
		all.Go(p.end)
	}
	all.Wait()
	for _, name := range l.namespaces {
		errs = append(errs, deleteNamespace(context.WithoutCancel(ctx), name))
	}
	for _, ca := range l.cas {
		errs = append(errs, ca.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(l.dir))...)
}

// For is d, or a tenth of it in brief.
func (l *Lab) For(d time.Duration) time.Duration {
	if l.Brief {
		return d / 10
	}
	return d
}

// Calls is n, or a tenth of it in brief.
func (l *Lab) Calls(n int) int {
	if l.Brief {
		return n / 10
	}
	return n
}

// Dir is a new folder.
func (l *Lab) Dir() (string, error) { return os.MkdirTemp(l.dir, "") }

// File is a new file.
func (l *Lab) File(name, text string) (string, error) {
	l.mu.Lock()
	l.files++
	path := filepath.Join(l.dir, fmt.Sprintf("%d-%s", l.files, name))
	l.mu.Unlock()
	return path, Rewrite(path, text)
}

// Rewrite replaces a file in one step.
func Rewrite(path, text string) error {
	if err := os.WriteFile(path+".next", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".next", path)
}

// ID is the SPIFFE id of a workload of the lab.
func ID(name string) string { return "spiffe://" + Domain + "/" + name }

// Identity is the socket that gives a workload its identity, with certificates of that
// life; zero means the usual hour.
func (l *Lab) Identity(ctx context.Context, name string, life time.Duration) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ca := l.cas[life]
	if ca == nil {
		var err error
		if ca, err = mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: Domain, TTL: life}); err != nil {
			return "", err
		}
		l.cas[life] = ca
	}
	dir := filepath.Join(l.dir, "ids-"+life.String())
	path := filepath.Join(dir, name+".sock")
	if _, err := os.Stat(path); err == nil {
		return "unix://" + path, nil
	}
	// The sockets are there until the authority is closed.
	if err := ca.Serve(context.WithoutCancel(ctx), dir, name); err != nil {
		return "", err
	}
	return "unix://" + path, nil
}

// Everybody is a policy that lets all workloads of the lab call everything.
const Everybody = `kind: Authorization
name: everybody
action: ALLOW
rules: [{from: [{source: {principals: ["*"]}}]}]
---
`

// Destination is a policy of the service: how it is reached, and how it is called. The
// words are those of a Destination's trafficPolicy and of a Route's entries.
func Destination(trafficPolicy, entries string) string {
	return fmt.Sprintf(`kind: Destination
host: %s
identities: [%s]
trafficPolicy: {%s}
subsets:
- {name: v1, labels: {version: v1}}
- {name: v2, labels: {version: v2}}
---
kind: Route
hosts: [%s]
http:
%s
`, Service, ID(Service), trafficPolicy, Service, entries)
}

// Endpoints is a file of the service's endpoints, for clients to find.
func (l *Lab) Endpoints(list ...mesh.Endpoint) (string, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "services:\n  %s:\n", Service)
	for _, e := range list {
		fmt.Fprintf(&text, "  - {address: %q, zone: %q, labels: {version: %q}}\n", e.Address, e.Zone, e.Labels["version"])
	}
	return l.File("endpoints.yaml", text.String())
}

// Servers starts servers of the service named s1, s2 and so on, all alike.
func (l *Lab) Servers(ctx context.Context, count int, config node.Config) ([]*Process, error) {
	list := make([]*Process, count)
	errs := make([]error, count)
	var all sync.WaitGroup
	for i := range list {
		all.Go(func() {
			c := config
			c.Name = fmt.Sprintf("s%d", i+1)
			list[i], errs[i] = l.Server(ctx, c)
		})
	}
	all.Wait()
	return list, errors.Join(errs...)
}

// Server starts a server of the service. What the config leaves out is as usual: an
// identity of the lab's, a policy that allows everything, some port.
func (l *Lab) Server(ctx context.Context, config node.Config) (*Process, error) {
	var err error
	if config.Identity == "" {
		if config.Identity, err = l.Identity(ctx, Service, 0); err != nil {
			return nil, err
		}
	}
	if config.Policy == "" {
		if config.Policy, err = l.File("policy.yaml", Everybody); err != nil {
			return nil, err
		}
	}
	if config.Listen == "" {
		config.Listen = "127.0.0.1:0"
	}
	return l.Start(ctx, config)
}

// Client starts a client of servers with that policy, and waits until it is connected
// to all of them.
func (l *Lab) Client(ctx context.Context, policy string, servers ...*Process) (*Process, error) {
	list := make([]mesh.Endpoint, len(servers))
	for i, s := range servers {
		list[i] = s.Endpoint()
	}
	return l.ClientOf(ctx, node.Config{Name: "client"}, policy, list...)
}

// ClientOf is [Lab.Client] for other endpoints and configs.
func (l *Lab) ClientOf(ctx context.Context, config node.Config, policy string, list ...mesh.Endpoint) (*Process, error) {
	var err error
	if config.Identity == "" {
		if config.Identity, err = l.Identity(ctx, "client", 0); err != nil {
			return nil, err
		}
	}
	if config.Policy, err = l.File("policy.yaml", policy); err != nil {
		return nil, err
	}
	if config.Endpoints, err = l.Endpoints(list...); err != nil {
		return nil, err
	}
	config.Target = Target
	client, err := l.Start(ctx, config)
	if err != nil {
		return nil, err
	}
	return client, client.Connected(ctx, len(list))
}
