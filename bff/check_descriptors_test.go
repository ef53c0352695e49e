package bff_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/portico-bff/portico/bff"
	"github.com/portico-bff/portico/bff/config"
	"github.com/portico-bff/portico/upstream"
)

// describedConfig has one place for the descriptors, one for auth, and one for rules.
const describedConfig = `version: 1
descriptors: [DESCRIPTORS]
upstreams: {catalog: {target: "dns:///localhost:1", services: [shop.catalog.v1.CatalogService], tls: none}}
auth: {anonymous: true}
methods: {"shop.catalog.v1.CatalogService/*": {allow: "true"}}
mobile: {services: [shop.catalog.v1.CatalogService]}
limits_http: {body: 1MiB}
`

// loadDescribed writes a configuration and loads it.
func loadDescribed(t *testing.T, dir, text string) *config.File {
	t.Helper()
	path := filepath.Join(dir, "portico.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := config.Load(path, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// described is a server that describes the demo's services and serves none of them.
func described(t *testing.T) string {
	t.Helper()
	d, err := upstream.Load([]upstream.DescriptorSource{{Set: "../protos/gen/shop.binpb"}})
	if err != nil {
		t.Fatal(err)
	}
	lis, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	for _, name := range d.Services() {
		server.RegisterService(&grpc.ServiceDesc{ServiceName: name, HandlerType: (*any)(nil)}, struct{}{})
	}
	reflectionpb.RegisterServerReflectionServer(server, reflection.NewServerV1(reflection.ServerOptions{
		Services: server, DescriptorResolver: d.Files(),
	}))
	done := make(chan error, 1)
	go func() { done <- server.Serve(lis) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return lis.Addr().String()
}

// TestCheckReflection checks a configuration whose descriptors have to be asked for, without and with asking.
func TestCheckReflection(t *testing.T) {
	t.Parallel()
	text := strings.Replace(describedConfig, "DESCRIPTORS", `{reflect: "`+described(t)+`", tls: none}`, 1)
	file := loadDescribed(t, t.TempDir(), text)
	warnings, err := bff.Check(t.Context(), file)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "portico.yaml:2:15: 127.0.0.1:") || !strings.Contains(warnings[0], "check --online") {
		t.Errorf("offline: %q, %v", warnings, err)
	}
	if warnings, err := bff.CheckOnline(t.Context(), file); err != nil || len(warnings) > 0 {
		t.Errorf("online: %q, %v", warnings, err)
	}
	// What needs no descriptors is checked offline, and what does only online.
	broken := loadDescribed(t, t.TempDir(), strings.NewReplacer(
		"services: [shop.catalog.v1.CatalogService], tls", "services: [shop.catalog.v1.Catalog], tls",
		"{anonymous: true}", "{jwt: [{issuer: i, audiences: [a], jwks_file: missing.json}]}",
	).Replace(text))
	if _, err := bff.Check(t.Context(), broken); err == nil || !strings.Contains(err.Error(), "missing.json") || strings.Contains(err.Error(), "v1.Catalog\"") {
		t.Errorf("offline: %v", err)
	}
	if _, err := bff.CheckOnline(t.Context(), broken); err == nil || !strings.Contains(err.Error(), `portico.yaml:3:`) ||
		!strings.Contains(err.Error(), `unknown service "shop.catalog.v1.Catalog"`) {
		t.Errorf("online: %v", err)
	}
}

// TestServeReflection starts a server whose descriptors come from a service.
func TestServeReflection(t *testing.T) {
	t.Parallel()
	text := strings.Replace(describedConfig, "DESCRIPTORS", `{reflect: "`+described(t)+`", tls: none}`, 1) +
		"listen: {http: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"}\n"
	server, err := bff.New(t.Context(), loadDescribed(t, t.TempDir(), text), bff.Extensions{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	gone := strings.Replace(text, "reflect: \"", "timeout: 100ms, reflect: \"127.0.0.1:1", 1)
	gone = gone[:strings.Index(gone, "127.0.0.1:1")+len("127.0.0.1:1")] + `"` + gone[strings.Index(gone, `", tls: none}]`)+1:]
	if _, err := bff.New(t.Context(), loadDescribed(t, t.TempDir(), gone), bff.Extensions{}); err == nil ||
		!strings.Contains(err.Error(), "portico.yaml:2:") || !strings.Contains(err.Error(), "cannot be asked for its services") {
		t.Errorf("a server that is gone: %v", err)
	}
}

// TestCheckProtos wants mistakes in proto files at their places there.
func TestCheckProtos(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.proto": "syntax = \"proto3\";\nmessage A { Nope n = 1; }\n", "b.proto": "syntax = \"proto3\";\nmessage B {\n\tstring s;\n}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := loadDescribed(t, dir, strings.Replace(describedConfig, "DESCRIPTORS", "{protos: .}, {set: missing.binpb}", 1))
	_, err := bff.Check(t.Context(), file)
	problems, ok := errors.AsType[config.Problems](err)
	if !ok || len(problems) != 3 {
		t.Fatalf("got %v", err)
	}
	for i, want := range []config.Problem{
		{File: filepath.Join(dir, "a.proto"), Line: 2, Col: 13, Source: "message A { Nope n = 1; }"},
		{File: filepath.Join(dir, "b.proto"), Line: 3, Col: 9, Source: "\tstring s;"},
		{File: filepath.Join(dir, "portico.yaml"), Line: 2},
	} {
		got := problems[i]
		if got.File != want.File || got.Line != want.Line || want.Col != 0 && (got.Col != want.Col || got.Source != want.Source) {
			t.Errorf("problem %d is %+v, want it at %+v", i, got, want)
		}
	}
}

// TestCheckRules wants mistakes in http.rules at their places.
func TestCheckRules(t *testing.T) {
	t.Parallel()
	set, err := filepath.Abs("../protos/gen/shop.binpb")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(describedConfig, "DESCRIPTORS", "{set: "+set+"}", 1)
	good := "http: {rules: [{selector: shop.catalog.v1.CatalogService.BatchGetProducts, get: \"/v1/many\"}]}\n"
	if warnings, err := bff.Check(t.Context(), loadDescribed(t, t.TempDir(), text+good)); err != nil {
		t.Errorf("%v, %v", warnings, err)
	}
	bad := strings.Replace(good, "BatchGetProducts", "BatchGetProduct", 1)
	if _, err := bff.Check(t.Context(), loadDescribed(t, t.TempDir(), text+bad)); err == nil ||
		!strings.Contains(err.Error(), "portico.yaml:8:") || !strings.Contains(err.Error(), `did you mean "shop.catalog.v1.CatalogService.BatchGetProducts"?`) {
		t.Errorf("got %v", err)
	}
}
