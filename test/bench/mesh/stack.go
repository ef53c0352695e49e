package mesh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/portico-bff/portico/mesh"

	"github.com/portico-bff/portico/test/bench/process"
)

// Who is who.
const (
	trustDomain = "bench.test"
	serverName  = "echo"
	callerName  = "caller"
)

// stack is what runs during the benchmark, in a folder of its own.
type stack struct {
	dir    string
	policy string // its file
	noise  *os.File
	ca     *mesh.DevCA
	plain  *server
	secure *server
}

// server is a server that runs.
type server struct {
	*process.Process
	address string
}

// newStack makes identities and starts the servers. The caller closes it, also after an error.
func newStack(ctx context.Context, o *Options) (*stack, error) {
	dir, err := os.MkdirTemp("", "portico-bench-")
	if err != nil {
		return nil, err
	}
	s := &stack{dir: dir, policy: filepath.Join(dir, "policy.yaml")}
	if s.noise, err = os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600); err != nil {
		return s, err
	}
	if s.ca, err = mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: trustDomain}); err != nil {
		return s, err
	}
	if err := errors.Join(s.ca.WriteFiles(ctx, dir, serverName, callerName), os.WriteFile(s.policy, []byte(policy), 0o600)); err != nil {
		return s, err
	}
	if s.plain, err = s.serve(ctx, o.Self); err != nil {
		return s, err
	}
	s.secure, err = s.serve(ctx, o.Self, filepath.Join(dir, serverName))
	return s, err
}

// serve starts a server.
func (s *stack) serve(ctx context.Context, program string, args ...string) (*server, error) {
	p, err := process.Start(ctx, s.noise, nil, program, append([]string{"echo"}, args...)...)
	if err != nil {
		return nil, err
	}
	started := &server{Process: p}
	if started.address, err = p.FirstLine(ctx); err != nil {
		return nil, errors.Join(process.Explain(fmt.Errorf("start the server: %w", err), s.noise), p.Stop())
	}
	return started, nil
}

// identity is the folder of the callers' identity.
func (s *stack) identity() string { return filepath.Join(s.dir, callerName) }

// close ends everything and removes the folder.
func (s *stack) close() error {
	if s == nil {
		return nil
	}
	var errs []error
	for _, server := range []*server{s.plain, s.secure} {
		if server != nil {
			errs = append(errs, server.Stop())
		}
	}
	if s.ca != nil {
		errs = append(errs, s.ca.Close())
	}
	if s.noise != nil {
		errs = append(errs, s.noise.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}
