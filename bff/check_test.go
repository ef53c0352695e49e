package bff_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/portico-bff/portico/bff"
	"github.com/portico-bff/portico/bff/config"
)

// demoConfig is the configuration that the cases below break.
const demoConfig = "../cmd/demo/portico.yaml"

// broken is one way to break the demo's configuration.
type broken struct {
	name string
	// old is replaced by new, once.
	old, new string
	// at is where the problem stands: the first place of this text in the broken configuration.
	at string
	// want is what the message says.
	want string
}

func brokenConfigs() []broken {
	return []broken{
		// The file as a whole.
		{"no YAML", "version: 1", "version: [1", "listen:", "must be specified"},
		{"a key twice", "version: 1\n", "version: 1\nversion: 1 # again\n", "version: 1 # again", "already defined"},
		{"unknown section", "upstreams:\n", "upstraems:\n", "upstraems", `unknown key "upstraems"`},
		{"version", "version: 1", "version: 2", "2", `unknown value "2", expected one of 1`},
		{"unset variable", "${PORTICO_HTTP:-127.0.0.1:8080}", "${PORTICO_HTTPS}", "${PORTICO_HTTPS}", "environment variable PORTICO_HTTPS is not set"},
		// listen
		{"address", "${PORTICO_ADMIN:-127.0.0.1:9090}", "9090", "9090", "expected an address like 127.0.0.1:8080"},
		{"certificate without key", "http: ${PORTICO_HTTP:-127.0.0.1:8080}", "http: {address: \":0\", tls: {cert: a.pem}}", "tls: {cert: a.pem", "missing key"},
		{"certificate file", "http: ${PORTICO_HTTP:-127.0.0.1:8080}", "http: {address: \":0\", tls: {cert: a.pem, key: a.key}}", "tls: {cert: a.pem", "no usable certificate"},
		// descriptors
		{"descriptor file", "shop.binpb\n", "shup.binpb\n", "../../protos/gen/shup", "shup.binpb"},
		{"no descriptors", "descriptors:\n  - set: ../../protos/gen/shop.binpb", "descriptors: []", "descriptors: []", "minItems"},
		// upstreams
		{"unknown key of an upstream", "    target: ${CATALOG", "    tagret: ${CATALOG", "tagret", `unknown key "tagret"`},
		{"missing target", "    target: ${CATALOG_TARGET:-dns:///catalog:7000}\n", "", "catalog:", "missing target"},
		{"unknown service", "services: [shop.catalog.v1.CatalogService]", "services: [shop.catalog.v1.CatalogServise]", "shop.catalog.v1.CatalogServise", `did you mean "shop.catalog.v1.CatalogService"?`},
		{"service twice", "services: [shop.users.v1.UserService]", "services: [shop.users.v1.UserService, shop.catalog.v1.CatalogService]", "", "shop.catalog.v1.CatalogService"},
		{"kind of TLS", `tls: {mesh: {identity: "spiffe://shop.test/users"}}`, "tls: of-course", "of-course", "of-course"},
		{"identity of an upstream", "spiffe://shop.test/users", "https://shop.test/users", "", "https://shop.test/users"},
		{"duration", "timeout: 2s", "timeout: 2 seconds", "2 seconds", "expected a duration like 2s or 1m30s"},
		{"template of a header", "{principal.subject}", "{principal.subjekt}", "", "principal.subjekt"},
		// mesh
		{"mesh policy file", "policy: ../shop", "policy: nowhere.yaml # ../shop", "nowhere.yaml", "nowhere.yaml"},
		{"two identities", `files: "${PORTICO_IDENTITY:-}"`, "files: x, ", "identity: {workload_api", "exactly one of workload_api and files"},
		{"kind of identity", `workload_api: "${PORTICO_WORKLOAD_API:-}"`, "workload_api: /run/agent.sock", "/run/agent.sock", "an address like unix:///run/spire/agent.sock"},
		// auth
		{"issuer without keys", "      jwks_uri: ${ISSUER_JWKS:-http://issuer:7070/.well-known/jwks.json}\n", "", "", "one of jwks_uri and jwks_file is needed"},
		{"algorithm", "      roles_claim: roles\n", "      roles_claim: roles\n      algorithms: [none]\n", "none]", "none"},
		{"keys through the mesh in plain text", "      roles_claim: roles\n", "      roles_claim: roles\n      jwks_mesh: true # here\n", "true # here", "a jwks_uri with https"},
		// methods
		{"unknown method", "FleetService/SendCommand", "FleetService/SendComand", `"shop.fleet.v1.FleetService/SendComand"`, `did you mean "shop.fleet.v1.FleetService/SendCommand"?`},
		{"syntax of a rule", `"'admin' in principal.roles"`, `"'admin' in in principal.roles"`, `"'admin' in in`, "Syntax error"},
		{"unknown name in a rule", `"'admin' in principal.roles"`, `"'admin' in principal.rolls"`, `"'admin' in principal.rolls"`, "rolls"},
		{"type of a rule", `{allow: "true", cache`, `{allow: "1 + 1", cache`, `"1 + 1"`, "the rule gives int, expected true or false"},
		{"scope of a cache", "scope: public", "scope: secret", "secret", `unknown value "secret"`},
		// web
		{"SDL files", "schema: [../../schema/shop/*.graphqls]", "schema: [nowhere/*.graphqls]", "nowhere/*.graphqls", "no file fits"},
		{"path", "path: /graphql", "path: graphql", "graphql\n", "a path like /graphql"},
		{"type of a switch", "playground: true", "playground: \"yes\"", "\"yes\"", "found string, expected boolean"},
		// mobile
		{"service of the REST door", "mobile:\n  services: [shop.catalog.v1.CatalogService", "mobile:\n  services: [shop.catalog.v1.Katalog", "shop.catalog.v1.Katalog", "shop.catalog.v1.Katalog"},
		{"stream of the REST door", "FleetService/WatchReadings\": {resume: 2m}", "FleetService/WatchReading\": {resume: 2m}", `"shop.fleet.v1.FleetService/WatchReading"`, "did you mean \"shop.fleet.v1.FleetService/WatchReadings\"?"},
		{"time of a stream", "{resume: 2m}", "{resume: 0s}", "0s}", "expected more than 0 and at most 24h"},
		// iot
		{"broker", `external: {url: "${PORTICO_BROKER:-}"}`, `external: {url: "http://b"}`, `"http://b"`, "http"},
		{"topic of the ACL", `publish: ["boxes/{device}/telemetry"]`, `publish: ["boxes/{devise}/telemetry"]`, "", "devise"},
		{"method of an uplink", "method: shop.fleet.v1.FleetService/IngestReadings", "method: shop.fleet.v1.FleetService/IngestReading", "", `shop.fleet.v1.FleetService/IngestReadings`},
		{"field of an uplink", "into: readings", "into: reeding", "reeding", "reeding"},
		{"capture of an uplink", "{topic.box_id}", "{topic.box}", "", "box"},
		// limits, limits_http, telemetry, drain
		{"rate", "rate: 200/s", "rate: fast", "fast", "expected a rate like 100/s, 5/m or 1000/h"},
		{"who shares a limit", "per: principal", "per: planet", "planet", `unknown value "planet"`},
		{"size", "body: 1MiB", "body: huge", "huge", "expected a size like 512, 32KiB or 1MiB"},
		{"share of traces", "otlp: {endpoint: \"${PORTICO_OTLP:-}\", insecure: true}", "sample: 2", "2\n\nlimits", "maximum"},
		{"drain", "drain: 3s", "drain: forever", "forever", "expected a duration like 2s or 1m30s"},
	}
}

func TestCheckFindsMistakes(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile(demoConfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range brokenConfigs() {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(string(good), test.old, test.new, 1)
			if text == string(good) {
				t.Fatalf("the configuration has no %q to break", test.old)
			}
			problems := check(t, text)
			if len(problems) == 0 {
				t.Fatal("nothing was found")
			}
			p := problems[0]
			if len(problems) > 1 {
				t.Errorf("%d problems were found, want 1:\n%v", len(problems), problems)
			}
			if !strings.Contains(p.Text, test.want) {
				t.Errorf("the message is %q, want %q in it", p.Text, test.want)
			}
			if test.at != "" {
				line, col := place(text, test.at)
				if p.Line != line || p.Col != col {
					t.Errorf("%d:%d: want it at %d:%d\n%s", p.Line, p.Col, line, col, p)
				}
			} else if p.Line == 0 {
				t.Errorf("the problem has no place: %s", p)
			}
		})
	}
}

// check parses and checks a configuration that stands where the demo's does.
func check(t *testing.T, text string) config.Problems {
	t.Helper()
	file, err := config.Parse(demoConfig, []byte(text), environment)
	if err == nil {
		_, err = bff.Check(t.Context(), file)
	}
	if err == nil {
		return nil
	}
	problems, ok := errors.AsType[config.Problems](err)
	if !ok {
		t.Fatalf("an error without places: %v", err)
	}
	return problems
}

// environment is what the demo's configuration needs of it.
func environment(name string) (string, bool) {
	return "unix:///run/agent.sock", name == "PORTICO_WORKLOAD_API"
}

// place is the line and column of the first occurrence of s, counted from 1.
func place(text, s string) (line, col int) {
	before, _, found := strings.Cut(text, s)
	if !found {
		return 0, 0
	}
	return strings.Count(before, "\n") + 1, len(before) - strings.LastIndexByte(before, '\n')
}

func TestCheckReportsAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile(demoConfig)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(
		"services: [shop.users.v1.UserService]", "services: [shop.users.v1.UsersService]",
		"'admin' in principal.roles", "'admin' in principal.rolls",
		"schema: [../../schema/shop/*.graphqls]", "schema: [nowhere.graphqls]",
		"into: readings", "into: reeding",
		"mobile:\n  services: [shop.catalog.v1.CatalogService", "mobile:\n  services: [shop.catalog.v1.Katalog",
	).Replace(string(good))
	problems := check(t, text)
	var lines []string
	for _, p := range problems {
		lines = append(lines, strconv.Itoa(p.Line))
	}
	want := make([]string, 0, 5)
	for _, s := range []string{"shop.users.v1.UsersService", "principal.rolls", "nowhere.graphqls", "shop.catalog.v1.Katalog", "reeding"} {
		line, _ := place(text, s)
		want = append(want, strconv.Itoa(line))
	}
	if len(problems) != 5 || strings.Join(lines, " ") != strings.Join(want, " ") {
		t.Errorf("problems in lines %v, want %v:\n%v", lines, want, problems)
	}
}

func TestCheckPlacesMistakesInSDL(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile(demoConfig)
	if err != nil {
		t.Fatal(err)
	}
	sdl := filepath.Join(t.TempDir(), "broken.graphqls")
	text := "type Query {\n  me: Usr @grpc(method: \"shop.users.v1.UserService/GetUser\")\n}\n"
	if err := os.WriteFile(sdl, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := strings.Replace(string(good), "schema: [../../schema/shop/*.graphqls]", "schema: ["+sdl+"]", 1)
	broken = strings.Replace(broken, "  operations: [../../schema/shop/operations/*.graphql]\n", "", 1)
	problems := check(t, broken)
	if len(problems) == 0 || problems[0].File != sdl || problems[0].Line != 2 || problems[0].Source != strings.Split(text, "\n")[1] {
		t.Errorf("problems: %v", problems)
	}
}

func TestCheckTheDemo(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile(demoConfig)
	if err != nil {
		t.Fatal(err)
	}
	if problems := check(t, string(good)); problems != nil {
		t.Errorf("the demo's configuration has mistakes:\n%v", problems)
	}
}

// Of equal routes both places are told, also of a rule and of a stored operation, which stand in files of their own.
func TestCheckPlacesEqualRoutes(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile(demoConfig)
	if err != nil {
		t.Fatal(err)
	}
	stored := filepath.Join(t.TempDir(), "twin.graphql")
	if err := os.WriteFile(stored, []byte("# Who is asking.\nquery Twin @rest(method: GET, path: \"/v1/twin\") {\n  me { id }\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(good), "operations: [../../schema/shop/operations/*.graphql]", "operations: ["+stored+"]", 1)
	text += "\nhttp:\n  rules:\n    - selector: shop.catalog.v1.CatalogService.ListProducts\n      get: /v1/twin\n"
	problems := check(t, text)
	if len(problems) != 1 {
		t.Fatalf("%d problems, want 1:\n%v", len(problems), problems)
	}
	line, col := place(text, "selector: shop.catalog.v1.CatalogService.ListProducts")
	want := fmt.Sprintf("shop.catalog.v1.CatalogService/ListProducts (GET /v1/twin, by http.rules of the configuration at %s:%d:%d) and operation Twin (GET /v1/twin, declared at %s:2:1) match the same requests",
		demoConfig, line, col, stored)
	if got := problems[0].Text; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
