// Command protobuf is a testee of the Protobuf project's conformance suite: it reads requests on its standard input
// and answers them on its standard output, each with its length before it in four bytes.
//
// JSON is read and written by package wire and by nothing else. Messages that go from wire format to wire format pass
// through the protobuf runtime, generated types or, where there are message sets, dynamic ones. Text format is skipped.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/portico-bff/portico/upstream/wire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/portico-bff/portico/test/conformance/protobuf/gen/conformance"
	// The messages of the tests.
	_ "github.com/portico-bff/portico/test/conformance/protobuf/gen/edition2023"
	_ "github.com/portico-bff/portico/test/conformance/protobuf/gen/proto2"
	_ "github.com/portico-bff/portico/test/conformance/protobuf/gen/proto2editions"
	_ "github.com/portico-bff/portico/test/conformance/protobuf/gen/proto3"
	_ "github.com/portico-bff/portico/test/conformance/protobuf/gen/proto3editions"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run answers requests until in ends.
func run(in io.Reader, out io.Writer) error {
	for {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		data := make([]byte, binary.LittleEndian.Uint32(size[:]))
		if _, err := io.ReadFull(in, data); err != nil {
			return err
		}
		request := new(conformance.ConformanceRequest)
		if err := proto.Unmarshal(data, request); err != nil {
			return err
		}
		answer, err := proto.Marshal(answer(request))
		if err != nil {
			return err
		}
		binary.LittleEndian.PutUint32(size[:], uint32(len(answer)))
		if _, err := out.Write(append(size[:], answer...)); err != nil {
			return err
		}
	}
}

// answer does what a request asks for.
func answer(r *conformance.ConformanceRequest) *conformance.ConformanceResponse {
	mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(r.GetMessageType()))
	if err != nil {
		return &conformance.ConformanceResponse{Result: &conformance.ConformanceResponse_RuntimeError{RuntimeError: err.Error()}}
	}
	var msg []byte
	switch payload := r.GetPayload().(type) {
	case *conformance.ConformanceRequest_ProtobufPayload:
		msg, err = payload.ProtobufPayload, nil
		if r.GetRequestedOutputFormat() == conformance.WireFormat_PROTOBUF {
			msg, err = throughRuntime(mt, msg)
		}
	case *conformance.ConformanceRequest_JsonPayload:
		msg, err = fromJSON(mt.Descriptor(), []byte(payload.JsonPayload), r.GetTestCategory())
	default:
		return skip("the input is neither wire format nor JSON")
	}
	if err != nil {
		return &conformance.ConformanceResponse{Result: &conformance.ConformanceResponse_ParseError{ParseError: err.Error()}}
	}
	switch r.GetRequestedOutputFormat() {
	case conformance.WireFormat_PROTOBUF:
		return &conformance.ConformanceResponse{Result: &conformance.ConformanceResponse_ProtobufPayload{ProtobufPayload: msg}}
	case conformance.WireFormat_JSON:
		text, err := toJSON(mt.Descriptor(), msg)
		if err != nil {
			return serializeError(r, err)
		}
		return &conformance.ConformanceResponse{Result: &conformance.ConformanceResponse_JsonPayload{JsonPayload: string(text)}}
	default:
		return skip("the output is neither wire format nor JSON")
	}
}

func skip(why string) *conformance.ConformanceResponse {
	return &conformance.ConformanceResponse{Result: &conformance.ConformanceResponse_Skipped{Skipped: why}}
}

// serializeError tells what is wrong with a message that cannot be written as JSON. Since rendering is the first time
// that its bytes are read, a message that is malformed is told apart by canonicalizing it.
func serializeError(r *conformance.ConformanceRequest, err error) *conformance.ConformanceResponse {
	mt, findErr := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(r.GetMessageType()))
	if findErr == nil {
		c, compileErr := wire.NewCanonicalizer(mt.Descriptor(), wire.ParseOptions{})
		if compileErr == nil {
			_, compileErr = c.Append(nil, r.GetProtobufPayload())
		}
		if compileErr != nil {
			return &conformance.ConformanceResponse{Result: &conformance.ConformanceResponse_ParseError{ParseError: compileErr.Error()}}
		}
	}
	return &conformance.ConformanceResponse{Result: &conformance.ConformanceResponse_SerializeError{SerializeError: err.Error()}}
}

// throughRuntime reads and writes a message with the protobuf runtime.
func throughRuntime(mt protoreflect.MessageType, msg []byte) ([]byte, error) {
	mt, err := withoutMessageSets(mt)
	if err != nil {
		return nil, err
	}
	m := mt.New().Interface()
	if err := proto.Unmarshal(msg, m); err != nil {
		return nil, err
	}
	// The suite compares the bytes of some answers with fields in order.
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

func fromJSON(md protoreflect.MessageDescriptor, text []byte, category conformance.TestCategory) ([]byte, error) {
	p, err := wire.NewParser(md, wire.ParseOptions{DiscardUnknown: category == conformance.TestCategory_JSON_IGNORE_UNKNOWN_PARSING_TEST})
	if err != nil {
		return nil, err
	}
	return p.Append(nil, text)
}

func toJSON(md protoreflect.MessageDescriptor, msg []byte) ([]byte, error) {
	r, err := wire.NewRenderer(md, nil, wire.RenderOptions{})
	if err != nil {
		return nil, err
	}
	return r.Append(nil, msg)
}
