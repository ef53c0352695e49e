package chromium

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// How long things may take. The browser shares small machines with other tests.
const (
	startTimeout = 60 * time.Second
	callTimeout  = 60 * time.Second
	closeTimeout = 10 * time.Second
)

// Browser is a running Chromium with a profile of its own. It ends with the test that started it.
type Browser struct {
	tb   testing.TB
	conn *connection
}

// Start starts Chromium. Without one on PATH the test is skipped, or fails if PORTICO_REQUIRE_ALL is 1.
func Start(tb testing.TB) *Browser {
	tb.Helper()
	path := find(tb)
	profile, err := os.MkdirTemp("", "chromium-profile-") //nolint:usetesting // removeAll is patient with stragglers, TempDir is not
	if err != nil {
		tb.Fatalf("make a profile: %v", err)
	}
	var stderr tail
	// Not the test's own context: that ends before the clean-up, which wants to close the browser in order.
	ctx, kill := context.WithCancel(context.WithoutCancel(tb.Context()))
	cmd := exec.CommandContext(ctx, path, flags(profile)...) //nolint:gosec // the program is the browser on PATH
	cmd.Stderr = &stderr
	cmd.WaitDelay = closeTimeout
	if err := cmd.Start(); err != nil {
		kill()
		tb.Fatalf("start %s: %v", path, err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is told by stderr, if anybody asks
		close(exited)
	}()
	b := &Browser{tb: tb}
	tb.Cleanup(func() {
		b.close(exited)
		kill()
		<-exited
		removeAll(tb, profile)
	})
	endpoint, err := waitForEndpoint(tb.Context(), profile, exited)
	if err != nil {
		tb.Fatalf("start %s: %v\n%s", path, err, stderr.String())
	}
	if b.conn, err = dial(tb.Context(), endpoint); err != nil {
		tb.Fatalf("connect to %s: %v\n%s", path, err, stderr.String())
	}
	return b
}

// find looks for the browser on PATH.
func find(tb testing.TB) string {
	tb.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const hint = "no Chromium on PATH; on Debian: apt-get install chromium"
	if os.Getenv("PORTICO_REQUIRE_ALL") == "1" {
		tb.Fatal(hint)
	}
	tb.Skip(hint)
	return ""
}

// flags are the browser's: no window, no sandbox (which root must not have), and no traffic of its own.
func flags(profile string) []string {
	return []string{
		"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
		"--no-default-browser-check", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-extensions", "--disable-default-apps", "--metrics-recording-only", "--mute-audio",
		"--window-size=1400,1200", "--remote-debugging-port=0", "--user-data-dir=" + profile, "about:blank",
	}
}

// waitForEndpoint reads the address that the browser writes into its profile once it listens.
func waitForEndpoint(ctx context.Context, profile string, exited <-chan struct{}) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return "", errors.New("it does not listen")
		case <-exited:
			return "", errors.New("it ended")
		case <-tick.C:
		}
		text, err := os.ReadFile(filepath.Join(profile, "DevToolsActivePort"))
		port, path, ok := strings.Cut(strings.TrimSpace(string(text)), "\n")
		if err == nil && ok {
			return "ws://127.0.0.1:" + port + path, nil
		}
	}
}

// close ends the browser in order, if it can be reached.
func (b *Browser) close(exited <-chan struct{}) {
	if b.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if _, err := b.conn.call(ctx, "", "Browser.close", nil); err == nil {
		select {
		case <-exited:
		case <-ctx.Done():
		}
	}
	b.conn.close()
}

// removeAll removes the profile; a straggling process of the browser may still write into it for a moment.
func removeAll(tb testing.TB, dir string) {
	tb.Helper()
	var err error
	for range 50 {
		if err = os.RemoveAll(dir); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	tb.Errorf("remove the browser's profile: %v", err)
}

func dial(ctx context.Context, endpoint string) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, endpoint, nil)
	if err != nil {
		return nil, err
	}
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	ws.SetReadLimit(-1)           // screenshots are large, and the browser is ours
	return newConnection(ws), nil //nolint:contextcheck // it outlives the dialing
}

// tail keeps the end of what is written to it. It is safe for concurrent use.
type tail struct {
	mu   sync.Mutex
	text []byte
}

var _ io.Writer = (*tail)(nil)

// Write keeps the last 4 KB.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-4096):]
	return len(p), nil
}

// String is what is kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("the end of its log:\n%s", t.text)
}
