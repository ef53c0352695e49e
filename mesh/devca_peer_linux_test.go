package mesh_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portico-bff/portico/mesh"
)

const nobody = 65534

// Another user is not answered, even where the folder would let it in.
func TestDevCASocketsAreOneUsers(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else: run as root to check the sockets' user")
	}
	dir := shortDir(t)
	told := make(chan error, 1)
	ca, err := mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: "shop.test", TTL: time.Hour, OnError: func(err error) { told <- err }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ca.Close() })
	if err := ca.Serve(t.Context(), dir, "orders"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "orders.sock")
	for place, mode := range map[string]os.FileMode{dir: 0o777, path: 0o777} {
		if err := os.Chmod(place, mode); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its user
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			got <- errno
			return
		}
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			got <- err
			return
		}
		defer func() { _ = conn.Close() }()
		_, err = conn.Read(make([]byte, 1))
		got <- err
	}()
	if err := <-got; !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("another user read %v, want the end", err)
	}
	if err := <-told; !strings.Contains(err.Error(), "user 65534 asked") {
		t.Errorf("told %v", err)
	}
	identity, err := mesh.WorkloadAPI(t.Context(), "unix://"+path)
	if err != nil {
		t.Fatalf("the own user: %v", err)
	}
	_ = identity.Close()
}
