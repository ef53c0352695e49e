package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/portico-bff/portico/mesh"
	"github.com/portico-bff/portico/test/chaos/node"
)

const (
	endTimeout  = 15 * time.Second
	pollPeriod  = 5 * time.Millisecond
	waitTimeout = 30 * time.Second
	lastWords   = 4 << 10
)

// Process is a running node.
type Process struct {
	node.Config
	// Address is where it serves, "" if it does not.
	Address string

	lab    *Lab
	cmd    *exec.Cmd
	remote *rpc.Client
	stderr tail
	ended  chan struct{} // closed when the process has ended
}

// Start starts a node.
func (l *Lab) Start(ctx context.Context, config node.Config) (*Process, error) {
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	program, args := l.program, []string(nil)
	if config.Namespace != "" {
		program, args = "ip", []string{"netns", "exec", config.Namespace, l.program}
	}
	p := &Process{Config: config, lab: l, ended: make(chan struct{})}
	// The process lives until the lab ends it, or with its input.
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), program, args...) //nolint:gosec // the lab's own program
	p.cmd.Env = append(os.Environ(), node.Variable+"="+string(text))
	p.cmd.Stderr = &p.stderr
	// A group of its own: an interrupt reaches the lab, which ends its processes.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.remote = rpc.NewClient(pipe{out, in})
	go func() {
		_ = p.cmd.Wait() // how it ended is told by who misses it
		close(p.ended)
	}()
	l.mu.Lock()
	l.processes = append(l.processes, p)
	l.mu.Unlock()
	if p.Address, err = ask[string](ctx, p, "Address", node.None{}); err != nil {
		return nil, err
	}
	return p, nil
}

// pipe is what a process writes and reads as one.
type pipe struct {
	io.ReadCloser
	in io.WriteCloser
}

// Write writes to the process.
func (p pipe) Write(b []byte) (int, error) { return p.in.Write(b) }

// Close ends the process's input.
func (p pipe) Close() error { return errors.Join(p.in.Close(), p.ReadCloser.Close()) }

// Restart starts the node again after its end, at the same address.
func (p *Process) Restart(ctx context.Context) (*Process, error) {
	config := p.Config
	config.Listen = p.Address
	return p.lab.Start(ctx, config)
}

// Signal sends a signal.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Wait waits for the process's end.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the end of %s: %w", p.Name, ctx.Err())
	}
}

// end ends the process, however.
func (p *Process) end() {
	_ = p.Signal(syscall.SIGCONT) // it may be stopped, or gone
	_ = p.remote.Close()
	timer := time.AfterFunc(endTimeout, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	<-p.ended
}

// ask calls a method of the node.
func ask[Out, In any](ctx context.Context, p *Process, method string, in In) (Out, error) {
	out := new(Out)
	call := p.remote.Go("Node."+method, in, out, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		if call.Error != nil {
			return *out, fmt.Errorf("node %s: %s: %w %s", p.Name, method, call.Error, p.stderr.String())
		}
		return *out, nil
	case <-ctx.Done():
		return *new(Out), fmt.Errorf("node %s: %s: %w %s", p.Name, method, ctx.Err(), p.stderr.String())
	}
}

// Endpoint is where others find the server.
func (p *Process) Endpoint() mesh.Endpoint { return mesh.Endpoint{Address: p.Address, Zone: p.Zone} }

// Behave is [node.Node.Behave].
func (p *Process) Behave(ctx context.Context, b node.Behaviour) error {
	_, err := ask[node.None](ctx, p, "Behave", b)
	return err
}

// Served is [node.Node.Served].
func (p *Process) Served(ctx context.Context) (node.Served, error) {
	return ask[node.Served](ctx, p, "Served", node.None{})
}

// Stats is [node.Node.Stats].
func (p *Process) Stats(ctx context.Context) (mesh.Stats, error) {
	return ask[mesh.Stats](ctx, p, "Stats", node.None{})
}

// Resources is [node.Node.Resources].
func (p *Process) Resources(ctx context.Context) (node.Resources, error) {
	return ask[node.Resources](ctx, p, "Resources", node.None{})
}

// Cycle is [node.Node.Cycle].
func (p *Process) Cycle(ctx context.Context, times int) error {
	_, err := ask[node.None](ctx, p, "Cycle", times)
	return err
}

// Ask is [node.Node.Ask].
func (p *Process) Ask(ctx context.Context, call node.Call) (node.Answer, error) {
	return ask[node.Answer](ctx, p, "Ask", call)
}

// Publish is [node.Plane.Publish].
func (p *Process) Publish(ctx context.Context, service string, addresses ...string) error {
	_, err := ask[node.None](ctx, p, "Publish", node.Publication{Service: service, Addresses: addresses})
	return err
}

// Begin is [node.Node.Begin].
func (p *Process) Begin(ctx context.Context, load node.Load) error {
	_, err := ask[node.None](ctx, p, "Begin", load)
	return err
}

// Progress is [node.Node.Progress].
func (p *Process) Progress(ctx context.Context) (node.Outcome, error) {
	return ask[node.Outcome](ctx, p, "Progress", node.None{})
}

// End is [node.Node.End].
func (p *Process) End(ctx context.Context) (node.Outcome, error) {
	return ask[node.Outcome](ctx, p, "End", node.None{})
}

// Load makes a load for that long, or until its number of calls is made.
func (p *Process) Load(ctx context.Context, load node.Load, d time.Duration) (node.Outcome, error) {
	if err := p.Begin(ctx, load); err != nil {
		return node.Outcome{}, err
	}
	if load.Number == 0 {
		if err := Sleep(ctx, d); err != nil {
			return node.Outcome{}, err
		}
	}
	return p.End(ctx)
}

// Connected waits until the client has so many connections.
func (p *Process) Connected(ctx context.Context, endpoints int) error {
	_, err := p.Until(ctx, func(s mesh.Stats) bool {
		ready := 0
		for _, e := range s.Endpoints {
			if e.Ready && !e.Ejected {
				ready++
			}
		}
		return ready == endpoints
	})
	return err
}

// Out waits until the client no longer uses an endpoint, and In until it does again.
func (p *Process) Out(ctx context.Context, address string) (time.Duration, error) {
	return p.uses(ctx, address, false)
}

// In waits until the client uses an endpoint again.
func (p *Process) In(ctx context.Context, address string) (time.Duration, error) {
	return p.uses(ctx, address, true)
}

func (p *Process) uses(ctx context.Context, address string, used bool) (time.Duration, error) {
	return p.Until(ctx, func(s mesh.Stats) bool {
		for _, e := range s.Endpoints {
			if e.Address == address {
				return used == (e.Ready && !e.Ejected)
			}
		}
		return !used
	})
}

// Until waits for something that the process's mesh counts, and returns how long that
// took.
func (p *Process) Until(ctx context.Context, done func(mesh.Stats) bool) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	began := time.Now()
	for {
		s, err := p.Stats(ctx)
		if err != nil {
			return 0, err
		}
		if done(s) {
			return time.Since(began), nil
		}
		if err := Sleep(ctx, pollPeriod); err != nil {
			return 0, fmt.Errorf("node %s: what was to come has not, by %+v: %w", p.Name, s, err)
		}
	}
}

// Sleep waits. Its error is ctx's.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// Write keeps it.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if len(t.text) > lastWords {
		t.text = append(t.text[:0], t.text[len(t.text)-lastWords:]...)
	}
	return len(b), nil
}

// String is what is kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.text))
}
