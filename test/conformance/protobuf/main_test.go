package main

import (
	"bytes"
	"encoding/binary"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/test/conformance/protobuf/gen/conformance"
)

// TestRun sends a few requests as the suite does.
func TestRun(t *testing.T) {
	t.Parallel()
	const message = "protobuf_test_messages.proto3.TestAllTypesProto3"
	cases := []struct {
		name    string
		request *conformance.ConformanceRequest
		want    *conformance.ConformanceResponse
	}{
		{"json to wire", &conformance.ConformanceRequest{
			MessageType: message, RequestedOutputFormat: conformance.WireFormat_PROTOBUF,
			Payload: &conformance.ConformanceRequest_JsonPayload{JsonPayload: `{"optionalInt32":1}`},
		}, &conformance.ConformanceResponse{Result: &conformance.ConformanceResponse_ProtobufPayload{ProtobufPayload: []byte{8, 1}}}},
		{"wire to json", &conformance.ConformanceRequest{
			MessageType: message, RequestedOutputFormat: conformance.WireFormat_JSON,
			Payload: &conformance.ConformanceRequest_ProtobufPayload{ProtobufPayload: []byte{8, 1}},
		}, &conformance.ConformanceResponse{Result: &conformance.ConformanceResponse_JsonPayload{JsonPayload: `{"optionalInt32":1}`}}},
		{"wire to wire", &conformance.ConformanceRequest{
			MessageType: message, RequestedOutputFormat: conformance.WireFormat_PROTOBUF,
			Payload: &conformance.ConformanceRequest_ProtobufPayload{ProtobufPayload: []byte{8, 1, 8, 2}},
		}, &conformance.ConformanceResponse{Result: &conformance.ConformanceResponse_ProtobufPayload{ProtobufPayload: []byte{8, 2}}}},
		{"message set", &conformance.ConformanceRequest{
			MessageType: "protobuf_test_messages.proto2.TestAllTypesProto2", RequestedOutputFormat: conformance.WireFormat_PROTOBUF,
			Payload: &conformance.ConformanceRequest_ProtobufPayload{ProtobufPayload: []byte("\242\037\013\013\020\220\263\374\001\032\002Hc\014\010\001")},
		}, &conformance.ConformanceResponse{Result: &conformance.ConformanceResponse_ProtobufPayload{
			ProtobufPayload: []byte("\010\001\242\037\013\013\020\220\263\374\001\032\002Hc\014"),
		}}},
		{"malformed", &conformance.ConformanceRequest{
			MessageType: message, RequestedOutputFormat: conformance.WireFormat_JSON,
			Payload: &conformance.ConformanceRequest_ProtobufPayload{ProtobufPayload: []byte{8}},
		}, &conformance.ConformanceResponse{Result: &conformance.ConformanceResponse_ParseError{
			ParseError: "invalid protobuf message: truncated or malformed",
		}}},
		{"text", &conformance.ConformanceRequest{
			MessageType: message, Payload: &conformance.ConformanceRequest_TextPayload{},
		}, &conformance.ConformanceResponse{Result: &conformance.ConformanceResponse_Skipped{Skipped: "the input is neither wire format nor JSON"}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			data, err := proto.Marshal(c.request)
			if err != nil {
				t.Fatal(err)
			}
			in := append(binary.LittleEndian.AppendUint32(nil, uint32(len(data))), data...)
			var out bytes.Buffer
			if err := run(bytes.NewReader(in), &out); err != nil {
				t.Fatal(err)
			}
			got := new(conformance.ConformanceResponse)
			if err := proto.Unmarshal(out.Bytes()[4:], got); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
