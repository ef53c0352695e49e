package mesh

import (
	"slices"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// linkedIdempotency reads idempotency_level from the descriptors that are linked
// into the program, each method once.
func linkedIdempotency() func(string) bool {
	var known sync.Map // full method -> bool; as many as the program calls
	return func(method string) bool {
		if answer, ok := known.Load(method); ok {
			return answer == true
		}
		answer := declaredIdempotent(method)
		known.Store(method, answer)
		return answer
	}
}

func declaredIdempotent(fullMethod string) bool {
	name := protoreflect.FullName(methodName(fullMethod))
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return false
	}
	method, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return false
	}
	options, ok := method.Options().(*descriptorpb.MethodOptions)
	return ok && options.GetIdempotencyLevel() != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
}

// methodName turns "/pkg.Service/Method" into "pkg.Service.Method".
func methodName(fullMethod string) string {
	name := []byte(fullMethod)
	if len(name) > 0 && name[0] == '/' {
		name = name[1:]
	}
	if at := slices.Index(name, '/'); at >= 0 {
		name[at] = '.'
	}
	return string(name)
}
