package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is the program itself where a test has started it as such.
func TestMain(m *testing.M) {
	if os.Getenv("BFF_TEST_AS_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestHangupReloads sends the program signals, and reads in its log what came of them.
func TestHangupReloads(t *testing.T) {
	t.Parallel()
	set, err := filepath.Abs("../../protos/gen/shop.binpb")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "portico.yaml")
	write := func(services string) {
		t.Helper()
		text := `version: 1
listen: {http: "127.0.0.1:0", admin: "127.0.0.1:0"}
descriptors: [{set: ` + set + `}]
upstreams: {shop: {target: "passthrough:///127.0.0.1:1", services: [shop.catalog.v1.CatalogService], tls: none}}
auth: {anonymous: true}
methods: {"shop.catalog.v1.CatalogService/*": {allow: "true"}}
mobile: {services: [` + services + `]}
`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	program := exec.CommandContext(ctx, os.Args[0], "serve", "-c", file)
	program.Env = append(os.Environ(), "BFF_TEST_AS_PROGRAM=1")
	out, err := program.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	log := bufio.NewScanner(out)
	await := func(message string) string {
		t.Helper()
		for log.Scan() {
			if strings.Contains(log.Text(), `"msg":"`+message) {
				return log.Text()
			}
		}
		t.Fatalf("the log ended without %q: %v", message, log.Err())
		return ""
	}
	signal := func(s os.Signal) {
		t.Helper()
		if err := program.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	_, rest, _ := strings.Cut(await("listening"), `"http":"`)
	address, _, _ := strings.Cut(rest, `"`)
	get := func(want int) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v1/products/a", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if _ = resp.Body.Close(); err != nil || resp.StatusCode != want {
			t.Errorf("answered with %s, %v, want %d", resp.Status, err, want)
		}
	}
	get(http.StatusNotFound)
	write("shop.catalog.v1.CatalogServise")
	signal(syscall.SIGHUP)
	if got := await("the configuration was not reloaded, nothing has changed"); !strings.Contains(got, "portico.yaml:7:") {
		t.Errorf("the log says %s", got)
	}
	get(http.StatusNotFound)
	write("shop.catalog.v1.CatalogService")
	signal(syscall.SIGHUP)
	await("the configuration was reloaded")
	get(http.StatusServiceUnavailable) // the route is there, and nobody behind it
	signal(syscall.SIGTERM)
	await("stopped")
	if err := program.Wait(); err != nil {
		t.Errorf("the program ended with %v", err)
	}
}
