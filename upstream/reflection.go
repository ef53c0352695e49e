package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/portico-bff/portico/bff/config/mistake"
)

// Bounds on what a server may tell about itself.
const (
	maxReflectedServices = 2_000
	maxReflectedFiles    = 10_000
	maxReflectedBytes    = 64 << 20
)

// checkReflect reports what is wrong with a source that reflects, without asking it.
func (s *DescriptorSource) checkReflect() []error {
	var errs []error
	if s.TLS.Mode == TLSUnset {
		errs = append(errs, &mistake.Mistake{
			What: "how to secure the connection is not said", Expected: "tls: {mesh: {identity: SPIFFE-ID}}, system, {ca: FILE, server_name: NAME} or none",
		})
	}
	if s.Timeout < 0 {
		errs = append(errs, mistake.At("the timeout is negative", "timeout"))
	}
	for key := range s.Metadata {
		if !headerName(key) || strings.HasPrefix(strings.ToLower(key), "grpc-") {
			errs = append(errs, &mistake.Mistake{
				Path: []string{"metadata", key}, Key: true, What: fmt.Sprintf("%q cannot be sent", key),
				Expected: "a name of letters, digits, '-', '_' and '.' that does not begin with grpc-",
			})
		}
	}
	return errs
}

// headerName reports whether a key may be metadata of gRPC over HTTP/2.
func headerName(key string) bool {
	return key != "" && strings.Trim(strings.ToLower(key), "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

// reflect asks a server for its services, but for those for operators, and for their descriptors.
func (s *DescriptorSource) reflect(ctx context.Context, mesh Dialer, opts []grpc.DialOption) (_ *descriptorpb.FileDescriptorSet, services []string, err error) {
	timeout := s.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	var last refusal
	conn, err := dial(Config{Target: s.Reflect, TLS: s.TLS, MaxMessage: defaultMaxMessage}, mesh, last.set, opts)
	if err != nil {
		giveUp(nil)
		return nil, nil, renameTarget(err)
	}
	var watching sync.WaitGroup
	watching.Go(func() { last.watch(ctx, conn, giveUp) })
	defer func() {
		giveUp(nil)
		watching.Wait()
		err = errors.Join(err, conn.Close())
	}()
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(
		metadata.NewOutgoingContext(ctx, metadata.New(s.Metadata)),
		grpc.ForceCodecV2(encoding.GetCodecV2(grpcproto.Name)), grpc.WaitForReady(true))
	if err != nil {
		return nil, nil, s.reflectMistake(ctx, err, timeout)
	}
	r := &reflector{stream: stream, files: map[string]*descriptorpb.FileDescriptorProto{}}
	if services, err = r.all(); err != nil {
		return nil, nil, s.reflectMistake(ctx, err, timeout)
	}
	return &descriptorpb.FileDescriptorSet{File: r.order}, services, nil
}

// refusal is why a connection failed last. It is safe for concurrent use.
type refusal struct{ err atomic.Pointer[error] }

func (r *refusal) set(err error) { r.err.Store(&err) }

// watch gives up as soon as no address is left to try and the last one failed for good. Otherwise gRPC
// tries again until the time is over.
func (r *refusal) watch(ctx context.Context, conn *grpc.ClientConn, giveUp context.CancelCauseFunc) {
	for state := conn.GetState(); ; state = conn.GetState() {
		if err := r.err.Load(); state == connectivity.TransientFailure && err != nil && hopeless(*err) {
			giveUp(*err)
			return
		}
		if !conn.WaitForStateChange(ctx, state) {
			return
		}
	}
}

// renameTarget moves mistakes about an upstream's target to the key that has it here.
func renameTarget(err error) error {
	var errs []error
	for _, m := range mistake.List(err) {
		if len(m.Path) > 0 && m.Path[0] == "target" {
			moved := *m
			moved.Path = append([]string{"reflect"}, m.Path[1:]...)
			m = &moved
		}
		errs = append(errs, m)
	}
	return errors.Join(errs...)
}

func (s *DescriptorSource) reflectMistake(ctx context.Context, err error, timeout time.Duration) error {
	if cause := context.Cause(ctx); hopeless(cause) {
		err = cause
	}
	m := &mistake.Mistake{Path: []string{"reflect"}, What: fmt.Sprintf("%s cannot be asked for its services: %v", s.Reflect, err), Err: err}
	st, ok := status.FromError(err)
	if !ok {
		return m
	}
	m.What = fmt.Sprintf("%s cannot be asked for its services: %s: %s", s.Reflect, st.Code(), st.Message())
	switch st.Code() {
	case codes.Unimplemented:
		m.Expected = "a server with server reflection, version v1 (grpc.reflection.v1.ServerReflection)"
	case codes.DeadlineExceeded:
		m.What += fmt.Sprintf(" (after %s)", timeout)
	default:
	}
	return m
}

// reflector asks one server, one question after the other.
type reflector struct {
	stream reflectionpb.ServerReflection_ServerReflectionInfoClient
	files  map[string]*descriptorpb.FileDescriptorProto
	order  []*descriptorpb.FileDescriptorProto
	bytes  int
}

// all fetches the files of all services and everything that they import, and returns the services.
func (r *reflector) all() ([]string, error) {
	services, err := r.services()
	if err != nil {
		return nil, err
	}
	for _, service := range services {
		if r.declared(service) {
			continue
		}
		err := r.fetch(&reflectionpb.ServerReflectionRequest{
			MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service},
		}, service)
		if err != nil {
			return nil, err
		}
		if !r.declared(service) {
			return nil, fmt.Errorf("the answer about the service %q does not declare it", service)
		}
	}
	for i := 0; i < len(r.order); i++ { // grows while files come in
		for _, dep := range r.order[i].GetDependency() {
			if r.files[dep] != nil || wellKnown(dep) {
				continue
			}
			err := r.fetch(&reflectionpb.ServerReflectionRequest{
				MessageRequest: &reflectionpb.ServerReflectionRequest_FileByFilename{FileByFilename: dep},
			}, dep)
			if err != nil {
				return nil, fmt.Errorf("%q imports %q: %w", r.order[i].GetName(), dep, err)
			}
			if r.files[dep] == nil {
				return nil, fmt.Errorf("%q imports %q, but the answer about that file does not hold it", r.order[i].GetName(), dep)
			}
		}
	}
	return services, r.stream.CloseSend()
}

// services lists the services, sorted.
func (r *reflector) services() ([]string, error) {
	resp, err := r.ask(&reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{ListServices: "*"},
	}, "the list of services")
	if err != nil {
		return nil, err
	}
	list := resp.GetListServicesResponse()
	if list == nil {
		return nil, fmt.Errorf("the server was asked for its services and answered with %T", resp.GetMessageResponse())
	}
	var names []string
	for _, s := range list.GetService() {
		if !Infrastructure(s.GetName()) {
			names = append(names, s.GetName())
		}
	}
	if len(names) == 0 {
		return nil, errors.New("the server has no services beside reflection and others for operators")
	}
	if len(names) > maxReflectedServices {
		return nil, fmt.Errorf("the server has %d services, more than %d", len(names), maxReflectedServices)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Infrastructure reports whether a service is one that servers offer to their operators: reflection, health checks, and
// what grpc-go's package admin registers (gRFC A38).
func Infrastructure(service string) bool {
	for _, prefix := range []string{"grpc.reflection.", "grpc.health.", "grpc.channelz.", "envoy.service.status."} {
		if strings.HasPrefix(service, prefix) {
			return true
		}
	}
	return false
}

// declared reports whether a file that is known declares the service.
func (r *reflector) declared(service string) bool {
	pkg, name := "", service
	if i := strings.LastIndexByte(service, '.'); i >= 0 {
		pkg, name = service[:i], service[i+1:]
	}
	return slices.ContainsFunc(r.order, func(f *descriptorpb.FileDescriptorProto) bool {
		return f.GetPackage() == pkg && slices.ContainsFunc(f.GetService(), func(s *descriptorpb.ServiceDescriptorProto) bool {
			return s.GetName() == name
		})
	})
}

// fetch asks for files and keeps those that are new.
func (r *reflector) fetch(req *reflectionpb.ServerReflectionRequest, about string) error {
	resp, err := r.ask(req, about)
	if err != nil {
		return err
	}
	got := resp.GetFileDescriptorResponse()
	if got == nil {
		return fmt.Errorf("the server was asked about %q and answered with %T", about, resp.GetMessageResponse())
	}
	for _, data := range got.GetFileDescriptorProto() {
		if r.bytes += len(data); r.bytes > maxReflectedBytes {
			return fmt.Errorf("the descriptors are over %d bytes", maxReflectedBytes)
		}
		f := new(descriptorpb.FileDescriptorProto)
		if err := proto.Unmarshal(data, f); err != nil {
			return fmt.Errorf("the answer about %q holds no descriptor: %w", about, err)
		}
		old := r.files[f.GetName()]
		switch {
		case f.GetName() == "":
			return fmt.Errorf("the answer about %q holds a file without a name", about)
		case old != nil && !sameFile(old, f):
			return fmt.Errorf("the server describes the file %q in two ways", f.GetName())
		case old != nil:
			continue
		case len(r.order) == maxReflectedFiles:
			return fmt.Errorf("there are more than %d files", maxReflectedFiles)
		}
		r.files[f.GetName()] = f
		r.order = append(r.order, f)
	}
	return nil
}

// ask sends one question and waits for its answer.
func (r *reflector) ask(req *reflectionpb.ServerReflectionRequest, about string) (*reflectionpb.ServerReflectionResponse, error) {
	// A server that has ended the stream says why in what Recv returns.
	sendErr := r.stream.Send(req)
	resp, err := r.stream.Recv()
	if err != nil {
		return nil, err
	}
	if sendErr != nil {
		return nil, sendErr
	}
	if e := resp.GetErrorResponse(); e != nil {
		return nil, fmt.Errorf("%s: %s: %s", about, codes.Code(e.GetErrorCode()), e.GetErrorMessage())
	}
	return resp, nil
}
