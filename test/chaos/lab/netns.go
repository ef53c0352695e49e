package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

const netnsTimeout = 10 * time.Second

// ErrNoNamespaces says that this machine, or this user, cannot make network namespaces.
var ErrNoNamespaces = errors.New("needs root and iproute2")

// Namespace makes a network namespace, empty but for its loopback interface.
func (l *Lab) Namespace(ctx context.Context, name string) (string, error) {
	if _, err := exec.LookPath("ip"); err != nil || os.Geteuid() != 0 {
		return "", ErrNoNamespaces
	}
	name = fmt.Sprintf("chaos-%d-%s", os.Getpid(), name)
	if err := ip(ctx, "netns add "+name); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoNamespaces, err)
	}
	l.namespaces = append(l.namespaces, name)
	return name, ip(ctx, "-n "+name+" link set lo up")
}

// Cable links two namespaces by a network of their own, 10.77.n.0/24, with .1 at the
// first end and .2 at the second.
func Cable(ctx context.Context, n int, first, second string) error {
	one, two := fmt.Sprintf("cable%da", n), fmt.Sprintf("cable%db", n)
	return ip(ctx,
		fmt.Sprintf("-n %s link add %s type veth peer name %s netns %s", first, one, two, second),
		fmt.Sprintf("-n %s address add 10.77.%d.1/24 dev %s", first, n, one),
		fmt.Sprintf("-n %s address add 10.77.%d.2/24 dev %s", second, n, two),
		fmt.Sprintf("-n %s link set %s up", first, one),
		fmt.Sprintf("-n %s link set %s up", second, two))
}

// Cut takes the cable from its second end, and Mend puts it back. What is sent
// meanwhile is lost, and nobody is told.
func Cut(ctx context.Context, n int, second string) error {
	return ip(ctx, fmt.Sprintf("-n %s link set cable%db down", second, n))
}

// Mend puts the cable back.
func Mend(ctx context.Context, n int, second string) error {
	return ip(ctx, fmt.Sprintf("-n %s link set cable%db up", second, n))
}

// deleteNamespace takes its cables with it.
func deleteNamespace(ctx context.Context, name string) error { return ip(ctx, "netns delete "+name) }

// ip runs commands of iproute2's ip, one after the other.
func ip(ctx context.Context, commands ...string) error {
	ctx, cancel := context.WithTimeout(ctx, netnsTimeout)
	defer cancel()
	for _, command := range commands {
		//nolint:gosec // commands of our own
		if text, err := exec.CommandContext(ctx, "ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", command, err, bytes.TrimSpace(text))
		}
	}
	return nil
}
