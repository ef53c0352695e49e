package service

import (
	"fmt"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// NewValidator compiles the buf.validate rules of a proto file, so that no caller waits
// for it, and a broken rule shows at the start.
func NewValidator(file protoreflect.FileDescriptor) (protovalidate.Validator, error) {
	messages := make([]protoreflect.MessageDescriptor, file.Messages().Len())
	for i := range messages {
		messages[i] = file.Messages().Get(i)
	}
	validator, err := protovalidate.New(protovalidate.WithMessageDescriptors(messages...))
	if err != nil {
		return nil, fmt.Errorf("compile validation rules of %s: %w", file.Path(), err)
	}
	return validator, nil
}
