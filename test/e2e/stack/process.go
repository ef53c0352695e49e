package stack

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a running program. It is killed when the test ends.
type Process struct {
	Name string

	cmd    *exec.Cmd
	done   chan struct{}
	err    error // valid once done is closed
	stdout Output
	stderr Output
}

// Output is what a process has printed so far. It is safe for concurrent use.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

// Write takes what the process prints.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String is everything so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Start starts a program at the top of the repository, with additional environment variables.
func Start(tb testing.TB, env []string, program string, args ...string) *Process {
	tb.Helper()
	p := &Process{Name: program[strings.LastIndexByte(program, '/')+1:], done: make(chan struct{})}
	p.cmd = exec.Command(program, args...) //nolint:noctx,gosec // Stop and Kill end it; tests name the program
	p.cmd.Dir = Root()
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", p.Name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	tb.Cleanup(func() {
		p.Kill()
		if tb.Failed() {
			tb.Logf("%s %s printed:\n%s%s", p.Name, strings.Join(args, " "), tail(p.stdout.String()), tail(p.stderr.String()))
		}
		if strings.Contains(p.stderr.String(), "WARNING: DATA RACE") {
			tb.Errorf("%s has a data race:\n%s", p.Name, p.stderr.String())
		}
	})
	return p
}

func tail(s string) string {
	const most = 2 << 10
	if len(s) > most {
		return "..." + s[len(s)-most:]
	}
	return s
}

// Stdout and Stderr are what the process has printed so far.
func (p *Process) Stdout() string { return p.stdout.String() }

// Stderr is what the process has printed on its standard error so far.
func (p *Process) Stderr() string { return p.stderr.String() }

// Exited reports whether the process has ended.
func (p *Process) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends a signal to the process.
func (p *Process) Signal(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		tb.Fatalf("signal %s: %v", p.Name, err)
	}
}

// Kill kills the process and all that it has started, and waits for its end.
func (p *Process) Kill() {
	if !p.Exited() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
	<-p.done
}

// Wait waits for the end of the process and returns its error, if its exit status was not 0.
func (p *Process) Wait(within time.Duration) error {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
		return fmt.Errorf("%s still runs after %s", p.Name, within)
	}
}

// Stop interrupts the process like Ctrl-C and returns how long it took to end.
func (p *Process) Stop(tb testing.TB, within time.Duration) time.Duration {
	tb.Helper()
	start := time.Now()
	p.Signal(tb, syscall.SIGINT)
	if err := p.Wait(within); err != nil {
		tb.Fatalf("stop %s: %v\n%s", p.Name, err, tail(p.Stderr()))
	}
	return time.Since(start)
}

// Eventually calls f until it returns nil, and fails the test with its last error after the time given.
func Eventually(tb testing.TB, within time.Duration, f func() error) {
	tb.Helper()
	deadline := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("not within %s: %v", within, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// FreeAddress is a loopback address whose port is free now and is given to nobody else. It is below the ports that the
// system gives out by itself.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)) //nolint:gosec // any port will do
		if _, given := addresses.LoadOrStore(address, true); given {
			continue
		}
		lis, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", address)
		if err != nil {
			continue
		}
		_ = lis.Close()
		return address
	}
	tb.Fatal("no port is free")
	return ""
}

// addresses are those that FreeAddress has given out.
var addresses sync.Map //nolint:gochecknoglobals // ports belong to the whole process
