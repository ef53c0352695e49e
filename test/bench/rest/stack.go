package rest

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/portico-bff/portico/cmd/shop/issuer"

	"github.com/portico-bff/portico/test/bench/process"
)

// startTimeout is how long a program may take to be ready.
const startTimeout = 20 * time.Second

//go:embed portico.yaml
var porticoConfig []byte

// contender is a front that runs.
type contender struct {
	*process.Process
	name    string
	address string
	stderr  *os.File
}

// stack is everything that runs during the benchmark, in a folder of its own.
type stack struct {
	dir        string
	token      string
	noise      *os.File // what load generators complain of
	issuer     *http.Server
	contenders map[string]*contender
	running    []*contender // in the order in which they were started
}

// newStack starts the service and all contenders. The caller closes it, also after an error.
func newStack(ctx context.Context, o *Options) (*stack, error) {
	dir, err := os.MkdirTemp("", "portico-bench-")
	if err != nil {
		return nil, err
	}
	s := &stack{dir: dir, contenders: map[string]*contender{}}
	if s.noise, err = createLog(dir, "load"); err != nil {
		return s, err
	}
	jwks, err := s.startIssuer(ctx)
	if err != nil {
		return s, err
	}
	backend, err := s.start(ctx, "backend", announced, nil, o.Self, "backend")
	if err != nil {
		return s, err
	}
	for _, name := range []string{floor, gateway, vanguard} {
		if s.contenders[name], err = s.start(ctx, name, announced, nil, o.Self, "front", name, backend.address); err != nil {
			return s, err
		}
	}
	config, err := s.writeConfig(o.Descriptors)
	if err != nil {
		return s, err
	}
	env := []string{"BENCH_TARGET=" + backend.address, "BENCH_ISSUER=" + jwks}
	if s.contenders[portico], err = s.start(ctx, portico, logged, env, o.Portico, "serve", "-c", config); err != nil {
		return s, err
	}
	return s, s.check(ctx)
}

// startIssuer serves the keys of the token that every request carries, and returns their URL.
func (s *stack) startIssuer(ctx context.Context) (string, error) {
	is, err := issuer.New(s.dir)
	if err != nil {
		return "", err
	}
	if s.token, err = is.Token("usr-0007", []string{"customer"}, time.Hour, nil); err != nil {
		return "", err
	}
	lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s.issuer = &http.Server{Handler: is.Handler(), ReadHeaderTimeout: startTimeout}
	go func() { _ = s.issuer.Serve(lis) }() // until close
	return "http://" + lis.Addr().String() + issuer.JWKSPath, nil
}

// writeConfig writes Portico's configuration and what it names.
func (s *stack) writeConfig(descriptors []byte) (string, error) {
	config := filepath.Join(s.dir, "portico.yaml")
	return config, errors.Join(
		os.WriteFile(config, porticoConfig, 0o600),
		os.WriteFile(filepath.Join(s.dir, "bench.binpb"), descriptors, 0o600),
	)
}

// start starts a program and finds out where it listens. Its standard error goes to a file, as does Portico's access
// log.
func (s *stack) start(
	ctx context.Context, name string, address func(context.Context, *contender) (string, error), env []string, program string, args ...string,
) (*contender, error) {
	stderr, err := createLog(s.dir, name)
	if err != nil {
		return nil, err
	}
	p, err := process.Start(ctx, stderr, env, program, args...)
	if err != nil {
		return nil, errors.Join(err, stderr.Close())
	}
	c := &contender{Process: p, name: name, stderr: stderr}
	s.running = append(s.running, c)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if c.address, err = address(ctx, c); err != nil {
		return nil, c.explain(fmt.Errorf("start %s: %w", name, err))
	}
	return c, nil
}

// createLog makes a file that can be emptied while it is written to.
func createLog(dir, name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
}

// announced is the address that a program of this benchmark prints when it listens.
func announced(ctx context.Context, c *contender) (string, error) { return c.FirstLine(ctx) }

// logged is the address that Portico writes to its log.
func logged(ctx context.Context, c *contender) (string, error) {
	for {
		text, err := os.ReadFile(c.stderr.Name())
		if err != nil {
			return "", err
		}
		for line := range bytes.Lines(text) {
			var entry struct{ Msg, HTTP string }
			if json.Unmarshal(line, &entry) == nil && entry.Msg == "listening" {
				return entry.HTTP, nil
			}
		}
		if _, err := c.CPU(); err != nil {
			return "", fmt.Errorf("it has ended: %w", err)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return "", err
		}
	}
}

// check waits until every contender answers.
func (s *stack) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, c := range s.contenders {
		for {
			err := s.get(ctx, c, orderPath())
			if err == nil {
				break
			}
			if wait := sleep(ctx, 50*time.Millisecond); wait != nil {
				return c.explain(fmt.Errorf("%s does not answer: %w", c.name, err))
			}
		}
	}
	return nil
}

// get sends one request.
func (s *stack) get(ctx context.Context, c *contender, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.address+path, http.NoBody)
	if err != nil {
		return err
	}
	for name, value := range s.header() {
		request.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d: %s", answer.StatusCode, body)
	}
	return nil
}

// header is what every request carries, whoever gets it.
func (s *stack) header() map[string]string {
	return map[string]string{
		"Authorization": "Bearer " + s.token, "Accept": "application/json", "User-Agent": "portico-bench",
	}
}

// explain adds to an error what the program has written last.
func (c *contender) explain(err error) error { return process.Explain(err, c.stderr) }

// truncate empties the logs, which would otherwise grow by gigabytes.
func (s *stack) truncate() error {
	var errs []error
	for _, c := range s.running {
		errs = append(errs, c.stderr.Truncate(0))
	}
	return errors.Join(errs...)
}

// close ends everything, last things first, and removes the folder.
func (s *stack) close() error {
	if s == nil {
		return nil
	}
	var errs []error
	for _, c := range slices.Backward(s.running) {
		errs = append(errs, c.Stop(), c.stderr.Close())
	}
	if s.noise != nil {
		errs = append(errs, s.noise.Close())
	}
	if s.issuer != nil {
		errs = append(errs, s.issuer.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// sleep waits, but no longer than ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
