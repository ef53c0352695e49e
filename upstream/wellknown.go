package upstream

import (
	"strings"

	// Files that descriptor sets leave out, as protoc does without --include_imports.
	_ "google.golang.org/genproto/googleapis/api/annotations"
	_ "google.golang.org/genproto/googleapis/api/httpbody"
	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
	_ "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/reflect/protoregistry"
	_ "google.golang.org/protobuf/types/known/anypb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"
)

// wellKnown reports whether a file that sets leave out may be taken from those compiled into this program.
func wellKnown(path string) bool {
	for _, dir := range []string{"google/protobuf/", "google/api/", "google/rpc/", "buf/validate/"} {
		if strings.HasPrefix(path, dir) {
			_, err := protoregistry.GlobalFiles.FindFileByPath(path)
			return err == nil
		}
	}
	return false
}
