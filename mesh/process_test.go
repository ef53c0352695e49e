package mesh_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/portico-bff/portico/mesh"
)

// replicaFolder is the environment variable that turns the test program into a
// replica with the identity in that folder.
const replicaFolder = "MESH_TEST_REPLICA"

func TestMain(m *testing.M) {
	run := func() error { return nil }
	switch {
	case os.Getenv(replicaFolder) != "":
		run = func() error { return runReplica(os.Getenv(replicaFolder)) }
	case os.Getenv(callerMode) != "":
		run = func() error { return runCaller(os.Stdin, os.Stdout) }
	default:
		goleak.VerifyTestMain(m)
	}
	if err := run(); err != nil {
		_, _ = io.WriteString(os.Stderr, err.Error()+"\n")
		os.Exit(1)
	}
}

// runReplica serves until its input ends; its first line of output is its address.
func runReplica(dir string) error {
	ctx := context.Background()
	identity, err := mesh.FileIdentity(ctx, mesh.FileOptions{Dir: dir})
	if err != nil {
		return err
	}
	policy, err := mesh.ParsePolicy("mesh.yaml", []byte(everybody))
	if err != nil {
		return err
	}
	m, err := mesh.New(ctx, mesh.Options{Identity: identity, Policy: policy})
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := m.NewServer()
	register(server, &echo{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		server.Stop()
	}()
	if _, err := io.WriteString(os.Stdout, listener.Addr().String()+"\n"); err != nil {
		return err
	}
	return errors.Join(server.Serve(listener), m.Close(), identity.Close())
}

// startReplica starts a replica in a process of its own.
func startReplica(t *testing.T, dir string) (*os.Process, string) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), replicaFolder+"="+dir)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Wait() // the error is the signal's
	})
	address, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process, strings.TrimSpace(address)
}

// One of three replicas, real processes with identities from files, is killed or
// stopped under load: at most one call in a thousand fails, and within a second the
// replica is out of use.
func TestReplicaProcessDies(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			ca, dir := newCA(t, "shop.test", time.Hour), t.TempDir()
			if err := ca.WriteFiles(t.Context(), dir, "orders", "portico"); err != nil {
				t.Fatal(err)
			}
			var victim *os.Process
			addresses := make([]string, 3)
			for i := range addresses {
				victim, addresses[i] = startReplica(t, filepath.Join(dir, "orders"))
			}
			target := "static:///" + strings.Join(addresses, ",")
			var seen events
			client := join(t, ca, "portico", mesh.Options{OnEvent: seen.add, Policy: parsePolicy(t, fmt.Sprintf(`
kind: Destination
host: %q
identities: [%s]
---
kind: Route
hosts: [%q]
http: [{timeout: 5s, retries: {attempts: 3, perTryTimeout: 250ms}}]
`, target, orders, target))})
			conn, err := client.NewClient(target)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			conn.Connect()
			for _, address := range addresses {
				if !becomesReady(client, address) {
					t.Fatalf("no connection to %s", address)
				}
			}
			var failed atomic.Int64
			end := load(t, 16, func() error {
				if _, err := call(t.Context(), conn, echoMethod, "x"); err != nil {
					failed.Add(1)
					t.Log(err)
				}
				return nil
			})
			time.Sleep(300 * time.Millisecond)
			if err := victim.Signal(signal); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			for _, e := range client.Stats().Endpoints {
				if out := !e.Ready || e.Ejected; out != (e.Address == addresses[2]) {
					t.Errorf("a second after the signal: %+v", e)
				}
			}
			time.Sleep(300 * time.Millisecond)
			calls, _ := end()
			if n := failed.Load(); n > calls/1000 {
				t.Errorf("%d of %d calls failed", n, calls)
			}
			t.Logf("%d calls, %d failed, %d retries", calls, failed.Load(), client.Stats().Retries)
		})
	}
}
