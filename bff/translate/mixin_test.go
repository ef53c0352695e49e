package translate_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/portico-bff/portico/bff/translate"
	"github.com/portico-bff/portico/upstream"
)

// operations is what the test needs of google/longrunning/operations.proto, whose own annotations are not the ones that
// anybody serves.
const operations = `
name: "google/longrunning/operations.proto" package: "google.longrunning" syntax: "proto3"
dependency: ["google/protobuf/any.proto", "google/protobuf/empty.proto"]
message_type { name: "Operation"
  field { name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "name" }
  field { name: "metadata" number: 2 type: TYPE_MESSAGE type_name: ".google.protobuf.Any" label: LABEL_OPTIONAL json_name: "metadata" }
  field { name: "done" number: 3 type: TYPE_BOOL label: LABEL_OPTIONAL json_name: "done" }
}
message_type { name: "GetOperationRequest" field { name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "name" } }
service { name: "Operations"
  method { name: "GetOperation" input_type: ".google.longrunning.GetOperationRequest" output_type: ".google.longrunning.Operation" }
  method { name: "CancelOperation" input_type: ".google.longrunning.GetOperationRequest" output_type: ".google.protobuf.Empty" }
}`

// The http part of a google.api.Service's YAML, as its authors write it, serves mixins that nobody can annotate.
func TestMixins(t *testing.T) {
	t.Parallel()
	file := &descriptorpb.FileDescriptorProto{}
	if err := prototext.Unmarshal([]byte(operations), file); err != nil {
		t.Fatal(err)
	}
	d, err := upstream.FromFiles(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(anypb.File_google_protobuf_any_proto),
		protodesc.ToFileDescriptorProto(emptypb.File_google_protobuf_empty_proto), file,
	}}, "operations")
	if err != nil {
		t.Fatal(err)
	}
	var cfg translate.Config
	if err := yaml.Unmarshal([]byte(`
rules:
- selector: google.longrunning.Operations.GetOperation
  get: '/v1/{name=projects/*/operations/**}'
  additional_bindings:
  - get: '/v1/{name=operations/**}'
- selector: google.longrunning.Operations.CancelOperation
  post: '/v1/{name=operations/**}:cancel'
  body: '*'
`), &cfg); err != nil {
		t.Fatal(err)
	}
	rules, err := cfg.Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	anything, err := anypb.New(&emptypb.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	metadata, err := proto.Marshal(anything)
	if err != nil {
		t.Fatal(err)
	}
	rt, err := translate.New(d.Methods("google.longrunning.Operations"), translate.Options{
		Rules: rules, Resolver: d.Types(),
		Caller: stub{invoke: func(_ context.Context, m *upstream.Method, req []byte) (upstream.Reply, error) {
			if m.Desc.Name() == "CancelOperation" {
				return upstream.Reply{}, nil
			}
			return upstream.Reply{Message: append(append(req, 0x12, byte(len(metadata))), metadata...)}, nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const packed = `,"metadata":{"@type":"type.googleapis.com/google.protobuf.Empty"}}`
	for line, want := range map[string]string{
		"GET /v1/projects/p/operations/a/b": `{"name":"projects/p/operations/a/b"` + packed,
		"GET /v1/operations/a":              `{"name":"operations/a"` + packed,
		"POST /v1/operations/a:cancel":      `{}`,
	} {
		r := do(t, rt, line, "")
		if body := text(t, r); r.StatusCode != http.StatusOK || body != want {
			t.Errorf("%s: status %d, body %s, want %s", line, r.StatusCode, body, want)
		}
	}
}
