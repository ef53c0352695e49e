package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/portico-bff/portico/test/bench/process"
)

// Generator is a generator in a process of its own, ready to begin.
type Generator struct {
	process  *process.Process
	commands *json.Encoder
	answers  *json.Decoder
}

// Start starts a program that calls [Serve] on its standard input and output, and waits until it is warm. The caller
// calls [Generator.Close].
func Start(ctx context.Context, stderr *os.File, plan Plan, program string, args ...string) (*Generator, error) {
	p, err := process.Start(ctx, stderr, nil, program, args...)
	if err != nil {
		return nil, err
	}
	g := &Generator{process: p, commands: json.NewEncoder(p.In), answers: json.NewDecoder(p.Out)}
	var ready bool
	err = g.commands.Encode(plan)
	if err == nil {
		err = g.answers.Decode(&ready)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("warm-up: %w", err), g.Close())
	}
	return g, nil
}

// Run sends the requests that count. It can be called once.
func (g *Generator) Run() (Result, error) {
	if err := g.commands.Encode(true); err != nil {
		return Result{}, err
	}
	var r Result
	if err := g.answers.Decode(&r); err != nil {
		return Result{}, fmt.Errorf("load: %w", err)
	}
	return r, nil
}

// Close ends the process, whose own error it returns.
func (g *Generator) Close() error {
	// Without commands it ends by itself; if not, the context that it was started with ends it.
	return errors.Join(g.process.In.Close(), g.process.Wait())
}
