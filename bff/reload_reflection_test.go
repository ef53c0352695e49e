package bff_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/types/known/emptypb"
)

// foreign is a service that nobody here has made, as its server describes it; methods follow.
const foreign = `syntax = "proto3";
package garden.v1;
message Plant { string name = 1; }
service Garden {
  rpc GetPlant(Plant) returns (Plant);
`

// garden serves a foreign service at an address, every method with an empty answer. Port 0 picks one.
func garden(t *testing.T, address, proto string) (*grpc.Server, net.Listener) {
	t.Helper()
	compiler := protocompile.Compiler{Resolver: &protocompile.SourceResolver{
		Accessor: protocompile.SourceAccessorFromMap(map[string]string{"garden.proto": proto}),
	}}
	files, err := compiler.Compile(t.Context(), "garden.proto")
	if err != nil {
		t.Fatal(err)
	}
	lis, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	service := &grpc.ServiceDesc{ServiceName: "garden.v1.Garden", HandlerType: (*any)(nil)}
	methods := files[0].Services().ByName("Garden").Methods()
	for i := range methods.Len() {
		service.Methods = append(service.Methods, grpc.MethodDesc{
			MethodName: string(methods.Get(i).Name()),
			Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				return &emptypb.Empty{}, decode(&emptypb.Empty{})
			},
		})
	}
	server.RegisterService(service, struct{}{})
	reflectionpb.RegisterServerReflectionServer(server, reflection.NewServerV1(reflection.ServerOptions{
		Services: server, DescriptorResolver: files.AsResolver(),
	}))
	serveGRPC(t, server, lis)
	return server, lis
}

// TestReloadAsksAgain wants a method that a service has learned to be reachable after a reload, and a service that cannot
// be asked to change nothing.
func TestReloadAsksAgain(t *testing.T) {
	t.Parallel()
	old, lis := garden(t, "127.0.0.1:0", foreign+"}")
	at := lis.Addr().String()
	r := run(t, at, "DESCRIPTORS", `{reflect: "passthrough:///`+at+`", tls: none, timeout: 2s}`,
		"shop.catalog.v1.CatalogService, shop.fleet.v1.FleetService", "garden.v1.Garden",
		`"shop.catalog.v1.CatalogService/*"`, `"garden.v1.Garden/*"`, "  \"shop.fleet.v1.FleetService/*\": {allow: \"true\"}\n", "",
		"web: {schema: [shop.graphqls]}\n", `http: {rules: [{selector: garden.v1.Garden.GetPlant, get: "/get"}]}`+"\n")
	get := func(path string, want int) {
		t.Helper()
		if status, body := r.do(http.MethodGet, r.base+path, ""); status != want {
			t.Errorf("%s is answered with %d %s", path, status, body)
		}
	}
	get("/get", http.StatusOK)
	get("/find", http.StatusNotFound)
	r.edit(`get: "/get"}`, `get: "/get"}, {selector: garden.v1.Garden.FindPlant, get: "/find"}`)
	if _, err := r.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "FindPlant") {
		t.Errorf("a method that the service does not have: %v", err)
	}
	get("/get", http.StatusOK)
	old.Stop()
	if _, err := r.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "portico.yaml:3:") || !strings.Contains(err.Error(), "cannot be asked for its services") {
		t.Errorf("a service that is gone: %v", err)
	}
	get("/find", http.StatusNotFound)
	garden(t, at, foreign+"rpc FindPlant(Plant) returns (Plant);}")
	r.reload()
	get("/get", http.StatusOK)
	get("/find", http.StatusOK)
}
