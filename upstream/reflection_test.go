package upstream_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/upstream"
)

// reflector is a reflection server made of a function.
type reflector struct {
	reflectionpb.UnimplementedServerReflectionServer
	serve func(reflectionpb.ServerReflection_ServerReflectionInfoServer) error
}

func (r *reflector) ServerReflectionInfo(s reflectionpb.ServerReflection_ServerReflectionInfoServer) error {
	return r.serve(s)
}

// answering answers every request with what answer returns.
func answering(answer func(*reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse) *reflector {
	return &reflector{serve: func(s reflectionpb.ServerReflection_ServerReflectionInfoServer) error {
		for {
			req, err := s.Recv()
			if err != nil {
				return nil //nolint:nilerr // the client has gone
			}
			if err := s.Send(answer(req)); err != nil {
				return err
			}
		}
	}}
}

func listed(names ...string) *reflectionpb.ServerReflectionResponse {
	list := &reflectionpb.ListServiceResponse{}
	for _, name := range names {
		list.Service = append(list.Service, &reflectionpb.ServiceResponse{Name: name})
	}
	return &reflectionpb.ServerReflectionResponse{
		MessageResponse: &reflectionpb.ServerReflectionResponse_ListServicesResponse{ListServicesResponse: list},
	}
}

func described(tb testing.TB, files ...*descriptorpb.FileDescriptorProto) *reflectionpb.ServerReflectionResponse {
	tb.Helper()
	resp := &reflectionpb.FileDescriptorResponse{}
	for _, f := range files {
		data, err := proto.Marshal(f)
		if err != nil {
			tb.Fatal(err)
		}
		resp.FileDescriptorProto = append(resp.FileDescriptorProto, data)
	}
	return &reflectionpb.ServerReflectionResponse{
		MessageResponse: &reflectionpb.ServerReflectionResponse_FileDescriptorResponse{FileDescriptorResponse: resp},
	}
}

// serveReflection serves on loopback and returns the target.
func serveReflection(tb testing.TB, register func(*grpc.Server)) string {
	tb.Helper()
	lis, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(insecure.NewCredentials()))
	register(server)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(lis) }()
	tb.Cleanup(func() { server.Stop(); <-done })
	return lis.Addr().String()
}

// serveTLS serves HTTP/2 over TLS with a certificate that signs itself, and returns the target.
func serveTLS(tb testing.TB) string {
	tb.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	tb.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func reflected(target string) []upstream.DescriptorSource {
	return []upstream.DescriptorSource{{Reflect: target, TLS: upstream.TLS{Mode: upstream.TLSNone}, Timeout: 5 * time.Second}}
}

// withService adds a service without methods to a file.
func withService(f *descriptorpb.FileDescriptorProto, name string) *descriptorpb.FileDescriptorProto {
	f.Service = append(f.Service, &descriptorpb.ServiceDescriptorProto{Name: new(name), Method: []*descriptorpb.MethodDescriptorProto{{
		Name: new("Do"), InputType: new("." + f.GetPackage() + "." + f.GetMessageType()[0].GetName()),
		OutputType: new("." + f.GetPackage() + "." + f.GetMessageType()[0].GetName()),
	}}})
	return f
}

// A file may declare services that the server does not have: they are not its services, though its file has them. Those
// for operators are nobody's.
func TestReflectListed(t *testing.T) {
	t.Parallel()
	d := shop(t)
	const orders, fleet = "shop.orders.v1.OrderService", "shop.fleet.v1.FleetService"
	file, err := d.Files().FindFileByPath("shop/orders/v1/orders.proto")
	if err != nil {
		t.Fatal(err)
	}
	more, err := upstream.FromFiles(&descriptorpb.FileDescriptorSet{File: append(filesBefore(d, file.Path()),
		withService(protodesc.ToFileDescriptorProto(file), "Elsewhere"))}, "more")
	if err != nil {
		t.Fatal(err)
	}
	target := serveReflection(t, func(s *grpc.Server) {
		for _, name := range []string{orders, "grpc.channelz.v1.Channelz", "envoy.service.status.v3.ClientStatusDiscoveryService"} {
			s.RegisterService(&grpc.ServiceDesc{ServiceName: name, HandlerType: (*any)(nil)}, struct{}{})
		}
		reflectionpb.RegisterServerReflectionServer(s, reflection.NewServerV1(reflection.ServerOptions{
			Services: s, DescriptorResolver: more.Files(),
		}))
	})
	got, err := upstream.LoadOnline(t.Context(), reflected(target), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Services(), []string{orders}) || got.Methods("shop.orders.v1.Elsewhere") != nil || got.Methods(fleet) != nil {
		t.Errorf("got %v", got.Services())
	}
	if _, err := got.Files().FindDescriptorByName("shop.orders.v1.Elsewhere"); err != nil {
		t.Errorf("the file is not whole: %v", err)
	}
}

// filesBefore lists all files of d but one.
func filesBefore(d *upstream.Descriptors, path string) []*descriptorpb.FileDescriptorProto {
	return slices.DeleteFunc(d.Set().GetFile(), func(f *descriptorpb.FileDescriptorProto) bool { return f.GetName() == path })
}

// TestReflect asks grpc-go's own reflection service for the demo's services.
func TestReflect(t *testing.T) {
	t.Parallel()
	d := shop(t)
	target := serveReflection(t, func(s *grpc.Server) {
		for _, name := range d.Services() {
			s.RegisterService(&grpc.ServiceDesc{ServiceName: name, HandlerType: (*any)(nil)}, struct{}{})
		}
		healthpb.RegisterHealthServer(s, health.NewServer())
		reflectionpb.RegisterServerReflectionServer(s, reflection.NewServerV1(reflection.ServerOptions{
			Services: s, DescriptorResolver: d.Files(),
		}))
	})
	got, err := upstream.LoadOnline(t.Context(), reflected(target), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Services(), d.Services()) {
		t.Errorf("got %v, want %v", got.Services(), d.Services())
	}
	m := method(t, got, "shop.orders.v1.OrderService/GetOrder")
	if m.Idempotency != upstream.NoSideEffects || !strings.Contains(fmt.Sprint(m.Desc.Options()), "google.api.http") {
		t.Errorf("the options are lost: %v", m.Desc.Options())
	}
	// The same files from a set and from a server are no conflict.
	if _, err := upstream.LoadOnline(t.Context(), append(reflected(target), upstream.DescriptorSource{Set: shopSet}), nil); err != nil {
		t.Error(err)
	}
}

// TestReflectOneByOne has a server that answers with single files, as those in C++ do, and wants a token.
func TestReflectOneByOne(t *testing.T) {
	t.Parallel()
	files := map[string]*descriptorpb.FileDescriptorProto{
		"a.proto": withService(file("a.proto", "a", "A", "name", "b.proto", "google/protobuf/timestamp.proto"), "S"),
		"b.proto": file("b.proto", "b", "B", "name", "c.proto"),
		"c.proto": file("c.proto", "c", "C", "name"),
	}
	target := serveReflection(t, func(s *grpc.Server) {
		one := answering(func(req *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
			switch {
			case req.GetFileContainingSymbol() == "a.S":
				return described(t, files["a.proto"])
			case req.GetFileByFilename() != "":
				return described(t, files[req.GetFileByFilename()])
			default:
				return listed("a.S", "grpc.health.v1.Health", "a.S")
			}
		})
		guarded := &reflector{serve: func(s reflectionpb.ServerReflection_ServerReflectionInfoServer) error {
			if md, _ := metadata.FromIncomingContext(s.Context()); !slices.Equal(md.Get("authorization"), []string{"Bearer x"}) {
				return status.Error(codes.Unauthenticated, "who are you?")
			}
			return one.serve(s)
		}}
		reflectionpb.RegisterServerReflectionServer(s, guarded)
	})
	_, err := upstream.LoadOnline(t.Context(), reflected(target), nil)
	if err == nil || !strings.Contains(err.Error(), "0.reflect: "+target+" cannot be asked for its services: Unauthenticated: who are you?") {
		t.Errorf("got %v", err)
	}
	sources := reflected(target)
	sources[0].Metadata = map[string]string{"Authorization": "Bearer x"}
	d, err := upstream.LoadOnline(t.Context(), sources, nil)
	if err != nil {
		t.Fatal(err)
	}
	method(t, d, "a.S/Do")
	for _, name := range []string{"c.C", "google.protobuf.Timestamp"} {
		if _, err := d.Files().FindDescriptorByName(protoName(name)); err != nil {
			t.Error(err)
		}
	}
	sources = append(sources, upstream.DescriptorSource{Set: writeSet(t, "c.binpb", file("c.proto", "c", "C", "title"))})
	if _, err := upstream.LoadOnline(t.Context(), sources, nil); err == nil ||
		!strings.Contains(err.Error(), "c.binpb and the reflection of "+target+` declare the file "c.proto" differently`) {
		t.Errorf("got %v", err)
	}
}

// TestReflectLies has servers whose answers make no sense.
func TestReflectLies(t *testing.T) {
	t.Parallel()
	service := withService(file("a.proto", "a", "A", "name"), "S")
	wrong := func(f *descriptorpb.FileDescriptorProto) func(*reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
		return func(req *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
			if req.GetListServices() != "" {
				return listed("a.S")
			}
			return described(t, f)
		}
	}
	many := make([]string, 2001)
	for i := range many {
		many[i] = "a.S" + strings.Repeat("x", i)
	}
	huge := proto.CloneOf(service)
	huge.SourceCodeInfo = &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{{LeadingComments: new(strings.Repeat("x", 17<<20))}}}
	cases := []struct {
		name   string
		answer func(*reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse
		want   string
	}{
		{"nothing", func(*reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
			return &reflectionpb.ServerReflectionResponse{}
		}, "asked for its services and answered with"},
		{"no services", func(*reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
			return listed("grpc.reflection.v1.ServerReflection")
		}, "no services beside reflection"},
		{"too many services", func(*reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
			return listed(many...)
		}, "2001 services"},
		{"always a list", func(*reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
			return listed("a.S")
		}, `asked about "a.S" and answered with`},
		{"an error", func(req *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
			if req.GetListServices() != "" {
				return listed("a.S")
			}
			return &reflectionpb.ServerReflectionResponse{MessageResponse: &reflectionpb.ServerReflectionResponse_ErrorResponse{
				ErrorResponse: &reflectionpb.ErrorResponse{ErrorCode: int32(codes.NotFound), ErrorMessage: "gone"},
			}}
		}, "a.S: NotFound: gone"},
		{"another service", wrong(withService(file("a.proto", "a", "A", "name"), "T")), `"a.S" does not declare it`},
		{"no name", wrong(&descriptorpb.FileDescriptorProto{}), "a file without a name"},
		{"no descriptor", func(req *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
			if req.GetListServices() != "" {
				return listed("a.S")
			}
			return &reflectionpb.ServerReflectionResponse{MessageResponse: &reflectionpb.ServerReflectionResponse_FileDescriptorResponse{
				FileDescriptorResponse: &reflectionpb.FileDescriptorResponse{FileDescriptorProto: [][]byte{[]byte("garbage")}},
			}}
		}, "holds no descriptor"},
		{"an import that is not there", wrong(withService(file("a.proto", "a", "A", "name", "b.proto"), "S")), `imports "b.proto", but the answer about that file does not hold it`},
		{"imports itself", wrong(withService(file("a.proto", "a", "A", "name", "a.proto"), "S")), "imports itself"},
		{"too large", wrong(huge), "ResourceExhausted"},
		{"changes its mind", func(req *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
			switch {
			case req.GetListServices() != "":
				return listed("a.S", "a.T")
			case req.GetFileContainingSymbol() == "a.S":
				return described(t, service)
			default:
				return described(t, withService(file("a.proto", "a", "A", "name"), "T"))
			}
		}, `describes the file "a.proto" in two ways`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			target := serveReflection(t, func(s *grpc.Server) { reflectionpb.RegisterServerReflectionServer(s, answering(c.answer)) })
			_, err := upstream.LoadOnline(t.Context(), reflected(target), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

// TestReflectUnreachable has servers that do not answer; the timeout bounds the wait.
func TestReflectUnreachable(t *testing.T) {
	t.Parallel()
	silent := serveReflection(t, func(s *grpc.Server) {
		reflectionpb.RegisterServerReflectionServer(s, &reflector{serve: func(s reflectionpb.ServerReflection_ServerReflectionInfoServer) error {
			<-s.Context().Done() // whose timer may go off before the client's
			return s.Context().Err()
		}})
	})
	lis, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := lis.Addr().String()
	_ = lis.Close()
	plain := serveReflection(t, func(*grpc.Server) {})
	secure := serveTLS(t)
	for _, c := range []struct {
		name, target string
		tls          upstream.TLSMode
		want         string
	}{
		{"silent", silent, upstream.TLSNone, "DeadlineExceeded"},
		{"closed port", closed, upstream.TLSNone, "connection refused"},
		{"no TLS there", plain, upstream.TLSSystem, "tls: first record does not look like a TLS handshake"},
		{"no reflection", plain, upstream.TLSNone, "expected a server with server reflection, version v1"},
		{"no target", "dns:///", upstream.TLSNone, "0.reflect: "},
		{"TLS there", secure, upstream.TLSNone, "the server speaks TLS, and the connection is in plain text"},
		{"a certificate of nobody", secure, upstream.TLSSystem, "tls: failed to verify certificate: x509: "},
		{"no mesh", plain, upstream.TLSMesh, "0.tls.mesh"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sources := reflected(c.target)
			sources[0].TLS = upstream.TLS{Mode: c.tls, Identity: "spiffe://a/b"}
			sources[0].Timeout = 300 * time.Millisecond
			began := time.Now()
			_, err := upstream.LoadOnline(t.Context(), sources, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestReflectGivesUp has a server that will never do a handshake, or never one that can be trusted: nobody waits.
func TestReflectGivesUp(t *testing.T) {
	t.Parallel()
	plain := serveReflection(t, func(*grpc.Server) {})
	for target, want := range map[string]string{
		plain: "first record does not look like a TLS handshake", serveTLS(t): "failed to verify certificate",
	} {
		sources := reflected(target)
		sources[0].TLS, sources[0].Timeout = upstream.TLS{Mode: upstream.TLSSystem}, time.Minute
		began := time.Now()
		if _, err := upstream.LoadOnline(t.Context(), sources, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it took %s", took)
		}
	}
}

// TestReflectAnew has a server whose services change: whoever loads again sees those of now.
func TestReflectAnew(t *testing.T) {
	t.Parallel()
	var grown atomic.Bool
	target := serveReflection(t, func(s *grpc.Server) {
		reflectionpb.RegisterServerReflectionServer(s, answering(func(req *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
			f := withService(file("a.proto", "a", "A", "name"), "S")
			if !grown.Load() {
				if req.GetListServices() != "" {
					return listed("a.S")
				}
				return described(t, f)
			}
			if req.GetListServices() != "" {
				return listed("a.S", "a.T")
			}
			return described(t, withService(f, "T"))
		}))
	})
	for _, want := range [][]string{{"a.S"}, {"a.S", "a.T"}} {
		d, err := upstream.LoadOnline(t.Context(), reflected(target), nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, d.Services()); diff != "" {
			t.Error(diff)
		}
		grown.Store(true)
	}
}

func TestLoadOffline(t *testing.T) {
	t.Parallel()
	none := upstream.TLS{Mode: upstream.TLSNone}
	d, skipped, err := upstream.LoadOffline(t.Context(), []upstream.DescriptorSource{{Set: shopSet}})
	if err != nil || len(skipped) != 0 || d == nil {
		t.Errorf("got %v, %v, %v", d, skipped, err)
	}
	// What a folder imports may come from the server.
	dir := tree(t, map[string]string{"zoo.proto": zooProto})
	d, skipped, err = upstream.LoadOffline(t.Context(), []upstream.DescriptorSource{{Protos: dir}, {Reflect: "nobody:1", TLS: none}})
	if err != nil || !slices.Equal(skipped, []int{1}) || d != nil {
		t.Errorf("got %v, %v, %v", d, skipped, err)
	}
	_, _, err = upstream.LoadOffline(t.Context(), []upstream.DescriptorSource{{Set: "missing.binpb"}, {Reflect: "nobody:1", TLS: none}, {Reflect: "x:1"}})
	if got := mistake.List(err); len(got) != 2 {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := upstream.LoadOnline(ctx, reflected("127.0.0.1:1"), nil); err == nil {
		t.Error("a cancelled load has succeeded")
	}
}
