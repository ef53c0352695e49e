// Package process runs the programs of a benchmark and reads what the operating system knows of them: [Start] starts
// one, [Process.CPU] and [Process.Memory] measure it. It reads Linux's /proc.
package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	startTimeout = 20 * time.Second // for a program to say that it is ready
	stopTimeout  = 5 * time.Second  // for it to end when it is asked to
)

// Process is a running program.
type Process struct {
	// Name is what messages call it.
	Name string
	// In is the program's standard input, and Out its standard output.
	In  io.WriteCloser
	Out io.Reader

	cmd  *exec.Cmd
	stop context.CancelFunc
	pid  int
}

// Start starts a program, with more in its environment; its standard error goes to a file. The program is interrupted when ctx ends, and killed if
// it does not heed that; the caller calls Stop in any case.
func Start(ctx context.Context, stderr *os.File, env []string, program string, args ...string) (*Process, error) {
	ctx, stop := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // the benchmark's own programs
	cmd.Stderr = stderr
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = stopTimeout
	// A group of its own: Ctrl-C reaches the benchmark, which ends its programs in their order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		stop()
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		stop()
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		stop()
		return nil, err
	}
	return &Process{Name: strings.Join(append([]string{program}, args...), " "), In: in, Out: out, cmd: cmd, stop: stop, pid: cmd.Process.Pid}, nil
}

// FirstLine is the first line of the program's output, by which it says that it is ready. A program that takes too long
// over it is interrupted. What follows the line is lost.
func (p *Process) FirstLine(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, p.stop)()
	line, err := bufio.NewReader(p.Out).ReadString('\n')
	return strings.TrimSpace(line), err
}

// Stop ends the program, if it still runs, and waits for its end.
func (p *Process) Stop() error {
	p.stop()
	return p.Wait()
}

// Wait waits for the program's end. That it ended because it was interrupted is no error.
func (p *Process) Wait() error {
	err := p.cmd.Wait()
	p.stop()
	if exit, ok := errors.AsType[*exec.ExitError](err); errors.Is(err, context.Canceled) || ok && exit.ExitCode() < 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	return nil
}

// CPU is the time that the program has computed so far, in user and in system mode. It advances in steps of 10 ms.
func (p *Process) CPU() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return 0, err
	}
	return parseCPU(text)
}

// tick is the unit of times in /proc: USER_HZ is 100 on every architecture that Go knows.
const tick = 10 * time.Millisecond

// parseCPU reads proc_pid_stat(5).
func parseCPU(text []byte) (time.Duration, error) {
	// The second field is a name in parentheses that may contain anything. utime and stime are fields 14 and 15.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("process times %q: expected more fields", text)
	}
	user, err := strconv.ParseInt(string(fields[11]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("user time: %w", err)
	}
	system, err := strconv.ParseInt(string(fields[12]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("system time: %w", err)
	}
	return time.Duration(user+system) * tick, nil
}

// Memory is how many bytes of memory the program occupies (its resident set).
func (p *Process) Memory() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.pid))
	if err != nil {
		return 0, err
	}
	return parseMemory(text, int64(os.Getpagesize()))
}

// parseMemory reads proc_pid_statm(5): sizes in pages, the resident set second.
func parseMemory(text []byte, page int64) (int64, error) {
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0, fmt.Errorf("process memory %q: expected more fields", text)
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("resident set: %w", err)
	}
	return pages * page, nil
}

// Explain adds to an error what programs have written last to their standard error.
func Explain(err error, stderr *os.File) error {
	text, readErr := os.ReadFile(stderr.Name())
	if readErr != nil || len(text) == 0 {
		return errors.Join(err, readErr)
	}
	const most = 2 << 10
	return fmt.Errorf("%w\n%s", err, text[max(0, len(text)-most):])
}
