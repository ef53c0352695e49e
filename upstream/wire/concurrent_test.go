package wire_test

import (
	"sync"
	"testing"

	"github.com/portico-bff/portico/upstream/wire"
)

// TestConcurrentUse: compiled values are shared, also while they meet types of Any and extensions for the first time.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	w := loadWorld(t)
	md := find(t, w.files, "protobuf_test_messages.proto2.TestAllTypesProto2")
	const text = `{"optionalInt32":1,"data":{"groupInt32":2},"[protobuf_test_messages.proto2.extension_int32]":3}`
	anyMD := w.root(0)
	const anyText = `{"optionalAny":{"@type":"type.googleapis.com/protobuf_test_messages.proto2.TestAllTypesProto2","optionalInt32":1}}`
	for _, tc := range []struct {
		parser   *wire.Parser
		renderer *wire.Renderer
		text     string
	}{
		{must(wire.NewParser(md, wire.ParseOptions{Resolver: w.types}))(t), must(wire.NewRenderer(md, nil, wire.RenderOptions{Resolver: w.types}))(t), text},
		{must(wire.NewParser(anyMD, wire.ParseOptions{Resolver: w.types}))(t), must(wire.NewRenderer(anyMD, nil, wire.RenderOptions{Resolver: w.types}))(t), anyText},
	} {
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for range 20 {
					msg, err := tc.parser.Append(nil, []byte(tc.text))
					if err != nil {
						t.Error(err)
						return
					}
					got, err := tc.renderer.Append(nil, msg)
					if err != nil || string(got) != tc.text {
						t.Errorf("got %s (%v)", got, err)
						return
					}
				}
			})
		}
		group.Wait()
	}
}

// must returns a value whose error ends the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}
