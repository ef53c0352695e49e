package upstream_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/upstream"
)

func protoName(s string) protoreflect.FullName { return protoreflect.FullName(s) }

func TestConfigYAML(t *testing.T) {
	t.Parallel()
	cases := []struct {
		text string
		want upstream.TLS
		err  string
	}{
		{text: "system", want: upstream.TLS{Mode: upstream.TLSSystem}},
		{text: "none", want: upstream.TLS{Mode: upstream.TLSNone}},
		{text: `{mesh: {identity: "spiffe://shop.test/orders"}}`, want: upstream.TLS{Mode: upstream.TLSMesh, Identity: "spiffe://shop.test/orders"}},
		{text: `{ca: ca.pem, server_name: orders}`, want: upstream.TLS{Mode: upstream.TLSFile, CA: "ca.pem", ServerName: "orders"}},
		{text: `{ca: ca.pem}`, want: upstream.TLS{Mode: upstream.TLSFile, CA: "ca.pem"}},
		{text: "sistem", err: `did you mean "system"?`},
		{text: "3", err: "is no kind of TLS"},
		{text: "{mesh: true}", err: "no identity is given"},
		{text: "{mesh: {identity: x, indentity: y}}", err: `unknown key "indentity", did you mean "identity"?`},
		{text: "{ca: ca.pem, servername: x}", err: `unknown key "servername", did you mean "server_name"?`},
		{text: "{server_name: x}", err: "ca is missing or empty"},
		{text: "{mesh: {identity: x}, ca: y}", err: `unknown key "ca"`},
	}
	for _, c := range cases {
		var got upstream.Config
		err := yaml.UnmarshalWithOptions([]byte("target: dns:///orders:7000\ntimeout: 2s\nmax_message: 4MiB\ntls: "+c.text), &got, yaml.Strict())
		if c.err != "" {
			if _, ok := errors.AsType[*mistake.Mistake](err); !ok || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: got %v, want a mistake with %q in it", c.text, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if diff := cmp.Diff(c.want, got.TLS); diff != "" {
			t.Errorf("%s: %s", c.text, diff)
		}
		if got.Target != "dns:///orders:7000" || got.Timeout.String() != "2s" || got.MaxMessage != 4<<20 {
			t.Errorf("got %+v", got)
		}
	}
}

func TestConfigSchema(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(new(jsonschema.Reflector).Reflect(upstream.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"enum":["system","none"]`, `"required":["mesh"]`, `"server_name"`, `"max_message"`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s lacks %s", data, want)
		}
	}
}

func pemOf(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}) }
