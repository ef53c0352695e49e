package translate_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	_ "google.golang.org/genproto/googleapis/api/annotations"
	_ "google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/bff/translate"
	"github.com/portico-bff/portico/upstream"
)

// library loads the test service. Its options travel as unknown fields, as they do in a descriptor set that was
// loaded without knowing google.api.http.
func library(tb testing.TB) *upstream.Descriptors {
	tb.Helper()
	text, err := os.ReadFile("testdata/library.txtpb")
	if err != nil {
		tb.Fatal(err)
	}
	var file descriptorpb.FileDescriptorProto
	if err := prototext.Unmarshal(text, &file); err != nil {
		tb.Fatal(err)
	}
	encoded, err := proto.Marshal(&file)
	if err != nil {
		tb.Fatal(err)
	}
	var bare descriptorpb.FileDescriptorProto
	if err := (proto.UnmarshalOptions{Resolver: (*protoregistry.Types)(nil)}).Unmarshal(encoded, &bare); err != nil {
		tb.Fatal(err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(path string)
	add = func(path string) {
		if seen[path] {
			return
		}
		seen[path] = true
		fd, err := protoregistry.GlobalFiles.FindFileByPath(path)
		if err != nil {
			tb.Fatal(err)
		}
		for i := range fd.Imports().Len() {
			add(fd.Imports().Get(i).Path())
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(fd))
	}
	for _, path := range bare.GetDependency() {
		add(path)
	}
	set.File = append(set.File, &bare)
	d, err := upstream.FromFiles(set, "library")
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

const libraryService = "test.library.v1.Library"

func method(tb testing.TB, d *upstream.Descriptors, name string) *upstream.Method {
	tb.Helper()
	m, ok := d.Method(libraryService + "/" + name)
	if !ok {
		tb.Fatalf("no method %s", name)
	}
	return m
}

// stub is a Caller made of functions.
type stub struct {
	invoke func(ctx context.Context, m *upstream.Method, req []byte) (upstream.Reply, error)
	open   func(ctx context.Context, m *upstream.Method) (upstream.Stream, error)
}

func (s stub) Invoke(ctx context.Context, m *upstream.Method, req []byte) (upstream.Reply, error) {
	return s.invoke(ctx, m, req)
}

func (s stub) Open(ctx context.Context, m *upstream.Method) (upstream.Stream, error) {
	return s.open(ctx, m)
}

// echo answers every call with the request's JSON in a message of the same type, or an empty one of another type. There are
// no streams.
func echo() stub {
	return stub{invoke: func(_ context.Context, m *upstream.Method, req []byte) (upstream.Reply, error) {
		if m.Output.FullName() == "google.protobuf.Value" { // an empty one has no JSON
			return upstream.Reply{Message: []byte{0x08, 0}}, nil
		}
		if m.Input.FullName() != m.Output.FullName() {
			return upstream.Reply{}, nil
		}
		return upstream.Reply{Message: req}, nil
	}, open: func(context.Context, *upstream.Method) (upstream.Stream, error) { return nil, notFound() }}
}

// router serves all of the library.
func router(tb testing.TB, d *upstream.Descriptors, caller upstream.Caller) *translate.Router {
	tb.Helper()
	rt, err := translate.New(d.Methods(libraryService), translate.Options{Caller: caller, Resolver: d.Types()})
	if err != nil {
		tb.Fatal(err)
	}
	return rt
}

// do sends one request, written as "GET /path", straight to a handler.
func do(tb testing.TB, h http.Handler, line, body string, header ...string) *http.Response {
	tb.Helper()
	httpMethod, target, _ := strings.Cut(line, " ")
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(tb.Context(), httpMethod, target, reader)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(tb testing.TB, r *http.Response) string {
	tb.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// message encodes JSON as a message.
func message(tb testing.TB, md protoreflect.MessageDescriptor, json string) []byte {
	tb.Helper()
	m := dynamicpb.NewMessage(md)
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		tb.Fatalf("%s: %v", json, err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// jsonOf decodes a message.
func jsonOf(tb testing.TB, md protoreflect.MessageDescriptor, wire []byte) string {
	tb.Helper()
	m := dynamicpb.NewMessage(md)
	if err := proto.Unmarshal(wire, m); err != nil {
		tb.Fatal(err)
	}
	b, err := protojson.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	// protojson varies its white space on purpose.
	return strings.ReplaceAll(strings.ReplaceAll(string(b), ", ", ","), `": `, `":`)
}
