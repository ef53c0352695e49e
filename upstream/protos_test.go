package upstream_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/upstream"
)

// tree writes files, by path, below a new folder.
func tree(tb testing.TB, files map[string]string) string {
	tb.Helper()
	dir := tb.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

const zooProto = `syntax = "proto3";
package zoo.v1;
import "google/api/annotations.proto";
import "google/protobuf/timestamp.proto";
import "shared/area.proto";
// Keeps animals.
service Zoo {
  // One animal.
  rpc GetAnimal(GetAnimalRequest) returns (Animal) {
    option (google.api.http) = {get: "/v1/animals/{id}"};
    option idempotency_level = NO_SIDE_EFFECTS;
  }
}
message GetAnimalRequest { string id = 1; }
message Animal { string id = 1; shared.Area area = 2; google.protobuf.Timestamp born = 3; }
`

const areaProto = `edition = "2023"; package shared; message Area { int32 square_metres = 1; }`

func TestLoadProtos(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"zoo/v1/zoo.proto": zooProto, "vendor/shared/area.proto": areaProto, "README.md": "no proto", ".git/x.proto": "hidden",
	})
	d, err := upstream.Load([]upstream.DescriptorSource{{Protos: dir, Imports: []string{filepath.Join(dir, "vendor")}}})
	if err != nil {
		t.Fatal(err)
	}
	m := method(t, d, "zoo.v1.Zoo/GetAnimal")
	if m.Idempotency != upstream.NoSideEffects || m.Output.Fields().ByName("area").Message().FullName() != "shared.Area" {
		t.Errorf("got %+v", m)
	}
	comment := m.Desc.ParentFile().SourceLocations().ByDescriptor(m.Desc).LeadingComments
	if strings.TrimSpace(comment) != "One animal." {
		t.Errorf("the comment is %q", comment)
	}
	var names []string
	for _, f := range d.Set().GetFile() {
		names = append(names, f.GetName())
	}
	if i, j := strings.Index(fmt.Sprint(names), "shared/area.proto"), strings.Index(fmt.Sprint(names), "zoo/v1/zoo.proto"); i < 0 || j < i {
		t.Errorf("the set has the files %v", names)
	}
	again, err := upstream.FromFiles(d.Set(), "again")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.Services(), again.Services()); diff != "" {
		t.Error(diff)
	}
}

// TestProtosBesideSets has a folder whose files import what only a descriptor set holds.
func TestProtosBesideSets(t *testing.T) {
	t.Parallel()
	area, err := upstream.Load([]upstream.DescriptorSource{{Protos: tree(t, map[string]string{"shared/area.proto": areaProto})}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := upstream.Load([]upstream.DescriptorSource{
		{Protos: tree(t, map[string]string{"zoo.proto": zooProto})},
		{Set: writeSet(t, "area.binpb", area.Set().GetFile()...)},
	})
	if err != nil {
		t.Fatal(err)
	}
	method(t, d, "zoo.v1.Zoo/GetAnimal")
}

func TestProtosMistakes(t *testing.T) {
	t.Parallel()
	good := `syntax = "proto3"; message M { string a = 1; }`
	cases := []struct {
		name  string
		files map[string]string
		globs []string
		// want is a part of each mistake, in order; DIR stands for the folder.
		want []string
	}{
		{"no files", map[string]string{"x.txt": ""}, nil, []string{"0.protos: there are no .proto files in DIR"}},
		{"no such folder", nil, nil, []string{"0.protos: cannot read the proto files in DIR/none"}},
		{"pattern", map[string]string{"a.proto": good}, []string{"b/*.proto"}, []string{`0.files.0: no proto file in DIR fits "b/*.proto"`}},
		{"syntax", map[string]string{"a/b.proto": "syntax = \"proto3\";\nmessage M { string = 1; }"}, nil, []string{"0.protos: DIR/a/b.proto:2:20: unexpected '='"}},
		{
			"all at once",
			map[string]string{
				"a.proto": "syntax = \"proto3\";\nmessage M {\n  Nope a = 1;\n  Nope2 b = 2;\n}",
				"b.proto": "syntax = \"proto3\";\nservice S { rpc X(Y) returns (Z); }",
			},
			nil,
			[]string{"DIR/a.proto:3:3: ", "DIR/a.proto:4:3: ", "DIR/b.proto:2:19: ", "DIR/b.proto:2:31: "},
		},
		{
			"missing import",
			map[string]string{"a.proto": "syntax = \"proto3\";\nimport \"nope/x.proto\";"},
			nil,
			[]string{`DIR/a.proto:2:8: "nope/x.proto" is in none of DIR`},
		},
		{
			"missing imports of several files",
			map[string]string{
				"a.proto": "syntax = \"proto3\";\nimport \"x.proto\";", "b.proto": "syntax = \"proto3\";\n\nimport \"y.proto\";",
				"c.proto": "syntax = \"proto3\";\nmessage M { Nope n = 1; }",
			},
			nil,
			[]string{`DIR/a.proto:2:8: "x.proto" is in none of DIR`, `DIR/b.proto:3:8: "y.proto" is in none of DIR`, "DIR/c.proto:2:13: "},
		},
		{
			"way out",
			map[string]string{"a.proto": "syntax = \"proto3\";\nimport \"../x.proto\";"},
			nil,
			[]string{`DIR/a.proto:2:8: `},
		},
		{
			"imports itself",
			map[string]string{"a.proto": "syntax = \"proto3\";\nimport \"a.proto\";"},
			nil,
			[]string{"DIR/a.proto:2:8: cycle found in imports"},
		},
		{
			"symbol twice", map[string]string{"a.proto": good, "b.proto": good}, nil, []string{`symbol "M" already defined`, `symbol "M.a" already defined`},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, c.files)
			source := upstream.DescriptorSource{Protos: dir, Files: c.globs}
			if c.files == nil {
				source.Protos = filepath.Join(dir, "none")
			}
			_, err := upstream.Load([]upstream.DescriptorSource{source})
			list := mistake.List(err)
			if len(list) != len(c.want) {
				t.Fatalf("got %d mistakes: %v", len(list), err)
			}
			for i, m := range list {
				got := strings.ReplaceAll(m.Error(), dir, "DIR")
				if !strings.Contains(got, c.want[i]) {
					t.Errorf("got %q, want %q in it", got, c.want[i])
				}
				if place, ok := errors.AsType[*upstream.ProtoError](m.Err); ok && !strings.HasPrefix(place.File, dir) {
					t.Errorf("the place %v is not on disk", place)
				}
			}
		})
	}
}

func TestProtosImportCycle(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"a.proto": "syntax = \"proto3\";\nimport \"b.proto\";", "b.proto": "syntax = \"proto3\";\nimport \"a.proto\";",
	})
	_, err := upstream.Load([]upstream.DescriptorSource{{Protos: dir}})
	if err == nil || !strings.Contains(err.Error(), ".proto:2:8: cycle found in imports") {
		t.Errorf("got %v", err)
	}
}

// TestConflictNames has kinds of sources that declare a file differently, and wants both named.
func TestConflictNames(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"a.proto": `syntax = "proto3"; package a; message A { string title = 1; }`})
	_, err := upstream.Load([]upstream.DescriptorSource{{Set: writeSet(t, "a.binpb", file("a.proto", "a", "A", "name"))}, {Protos: dir}})
	if err == nil || !strings.Contains(err.Error(), "a.binpb and "+dir+` declare the file "a.proto" differently`) {
		t.Errorf("got %v", err)
	}
	_, err = upstream.Load([]upstream.DescriptorSource{{Set: writeSet(t, "a.binpb", file("a.proto", "a", "A", "title"))}, {Protos: dir}})
	if err != nil {
		t.Errorf("the same file from two kinds of sources: %v", err)
	}
}

func TestSourceKinds(t *testing.T) {
	t.Parallel()
	_, err := upstream.Load([]upstream.DescriptorSource{
		{Set: "a", Protos: "b"},
		{Set: "a", Imports: []string{"x"}, Metadata: map[string]string{"a": "b"}},
		{Reflect: "localhost:1", Timeout: -1, Metadata: map[string]string{"a b": "x", "grpc-timeout": "1S"}},
		{Reflect: "localhost:1", TLS: upstream.TLS{Mode: upstream.TLSNone}},
	})
	var got []string
	for _, m := range mistake.List(err) {
		got = append(got, m.Error())
	}
	for i, want := range []string{
		"0: protos and set exclude each other", "1.imports: imports is for a source with protos", "1.metadata: metadata is for a source with reflect",
		"2: how to secure the connection is not said", "2.timeout: the timeout is negative", `"a b" cannot be sent`, `"grpc-timeout" cannot be sent`,
		"3.reflect: needs a connection",
	} {
		if all := strings.Join(got, "\n"); !strings.Contains(all, want) {
			t.Errorf("%d: %q is not in\n%s", i, want, all)
		}
	}
	if len(got) != 8 {
		t.Errorf("got %d mistakes: %q", len(got), got)
	}
}
