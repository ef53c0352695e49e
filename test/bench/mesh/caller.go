package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/portico-bff/portico/test/bench/mesh/echo"
	"github.com/portico-bff/portico/test/bench/process"
)

// plan is what mesh.test's caller reads from its input.
type plan struct {
	Address, Method  string
	Mesh             bool
	Dir              string
	Server           string
	Policy           string
	Calls            int
	Size             int
	Deadline         time.Duration
	Warmup, Duration time.Duration
}

// result is what it writes to its output, after true when it is warm.
type result struct {
	Requests int
	Elapsed  time.Duration
	P50, P99 time.Duration
}

// messageSize is that of a request and of a reply.
const messageSize = 128

// deadline is how long a call may take where gRPC's has a deadline: as long as the policy's perTryTimeout.
const deadline = 2 * time.Second

func (b *bench) plan(c client) plan {
	p := plan{
		Address: b.stack.plain.address, Method: echo.Method, Mesh: c.mesh, Policy: policy, Calls: b.inFlight(c), Size: messageSize,
		Warmup: b.Warmup, Duration: b.Duration,
	}
	if c.deadline {
		p.Deadline = deadline
	}
	if c.secure {
		p.Address, p.Dir, p.Server = b.stack.secure.address, b.stack.identity(), "spiffe://"+trustDomain+"/"+serverName
	}
	return p
}

// call measures one client.
func (b *bench) call(ctx context.Context, c client) (err error) {
	p, err := process.Start(ctx, b.stack.noise, []string{"MESH_TEST_CALLER=1"}, b.program("mesh.test"))
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, p.In.Close(), p.Wait()); err != nil {
			err = process.Explain(err, b.stack.noise)
		}
	}()
	commands, answers := json.NewEncoder(p.In), json.NewDecoder(p.Out)
	var ready bool
	if err := errors.Join(commands.Encode(b.plan(c)), answers.Decode(&ready)); err != nil {
		return fmt.Errorf("warm-up: %w", err)
	}
	before, err := p.CPU()
	if err != nil {
		return err
	}
	var r result
	if err := errors.Join(commands.Encode(true), answers.Decode(&r)); err != nil {
		return err
	}
	after, err := p.CPU()
	if err != nil {
		return err
	}
	if r.Requests == 0 {
		return errors.New("no call was answered")
	}
	f := b.calls[c]
	f.cpu = append(f.cpu, float64((after-before).Microseconds())/float64(r.Requests))
	f.rate = append(f.rate, float64(r.Requests)/r.Elapsed.Seconds())
	f.p50 = append(f.p50, float64(r.P50.Nanoseconds())/1e3)
	f.p99 = append(f.p99, float64(r.P99.Nanoseconds())/1e3)
	return nil
}
