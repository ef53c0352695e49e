package mesh

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/portico-bff/portico/test/bench/mesh/echo"
	"github.com/portico-bff/portico/test/bench/process"
)

// The smallest clients, by program.
const (
	ourClient  = "mesh"
	bareClient = "bare"
)

func smallest() [2]string { return [2]string{ourClient, bareClient} }

// remember measures the largest resident set of a smallest client that is busy.
func (b *bench) remember(ctx context.Context, name string) (err error) {
	args := []string{b.stack.secure.address, echo.Method, b.stack.identity()}
	if name == ourClient {
		args = append(args, b.stack.policy)
	}
	p, err := process.Start(ctx, b.stack.noise, nil, b.program(name), args...)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, p.In.Close(), p.Wait()); err != nil {
			err = process.Explain(err, b.stack.noise)
		}
	}()
	if _, err := p.FirstLine(ctx); err != nil {
		return err
	}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	most := int64(0)
	for end := time.Now().Add(b.Duration); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		now, err := p.Memory()
		if err != nil {
			return err
		}
		most = max(most, now)
	}
	b.memory[name] = append(b.memory[name], float64(most)/1e6)
	return nil
}

// size is that of a smallest client's file, in megabytes.
func (b *bench) size(name string) (float64, error) {
	info, err := os.Stat(b.program(name))
	if err != nil {
		return 0, err
	}
	return float64(info.Size()) / 1e6, nil
}
