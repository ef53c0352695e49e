package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// foreignProtos are services that nobody here has made, with much of what is awkward for GraphQL and REST.
func foreignProtos() map[string]string {
	return map[string]string{
		"garden/v1/garden.proto": `
syntax = "proto3";
package garden.v1;
import "garden/common.proto";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";

// Knows "plants", and
// """what""" they need. \ */
service GardenService {
  rpc GetPlant(GetPlantRequest) returns (Plant);
  rpc ListPlants(ListPlantsRequest) returns (ListPlantsResponse);
  rpc BatchGetPlants(BatchGetPlantsRequest) returns (ListPlantsResponse);
  rpc CreatePlant(CreatePlantRequest) returns (Plant);
  rpc UpdatePlant(UpdatePlantRequest) returns (Plant);
  rpc DeletePlant(GetPlantRequest) returns (google.protobuf.Empty);
  rpc SearchPlants(SearchRequest) returns (ListPlantsResponse);
  rpc Water(WaterRequest) returns (Nothing);
  rpc GetWeather(google.protobuf.Empty) returns (google.protobuf.Struct);
  rpc Echo(google.protobuf.StringValue) returns (google.protobuf.StringValue);
  rpc Any(google.protobuf.Any) returns (google.protobuf.Timestamp);
  rpc WatchPlant(GetPlantRequest) returns (stream Plant);
  rpc WatchEverything(SearchRequest) returns (stream garden.Event);
  rpc PlantMany(stream CreatePlantRequest) returns (Nothing);
  rpc Chat(stream garden.Event) returns (stream garden.Event);
}
message GetPlantRequest { string plant_id = 1; }
message ListPlantsRequest { int32 page_size = 1; string page_token = 2; Kind kind = 3; repeated uint32 rows = 4; }
message ListPlantsResponse { repeated Plant plants = 1; string next_page_token = 2; }
message BatchGetPlantsRequest { repeated string plant_ids = 1; }
message CreatePlantRequest { Plant plant = 1; }
message UpdatePlantRequest { Plant plant = 1; google.protobuf.FieldMask update_mask = 2; }
message SearchRequest { map<string, string> labels = 1; Query query = 2; }
message WaterRequest { string plant_id = 1; oneof amount { double litres = 2; Cans cans = 3; Nothing as_needed = 4; } message Cans { uint32 count = 1; } }
message Nothing {}
message Query { string text = 1; Query not = 2; repeated Query all = 3; }
message Mutation { string type = 1; }
message Int64 { bytes value = 1; }
message Duration { double months = 1; }

enum Kind { KIND_UNSPECIFIED = 0; KIND_TREE = 1; KIND_2_METRES = 2; false = 3; true = 4; KIND_null = 5; option allow_alias = true; KIND_ARBOR = 1; }

// A plant.
message Plant {
  string plant_id = 1;
  Kind kind = 2;
  optional string nickname = 3;
  uint32 height_mm = 4;
  uint64 cells = 5;
  float ph = 6;
  bytes photo = 7;
  google.protobuf.Timestamp planted = 8;
  google.protobuf.Duration thirst = 9;
  google.protobuf.Struct extra = 10;
  repeated google.protobuf.Value things = 11;
  google.protobuf.Any sealed = 12;
  google.protobuf.Int64Value seeds = 13;
  repeated google.protobuf.StringValue notes = 14;
  map<string, int64> counts = 15;
  map<int32, Leaf> leaves = 16;
  map<bool, Nothing> odd = 17;
  repeated Plant offspring = 18;
  Plant parent = 19;
  oneof home { string bed = 20; Pot pot = 21; garden.common.Place place = 22; }
  string type = 23 [deprecated = true];
  string __typename = 24;
  string _ = 25;
  string fooBar = 26;
  string query = 27;
  Nothing nothing = 28;
  Mutation mutation = 29;
  Int64 int64 = 30;
  Duration season = 31;
  garden.common.Status status = 32;
  Leaf.Status leaf_status = 33;
  repeated Kind kinds = 34;
  google.protobuf.NullValue none = 35;
  string class = 36;
  string json = 37 [json_name = "@json"];
  message Pot { string colour = 1; enum Material { CLAY = 0; PLASTIC = 1; } Material material = 2; }
}
message Leaf { enum Status { STATUS_GREEN = 0; STATUS_BROWN = 1; } Status status = 1; Leaf next = 2; }
`,
		"garden/common.proto": `
syntax = "proto2";
package garden.common;
// Where.
message Place { required string name = 1; optional group Point = 2 { optional sint32 x = 1; optional sfixed64 y = 2; } extensions 100 to 200; }
extend Place { optional string note = 100; }
message Status { optional string text = 1; enum Mood { HAPPY = 1; SAD = 2; } optional Mood mood = 2 [default = SAD]; }
`,
		"garden/events.proto": `
edition = "2023";
package garden;
message Event { string name = 1; Event cause = 2 [features.message_encoding = DELIMITED]; }
service Garden { rpc GetPlant(Event) returns (Event); rpc getEvent(Event) returns (Event); rpc List(Event) returns (Event); }
`,
		"plain.proto": `
syntax = "proto3";
service Greeter { rpc SayHello(HelloRequest) returns (HelloReply); rpc type(HelloRequest) returns (HelloReply); }
message HelloRequest { string name = 1; }
message HelloReply { string message = 1; }
`,
	}
}

// foreign is a server for services known from descriptors alone.
type foreign struct {
	files  *protoregistry.Files
	names  []string
	answer map[string][]string // by method: the messages to answer with, as JSON
	target string
	asked  chan string // what was called, with its request
}

func (f *foreign) GetServiceInfo() map[string]grpc.ServiceInfo {
	info := map[string]grpc.ServiceInfo{"grpc.health.v1.Health": {}}
	for _, name := range f.names {
		info[name] = grpc.ServiceInfo{}
	}
	return info
}

// startForeign compiles protos and serves them on loopback, with reflection.
func startForeign(tb testing.TB, protos map[string]string, answer map[string][]string) *foreign {
	tb.Helper()
	f := &foreign{files: new(protoregistry.Files), answer: answer, asked: make(chan string, 100)}
	// garden.v1 uses a message of events.proto by its full name.
	text := map[string]string{}
	for name, source := range protos {
		text[name] = strings.Replace(source, `import "garden/common.proto";`, "import \"garden/common.proto\";\nimport \"garden/events.proto\";", 1)
	}
	var names []string
	for name := range text {
		names = append(names, name)
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(text)}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := compiler.Compile(tb.Context(), names...)
	if err != nil {
		tb.Fatal(err)
	}
	var register func(fd protoreflect.FileDescriptor)
	register = func(fd protoreflect.FileDescriptor) {
		if _, err := f.files.FindFileByPath(fd.Path()); err == nil {
			return
		}
		for i := range fd.Imports().Len() {
			register(fd.Imports().Get(i))
		}
		if err := f.files.RegisterFile(fd); err != nil {
			tb.Fatal(err)
		}
		for i := range fd.Services().Len() {
			f.names = append(f.names, string(fd.Services().Get(i).FullName()))
		}
	}
	for _, fd := range compiled {
		register(fd)
	}
	lis, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	f.target = lis.Addr().String()
	server := grpc.NewServer(grpc.UnknownServiceHandler(f.serve))
	healthpb.RegisterHealthServer(server, health.NewServer())
	reflectionpb.RegisterServerReflectionServer(server, reflection.NewServerV1(reflection.ServerOptions{Services: f, DescriptorResolver: f.files}))
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(lis) }()
	tb.Cleanup(func() { server.Stop(); <-done })
	return f
}

// serve answers any method.
func (f *foreign) serve(_ any, stream grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(stream)
	name := strings.ReplaceAll(strings.TrimPrefix(full, "/"), "/", ".")
	found, err := f.files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return status.Errorf(codes.Unimplemented, "%s: %v", full, err)
	}
	method, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return status.Errorf(codes.Unimplemented, "%s is no method", full)
	}
	req := dynamicpb.NewMessage(method.Input())
	if err := stream.RecvMsg(req); err != nil {
		return err
	}
	text, err := protojson.Marshal(req)
	if err != nil {
		return err
	}
	f.asked <- fmt.Sprintf("%s %s", method.Name(), strings.ReplaceAll(string(text), " ", ""))
	for _, answer := range f.answer[string(method.Name())] {
		resp := dynamicpb.NewMessage(method.Output())
		if err := (protojson.UnmarshalOptions{Resolver: dynamicpb.NewTypes(f.files)}).Unmarshal([]byte(answer), resp); err != nil {
			return err
		}
		if err := stream.SendMsg(resp); err != nil {
			return err
		}
	}
	if method.IsStreamingServer() {
		<-stream.Context().Done() // as services do that watch something
		return context.Cause(stream.Context())
	}
	return nil
}
