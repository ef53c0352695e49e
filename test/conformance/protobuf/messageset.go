package main

import (
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// withoutMessageSets returns a type that reads and writes a message like mt. Go's runtime refuses message sets, the
// extensible messages of proto1, unless it is built for them. So in files that have some they stand as messages without
// fields, and what they hold passes as unknown fields do: as it is, and in its order.
func withoutMessageSets(mt protoreflect.MessageType) (protoreflect.MessageType, error) {
	file := protodesc.ToFileDescriptorProto(mt.Descriptor().ParentFile())
	sets := map[string]bool{}
	for _, m := range file.GetMessageType() {
		rewriteSets(m, "."+file.GetPackage(), sets)
	}
	if len(sets) == 0 {
		return mt, nil
	}
	for _, m := range file.GetMessageType() {
		dropExtensions(m, sets)
	}
	rebuilt, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		return nil, err
	}
	return dynamicpb.NewMessageType(rebuilt.Messages().ByName(mt.Descriptor().Name())), nil
}

// rewriteSets makes plain messages of the message sets in m, and notes their names.
func rewriteSets(m *descriptorpb.DescriptorProto, scope string, sets map[string]bool) {
	name := scope + "." + m.GetName()
	for _, n := range m.GetNestedType() {
		rewriteSets(n, name, sets)
	}
	if !m.GetOptions().GetMessageSetWireFormat() {
		return
	}
	sets[name] = true
	m.Options, m.ExtensionRange = nil, nil
}

// dropExtensions removes the extensions of message sets.
func dropExtensions(m *descriptorpb.DescriptorProto, sets map[string]bool) {
	kept := m.GetExtension()[:0]
	for _, x := range m.GetExtension() {
		if !sets[x.GetExtendee()] {
			kept = append(kept, x)
		}
	}
	m.Extension = kept
	for _, n := range m.GetNestedType() {
		dropExtensions(n, sets)
	}
}
