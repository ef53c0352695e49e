package upstream_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/upstream"
)

// shopSet is the demo's descriptor set.
const shopSet = "../protos/gen/shop.binpb"

func shop(tb testing.TB) *upstream.Descriptors {
	tb.Helper()
	d, err := upstream.Load([]upstream.DescriptorSource{{Set: shopSet}})
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func method(tb testing.TB, d *upstream.Descriptors, name string) *upstream.Method {
	tb.Helper()
	m, ok := d.Method(name)
	if !ok {
		tb.Fatalf("no method %s", name)
	}
	return m
}

// file makes a small file with one message, and a service that takes it.
func file(name, pkg, message, field string, imports ...string) *descriptorpb.FileDescriptorProto {
	return &descriptorpb.FileDescriptorProto{
		Name: new(name), Package: new(pkg), Syntax: new("proto3"), Dependency: imports,
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: new(message),
			Field: []*descriptorpb.FieldDescriptorProto{{
				Name: new(field), JsonName: new(field), Number: new(int32(1)),
				Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
				Type:  descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
			}},
		}},
	}
}

func writeSet(tb testing.TB, name string, files ...*descriptorpb.FileDescriptorProto) string {
	tb.Helper()
	data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: files})
	if err != nil {
		tb.Fatal(err)
	}
	return writeFile(tb, name, data)
}

func writeFile(tb testing.TB, name string, data []byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func TestLoadShop(t *testing.T) {
	t.Parallel()
	d := shop(t)
	for _, want := range []string{"shop.catalog.v1.CatalogService", "shop.fleet.v1.FleetService", "shop.orders.v1.OrderService"} {
		if !slices.Contains(d.Services(), want) {
			t.Errorf("%v lacks %s", d.Services(), want)
		}
	}
	if !slices.IsSorted(d.Services()) {
		t.Errorf("%v is not sorted", d.Services())
	}
	get := method(t, d, "shop.orders.v1.OrderService/GetOrder")
	if !get.Unary() || get.Idempotency != upstream.NoSideEffects || get.Service() != "shop.orders.v1.OrderService" ||
		get.Input.Name() != "GetOrderRequest" || get.Output.Name() != "Order" {
		t.Errorf("got %+v", get)
	}
	if again := method(t, d, get.Name); again != get {
		t.Error("a method is not one pointer")
	}
	if d.Methods("shop.orders.v1.OrderService")[0] != get {
		t.Error("the methods are not in the order of their declaration")
	}
	if track := method(t, d, "shop.fleet.v1.FleetService/Track"); !track.ClientStreaming || !track.ServerStreaming || track.Unary() {
		t.Errorf("got %+v", track)
	}
	if watch := method(t, d, "shop.orders.v1.OrderService/WatchOrder"); watch.ClientStreaming || !watch.ServerStreaming {
		t.Errorf("got %+v", watch)
	}
	if md, ok := d.Message("shop.orders.v1.Order"); !ok || md.Fields().ByName("order_id") == nil {
		t.Error("the message Order is not found")
	}
	if _, ok := d.Message("shop.orders.v1.OrderService"); ok {
		t.Error("a service is taken for a message")
	}
	if _, ok := d.Method("shop.orders.v1.OrderService/Nope"); ok || d.Methods("nope") != nil {
		t.Error("something is found that is not there")
	}
	if _, err := d.Types().FindMessageByURL("type.googleapis.com/shop.orders.v1.Order"); err != nil {
		t.Error(err)
	}
}

func TestLoadMerges(t *testing.T) {
	t.Parallel()
	a := file("a.proto", "a", "A", "name")
	withComments := proto.CloneOf(a)
	withComments.SourceCodeInfo = &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{{Path: []int32{4}}}}
	timed := file("b.proto", "b", "B", "name", "a.proto", "google/protobuf/timestamp.proto", "google/api/annotations.proto")
	d, err := upstream.Load([]upstream.DescriptorSource{
		{Set: writeSet(t, "one.binpb", timed, a)},
		{Set: writeSet(t, "two.binpb", withComments)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.A", "b.B", "google.protobuf.Timestamp", "google.api.HttpRule"} {
		if _, err := d.Files().FindDescriptorByName(protoName(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLoadWellKnownVersions: sets may carry different versions of the well-known files.
func TestLoadWellKnownVersions(t *testing.T) {
	t.Parallel()
	old := file("google/protobuf/timestamp.proto", "google.protobuf", "Timestamp", "seconds")
	older := file("google/protobuf/timestamp.proto", "google.protobuf", "Timestamp", "second")
	d, err := upstream.Load([]upstream.DescriptorSource{
		{Set: writeSet(t, "one.binpb", old, file("a.proto", "a", "A", "name", old.GetName()))},
		{Set: writeSet(t, "two.binpb", older, file("b.proto", "b", "B", "name", old.GetName()))},
	})
	if err != nil {
		t.Fatal(err)
	}
	if md, ok := d.Message("google.protobuf.Timestamp"); !ok || md.Fields().ByName("nanos") == nil {
		t.Errorf("got %v", md)
	}
}

func TestLoadMistakes(t *testing.T) {
	t.Parallel()
	a := file("a.proto", "a", "A", "name")
	loop := file("loop.proto", "loop", "L", "name", "loop.proto")
	cases := []struct {
		name    string
		sources []upstream.DescriptorSource
		want    []string // parts of each mistake, in order
	}{
		{"nothing", nil, []string{"no descriptors"}},
		{"no set", []upstream.DescriptorSource{{}}, []string{"0: a source without set, protos or reflect"}},
		{"no file", []upstream.DescriptorSource{{Set: "missing.binpb"}}, []string{"0.set: cannot read the descriptor set: stat missing.binpb"}},
		{"garbage", []upstream.DescriptorSource{{Set: writeFile(t, "x", []byte("garbage"))}}, []string{"0.set: "}},
		{"empty", []upstream.DescriptorSource{{Set: writeFile(t, "x", nil)}}, []string{"is empty"}},
		{"different file", []upstream.DescriptorSource{
			{Set: writeSet(t, "one.binpb", a)}, {Set: writeSet(t, "two.binpb", file("a.proto", "a", "A", "title"))},
		}, []string{"one.binpb and "}},
		{"same symbol", []upstream.DescriptorSource{
			{Set: writeSet(t, "one.binpb", a)}, {Set: writeSet(t, "two.binpb", file("other.proto", "a", "A", "name"))},
		}, []string{`declare "a.A" twice, in the files "a.proto" and "other.proto"`}},
		{
			"missing import",
			[]upstream.DescriptorSource{{Set: writeSet(t, "b.binpb", file("b.proto", "b", "B", "name", "nope.proto"))}},
			[]string{`"b.proto" imports "nope.proto", which is in no set`},
		},
		{"import loop", []upstream.DescriptorSource{{Set: writeSet(t, "l.binpb", loop)}}, []string{`"loop.proto" imports itself`}},
		{"several", []upstream.DescriptorSource{{Set: "missing1"}, {Set: "missing2"}}, []string{"0.set", "1.set"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := upstream.Load(c.sources)
			list := mistake.List(err)
			if len(list) != len(c.want) {
				t.Fatalf("got %d mistakes: %v", len(list), err)
			}
			for i, m := range list {
				if !strings.Contains(m.Error(), c.want[i]) {
					t.Errorf("got %q, want %q in it", m.Error(), c.want[i])
				}
			}
		})
	}
}

// TestLoadHuge has a set that is too large to be one; it is sparse, so that only its size is there.
func TestLoadHuge(t *testing.T) {
	t.Parallel()
	name := writeFile(t, "huge.binpb", nil)
	if err := os.Truncate(name, 1<<28+1); err != nil {
		t.Fatal(err)
	}
	if _, err := upstream.Load([]upstream.DescriptorSource{{Set: name}}); err == nil || !strings.Contains(err.Error(), "huge.binpb is over 268435456 bytes") {
		t.Errorf("got %v", err)
	}
	proto := tree(t, map[string]string{"huge.proto": "syntax = \"proto3\";"})
	if err := os.Truncate(filepath.Join(proto, "huge.proto"), 5<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := upstream.Load([]upstream.DescriptorSource{{Protos: proto}}); err == nil || !strings.Contains(err.Error(), "huge.proto is over 4194304 bytes") {
		t.Errorf("got %v", err)
	}
}

func TestFromFiles(t *testing.T) {
	t.Parallel()
	d, err := upstream.FromFiles(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file("a.proto", "a", "A", "name")}}, "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := d.Message("a.A"); !ok || len(d.Services()) != 0 {
		t.Errorf("got %v", d.Services())
	}
}

func TestResolvePaths(t *testing.T) {
	t.Parallel()
	rel := func(p string) string { return "/etc/portico/" + p }
	s := upstream.DescriptorSource{Set: "shop.binpb"}
	s.ResolvePaths(rel)
	c := upstream.Config{TLS: upstream.TLS{Mode: upstream.TLSFile, CA: "ca.pem"}}
	c.ResolvePaths(rel)
	var none upstream.Config
	none.ResolvePaths(rel)
	if s.Set != "/etc/portico/shop.binpb" || c.TLS.CA != "/etc/portico/ca.pem" || none.TLS.CA != "" {
		t.Errorf("got %q, %q, %q", s.Set, c.TLS.CA, none.TLS.CA)
	}
}
