package e2e_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portico-bff/portico/test/e2e/stack"
)

// site is a running demo and its data folder.
type site struct {
	stack.Info
	data string
}

// startDemo starts a demo with a data folder of its own.
func startDemo(t *testing.T, args ...string) (*stack.Process, site) {
	t.Helper()
	dir := t.TempDir()
	p, info := stack.Demo(t, &programs, append([]string{"--data", dir}, args...)...)
	return p, site{Info: info, data: dir}
}

// token signs a token with the site's issuer key, by the command that users have for it.
func (s site) token(t *testing.T, subject, role string, ttl time.Duration) string {
	t.Helper()
	return s.sign(t, "--subject", subject, "--role", role, "--ttl", ttl.String())
}

// sign runs `bff token` with the site's issuer key.
func (s site) sign(t *testing.T, args ...string) string {
	t.Helper()
	return signWith(t, filepath.Join(s.data, "issuer", "issuer.pem"), args...)
}

func signWith(t *testing.T, key string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, programs.Path(t, "bff"), append([]string{"token", "--key", key}, args...)...).Output()
	if err != nil {
		t.Fatalf("bff token: %v", err)
	}
	return strings.TrimSpace(string(out))
}
