package main

import (
	"bufio"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/portico-bff/portico/bff"
	"github.com/portico-bff/portico/bff/config"
	"github.com/portico-bff/portico/bff/scaffold"
)

// loopback lets the operating system choose ports.
func loopback(name string) (string, bool) {
	if name == "PORTICO_HTTP" || name == "PORTICO_ADMIN" {
		return "127.0.0.1:0", true
	}
	return "", false
}

// TestInitForeign writes a configuration for services that are known from reflection alone, and serves it.
func TestInitForeign(t *testing.T) {
	t.Parallel()
	f := startForeign(t, foreignProtos(), map[string][]string{
		"GetPlant": {`{"plantId": "p1", "kind": "KIND_TREE", "counts": {"a": "7"}, "leaves": {"3": {"status": "STATUS_BROWN"}}, "pot": {"material": "PLASTIC"},
			"extra": {"x": [1]}, "things": [null, "y"], "seeds": "9", "Typename": "T", "parent": {"plantId": "p0"}, "@json": "J",
			"status": {"mood": "HAPPY"}, "heightMm": 12}`},
		"WatchPlant":  {`{"plantId": "p1", "heightMm": 1}`, `{"plantId": "p1", "heightMm": 2}`},
		"CreatePlant": {`{"plantId": "new"}`}, "DeletePlant": {`{}`}, "Water": {`{}`}, "GetWeather": {`{"sky": "blue"}`}, "Echo": {`"hi"`},
		"ListPlants": {`{}`}, "UpdatePlant": {`{}`}, "SearchPlants": {`{}`},
	})
	dir := t.TempDir()
	out, err := command(t, nil, "init", "--reflect", f.target, "--plaintext", "--out", dir)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out, "warning") || !strings.Contains(out, "Nothing is open") {
		t.Errorf("init says %s", out)
	}
	file, err := config.Load(filepath.Join(dir, configFile), loopback)
	if err != nil {
		t.Fatal(err)
	}
	if warnings, err := bff.Check(t.Context(), file); err != nil || len(warnings) > 0 {
		t.Fatalf("check: %v, %v", warnings, err)
	}
	base := serveFile(t, file)
	token, err := command(t, nil, "token", "--key", filepath.Join(dir, keyFile), "--issuer", scaffold.Issuer, "--audience", scaffold.Audience, "--subject", "me")
	if err != nil {
		t.Fatal(err)
	}
	token = strings.TrimSpace(token)
	graphQL := func(query string) string { return `{"query": "` + strings.ReplaceAll(query, `"`, `\"`) + `"}` }
	for _, c := range []struct{ name, method, path, body, want, asked string }{
		{
			"REST get", "GET", "/v1/plants/p1?fields=plantId,counts,parent(plantId)", "", `{"plantId":"p1","counts":{"a":"7"},"parent":{"plantId":"p0"}}`,
			`GetPlant {"plantId":"p1"}`,
		},
		{"REST list", "GET", "/v1/plants?kind=KIND_TREE&rows=1&rows=2", "", `{}`, `ListPlants {"kind":"KIND_TREE","rows":[1,2]}`},
		{"REST create", "POST", "/v1/plants", `{"nickname": "n"}`, `{"plantId":"new"}`, `CreatePlant {"plant":{"nickname":"n"}}`},
		{"REST update", "PATCH", "/v1/plants/p7?update_mask=nickname", `{"nickname": "n"}`, `{}`, `UpdatePlant {"plant":{"plantId":"p7","nickname":"n"},"updateMask":"nickname"}`},
		{"REST delete", "DELETE", "/v1/plants/p1", "", `{}`, `DeletePlant {"plantId":"p1"}`},
		{"REST other", "POST", "/v1/garden:water", `{"plantId": "p1", "cans": {"count": 2}}`, `{}`, `Water {"plantId":"p1","cans":{"count":2}}`},
		{"REST search with a map", "POST", "/v1/garden:searchPlants", `{"labels": {"a": "b"}}`, `{}`, `SearchPlants {"labels":{"a":"b"}}`},
		{
			"GraphQL query", "POST", "/graphql",
			graphQL(`{ p: gardenV1GardenGetPlant(plantId: "p1") { plantId kind counts { key value } leaves { key value { status } } pot { material } bed extra things seeds Typename parent { plantId } status { mood } heightMm json photo nothing } }`),
			`{"data":{"p":{"plantId":"p1","kind":"TREE","counts":[{"key":"a","value":"7"}],"leaves":[{"key":3,"value":{"status":"BROWN"}}],` +
				`"pot":{"material":"PLASTIC"},"bed":null,"extra":{"x":[1]},"things":[null,"y"],"seeds":"9","Typename":"T","parent":{"plantId":"p0"},` +
				`"status":{"mood":"HAPPY"},"heightMm":12,"json":"J","photo":"","nothing":null}}}`,
			`GetPlant {"plantId":"p1"}`,
		},
		{"GraphQL on a whole answer", "POST", "/graphql", graphQL(`{ weather }`), `{"data":{"weather":{"sky":"blue"}}}`, `GetWeather {}`},
		{"GraphQL on a wrapper", "POST", "/graphql", graphQL(`mutation { echo(value: "x") }`), `{"data":{"echo":"hi"}}`, `Echo "x"`},
		{"GraphQL on nothing", "POST", "/graphql", graphQL(`mutation { deletePlant(plantId: "p") }`), `{"data":{"deletePlant":true}}`, `DeletePlant {"plantId":"p"}`},
		{
			"GraphQL oneof", "POST", "/graphql", graphQL(`mutation { water(plantId: "p", cans: {count: 3}) }`), `{"data":{"water":{}}}`,
			`Water {"plantId":"p","cans":{"count":3}}`,
		},
		{
			"GraphQL mutation", "POST", "/graphql",
			graphQL(`mutation { createPlant(plant: {nickname: "n", counts: [{key: "a", value: 5}], pot: {material: CLAY}, nothing: {}}) { plantId } }`),
			`{"data":{"createPlant":{"plantId":"new"}}}`, `CreatePlant {"plant":{"nickname":"n","counts":{"a":"5"},"pot":{},"nothing":{}}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := request(t, c.method, base+c.path, token, c.body)
			if diff := cmp.Diff(c.want, strings.TrimSpace(got)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if asked := <-f.asked; asked != c.asked {
				t.Errorf("the service was asked %s, want %s", asked, c.asked)
			}
		})
	}
	if got := request(t, "GET", base+"/v1/plants/p1", "", ""); !strings.Contains(got, "401") {
		t.Errorf("without a token the answer is %s", got)
	}
	watchREST(t, base+"/v1/plants/p1:watch", token)
	subscribe(t, "ws"+strings.TrimPrefix(base, "http")+"/graphql", token,
		`subscription { watchPlant(plantId: \"p1\") { plantId heightMm } }`,
		`{"data":{"watchPlant":{"plantId":"p1","heightMm":1}}}`, `{"data":{"watchPlant":{"plantId":"p1","heightMm":2}}}`)
}

// TestInitSet writes a configuration for services that are known from a descriptor set, and serves it.
func TestInitSet(t *testing.T) {
	t.Parallel()
	f := startForeign(t, map[string]string{"s.proto": `syntax = "proto3"; package zoo.v1;
service Zoo { rpc GetAnimal(GetAnimalRequest) returns (Animal); } message GetAnimalRequest { string animal_id = 1; } message Animal { string animal_id = 1; }`},
		map[string][]string{"GetAnimal": {`{"animalId": "a1"}`}})
	file, err := f.files.FindFileByPath("s.proto")
	if err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(file)}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	set := filepath.Join(dir, "zoo.binpb")
	if err := os.WriteFile(set, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	if said, err := command(t, nil, "init", "--set", set, "--target", f.target, "--plaintext", "--public", "all", "--out", out); err != nil || strings.Contains(said, "warning") {
		t.Fatalf("init says %s, %v", said, err)
	}
	loaded, err := config.Load(filepath.Join(out, configFile), loopback)
	if err != nil {
		t.Fatal(err)
	}
	base := serveFile(t, loaded)
	if got := request(t, "GET", base+"/v1/animals/a1", "", ""); strings.TrimSpace(got) != `{"animalId":"a1"}` {
		t.Errorf("REST: got %s", got)
	}
	if got := request(t, "POST", base+"/graphql", "", `{"query": "{ animal(animalId: \"a1\") { animalId } }"}`); strings.TrimSpace(got) != `{"data":{"animal":{"animalId":"a1"}}}` {
		t.Errorf("GraphQL: got %s", got)
	}
}

// TestInitForms runs init on every kind of source; what it writes must check without a warning.
func TestInitForms(t *testing.T) {
	t.Parallel()
	protos := t.TempDir()
	for name, text := range foreignProtos() {
		text = strings.Replace(text, `import "garden/common.proto";`, "import \"garden/common.proto\";\nimport \"garden/events.proto\";", 1)
		at := filepath.Join(protos, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	streaming := startForeign(t, map[string]string{"s.proto": `syntax = "proto3"; service Only { rpc Watch(M) returns (stream M); rpc Chat(stream M) returns (stream M); } message M {}`}, nil)
	unsure := startForeign(t, map[string]string{"s.proto": `syntax = "proto3"; package a.v2; service Service { rpc Do(Query) returns (Query); } message Query { Query query = 1; }`}, nil)
	for _, c := range []struct {
		name   string
		args   []string
		output []string // parts of what is printed
		config []string // parts of the configuration
		schema []string // parts of the SDL; none for no SDL
	}{
		{
			"the demo's set",
			[]string{"--set", "../../protos/gen/shop.binpb", "--target", "shop:7000"},
			[]string{"Nothing is open"},
			[]string{`target: "dns:///shop:7000"`, "tls: system", `get: "/v1/payments/{payment_id}"} # guessed`, `"shop.orders.v1.OrderService/GetOrder": {allow: "principal.authenticated"}`},
			[]string{"type Order {", `product(`, "enum OrderState {"},
		},
		{
			"proto files",
			[]string{"--protos", protos, "--plaintext", "--public", "reads", "--public", "Greeter/*"},
			[]string{"OPEN to anybody", "Greeter/SayHello, ", "garden.v1.GardenService/GetPlant"},
			[]string{"# - {protos: ", `"Greeter/SayHello": {allow: "true"} # OPEN to anybody`, `"garden.v1.GardenService/CreatePlant": {allow: "principal.authenticated"}`},
			[]string{"type Subscription {"},
		},
		{
			"only streams",
			[]string{"--reflect", streaming.target, "--plaintext", "--public", "all", "--metadata", "authorization=secret"},
			[]string{"OPEN to anybody who reaches the server, without a token: Only/Watch, Only/Chat"},
			[]string{"There is no GraphQL door", "tls: none, metadata: {authorization: ...}}"},
			nil,
		},
		{
			"nothing that says it reads",
			[]string{"--reflect", "dns:///" + unsure.target, "--plaintext"},
			nil,
			[]string{`post: "/v2/service:do"`},
			[]string{"move those that change something to a type Mutation", "type AQuery @proto"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "new", "folder")
			out, err := command(t, nil, append([]string{"init", "--out", dir}, c.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(out, "warning") {
				t.Errorf("init warns: %s", out)
			}
			holds := func(what, text string, parts []string) {
				t.Helper()
				for _, part := range parts {
					if !strings.Contains(text, part) {
						t.Errorf("%s lacks %q:\n%s", what, part, text)
					}
				}
			}
			text, err := os.ReadFile(filepath.Join(dir, configFile))
			if err != nil {
				t.Fatal(err)
			}
			holds("the output", out, c.output)
			holds("the configuration", string(text), c.config)
			if strings.Contains(string(text), "secret") {
				t.Error("a header's value is in the configuration")
			}
			sdl, err := os.ReadFile(filepath.Join(dir, scaffold.SchemaFile))
			if (err == nil) != (c.schema != nil) {
				t.Fatalf("the schema: %v", err)
			}
			holds("the schema", string(sdl), c.schema)
			if info, err := os.Stat(filepath.Join(dir, keyFile)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the private key: %v, %v", info, err)
			}
			if out, err := command(t, nil, "check", "-c", filepath.Join(dir, configFile)); err != nil {
				t.Errorf("check: %s%v", out, err)
			}
			if _, err := command(t, nil, append([]string{"init", "--out", dir}, c.args...)...); err == nil || !strings.Contains(err.Error(), "portico.yaml is there already") {
				t.Errorf("a second init: %v", err)
			}
			if _, err := command(t, nil, append([]string{"init", "--force", "--out", dir}, c.args...)...); err != nil {
				t.Errorf("a second init that is forced: %v", err)
			}
		})
	}
}

func TestInitMistakes(t *testing.T) {
	t.Parallel()
	const shop = "../../protos/gen/shop.binpb"
	f := startForeign(t, map[string]string{"s.proto": `syntax = "proto3"; service S { rpc Do(M) returns (M); } message M {}`}, nil)
	web := httptest.NewUnstartedServer(nil)
	web.EnableHTTP2 = true
	web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	web.StartTLS()
	t.Cleanup(web.Close)
	secure := web.Listener.Addr().String()
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "at least one of the flags in the group [set protos reflect] is required"},
		{[]string{"--set", shop, "--protos", "x"}, "none of the others can be"},
		{[]string{"--set", "missing.binpb"}, "cannot read the descriptor set"},
		{[]string{"--set", "init_test.go"}, "is no descriptor set"},
		{[]string{"--protos", "."}, "there are no .proto files"},
		{[]string{"--set", shop, "--server-name", "x"}, "--server-name needs --ca"},
		{[]string{"--set", shop, "--public", "shop.nope.v1.X/*"}, `no method fits "shop.nope.v1.X/*"`},
		{[]string{"--reflect", f.target}, "if the server speaks without TLS, add --plaintext"},
		{[]string{"--reflect", secure}, "if the certificate is of an authority of your own, name its file with --ca"},
		{[]string{"--reflect", secure, "--plaintext"}, "the server speaks TLS, and the connection is in plain text\nleave out --plaintext"},
		{[]string{"--reflect", "127.0.0.1:1", "--plaintext", "--timeout", "100ms"}, "connection refused"},
	} {
		dir := t.TempDir()
		began := time.Now()
		_, err := command(t, nil, append([]string{"init", "--out", dir}, c.args...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("bff init %s: %v, want %q in it", strings.Join(c.args, " "), err, c.want)
		}
		if took := time.Since(began); took > 8*time.Second { // the timeout is 10 s where none is given
			t.Errorf("bff init %s: an answer only after %v", strings.Join(c.args, " "), took)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("bff init %s leaves %v, %v", strings.Join(c.args, " "), left, err)
		}
	}
}

// serveFile serves a configuration until the test ends and returns its URL.
func serveFile(t *testing.T, file *config.File) string {
	t.Helper()
	server, err := bff.New(t.Context(), file, bff.Extensions{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + server.Addresses().HTTP.String()
}

// request sends a request and returns the body, with the status before it if that is no success.
func request(t *testing.T, method, url, token, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode >= 300 {
		return resp.Status + ": " + string(text)
	}
	return string(text)
}

// watchREST wants two events.
func watchREST(t *testing.T, url, token string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var got []string
	for lines := bufio.NewScanner(resp.Body); len(got) < 2 && lines.Scan(); {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			got = append(got, data)
		}
	}
	if diff := cmp.Diff([]string{`{"plantId":"p1","heightMm":1}`, `{"plantId":"p1","heightMm":2}`}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// subscribe runs a subscription over a WebSocket and wants events.
func subscribe(t *testing.T, url, token, query string, want ...string) {
	t.Helper()
	conn, resp, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body != nil {
		defer func() { _ = resp.Body.Close() }()
	}
	defer func() { _ = conn.CloseNow() }()
	send := func(text string) {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	send(`{"type": "connection_init", "payload": {"Authorization": "Bearer ` + token + `"}}`)
	send(`{"type": "subscribe", "id": "1", "payload": {"query": "` + query + `"}}`)
	for deadline := time.Now().Add(10 * time.Second); len(want) > 0 && time.Now().Before(deadline); {
		_, data, err := conn.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		switch text := string(data); {
		case strings.Contains(text, `"connection_ack"`), strings.Contains(text, `"ping"`):
		case strings.Contains(text, want[0]):
			want = want[1:]
		default:
			t.Fatalf("got %s, want %s in it", text, want[0])
		}
	}
}
