package repo_test

import (
	"os"
	"path/filepath"
	"testing"

	_ "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/google/go-cmp/cmp"
	_ "google.golang.org/genproto/googleapis/api/annotations"
	_ "google.golang.org/genproto/googleapis/api/httpbody"
	_ "google.golang.org/genproto/googleapis/rpc/code"
	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
	_ "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The copies in protos/third_party import the published Go packages, so they have
// to say the same: an upgrade of the one without the other fails here.
func TestThirdPartyProtos(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join(root, "protos/gen/shop.binpb"))
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, copied := range set.GetFile() {
		if _, err := os.Stat(filepath.Join(root, "protos/third_party", copied.GetName())); err != nil {
			continue // ours, or part of every Protobuf compiler
		}
		published, err := protoregistry.GlobalFiles.FindFileByPath(copied.GetName())
		if err != nil {
			t.Error(err)
			continue
		}
		copied.SourceCodeInfo = nil
		for _, extension := range copied.GetExtension() {
			// Google publishes its Go packages without this one option.
			if proto.Equal(extension.GetOptions(), &descriptorpb.FieldOptions{Packed: new(false)}) {
				extension.Options = nil
			}
		}
		if diff := cmp.Diff(protodesc.ToFileDescriptorProto(published), copied, protocmp.Transform()); diff != "" {
			t.Errorf("%s: published Go package and copy differ (-published +copy):\n%s", copied.GetName(), diff)
		}
		compared++
	}
	if compared == 0 {
		t.Error("shop.binpb imports none of protos/third_party")
	}
}
