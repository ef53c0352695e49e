package bff

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portico-bff/portico/bff/iot"
	"github.com/portico-bff/portico/bff/iot/bridge"
	"github.com/portico-bff/portico/upstream"
)

// TestIoTWarnings wants a word on each method of the iot section whose messages have changed, however far below.
func TestIoTWarnings(t *testing.T) {
	t.Parallel()
	const text = `syntax = "proto3";
package garden.v1;
service Garden { rpc Water(Can) returns (Done); rpc Watch(Done) returns (stream Can); rpc Dig(Done) returns (Done); }
message Done { Done again = 1; }
message Can { repeated Drop drops = 1; }
message Drop { Kind kind = 1; Done done = 2; }
enum Kind { KIND_UNSPECIFIED = 0; }
message Stone { string name = 1; }
`
	load := func(pairs ...string) *upstream.Descriptors {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "garden.proto"), []byte(strings.NewReplacer(pairs...).Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := upstream.Load([]upstream.DescriptorSource{{Protos: dir}})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	cfg := &iot.Config{
		Uplinks:   []bridge.Uplink{{Method: "garden.v1.Garden/Water"}, {Method: "garden.v1.Garden/Dig"}},
		Downlinks: []bridge.Downlink{{Method: "garden.v1.Garden/Watch"}},
	}
	before := load()
	for name, test := range map[string]struct {
		now  *upstream.Descriptors
		want int
	}{
		"nothing":                 {load(), 0},
		"a message of nobody":     {load("string name", "bytes name"), 0},
		"another method":          {load("service Garden {", "service Garden { rpc Sow(Stone) returns (Stone);"), 0},
		"a field below":           {load("Kind kind = 1;", "Kind kind = 1; string colour = 3;"), 2},
		"a value of an enum":      {load("UNSPECIFIED = 0;", "UNSPECIFIED = 0; KIND_WARM = 1;"), 2},
		"a message in all things": {load("Done again = 1;", "Done again = 1; bool really = 2;"), 3},
	} {
		if got := iotWarnings(cfg, before, test.now); len(got) != test.want {
			t.Errorf("%s: %q, want %d", name, got, test.want)
		}
	}
	if got := iotWarnings(nil, nil, before); got != nil {
		t.Errorf("without a door: %q", got)
	}
}
