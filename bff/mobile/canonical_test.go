package mobile_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/portico-bff/portico/bff/cache"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/mobile"
	"github.com/portico-bff/portico/upstream"
)

// finder is a service whose requests have what can be sent in more than one way.
const finder = `syntax = "proto3";
package find.v1;
import "google/api/annotations.proto";
service Finder {
  rpc Find(FindRequest) returns (Who) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = {post: "/v1/find" body: "*"};
  }
}
message FindRequest {
  Who who = 1;
  string note = 2;
  map<string, string> labels = 3;
  repeated int32 rows = 4;
  oneof by { string name = 5; int32 id = 6; }
}
message Who { string name = 1; int32 floor = 2; }
`

// With the real core: however clients split, repeat or reorder a message, or write it as JSON, a rule on its fields, the
// key of the cache and the service see one and the same; nothing of what another rule would refuse gets by.
func TestOneMeaningForRuleCacheAndService(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "find.proto"), []byte(finder), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := upstream.Load([]upstream.DescriptorSource{{Protos: dir}})
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	next := caller(func(_ *upstream.Method, req []byte) ([]byte, error) {
		seen = append(seen, string(req))
		return nil, nil
	})
	const rule = `request.message.who.name == "ada" && request.message.who.floor == 2 && request.message.note == "mine" && ` +
		`request.message.id == 7 && request.message.name == "" && request.message.labels.a == "1" && size(request.message.labels) == 2 && ` +
		`size(request.message.rows) == 3`
	c, err := core.New(core.Options{
		Descriptors: d, Next: next,
		Methods: map[string]core.MethodConfig{"find.v1.Finder/Find": {Allow: rule, Cache: &cache.Config{MaxAge: time.Hour, Scope: cache.Public}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	door, err := mobile.New(mobile.Config{Services: []string{"find.v1.Finder"}}, mobile.Options{Descriptors: d, Caller: c})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := door.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	send := func(contentType, body string) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/find", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		door.ServeHTTP(w, r)
		return w.Code
	}
	field := func(num protowire.Number, content string) string {
		return string(protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), content))
	}
	const two, seven = "\x10\x02", "\x30\x07"
	ada, mine, rows := field(1, field(1, "ada")+two), field(2, "mine"), field(4, "\x01\x02\x03")
	labels := field(3, field(1, "a")+field(2, "1")) + field(3, field(1, "b")+field(2, "2"))
	canonical := ada + mine + labels + rows + seven
	for name, body := range map[string]string{
		"as it is":               canonical,
		"reordered":              seven + rows + labels + mine + ada,
		"a message in two":       field(1, two) + mine + labels + rows + seven + field(1, field(1, "ada")),
		"a message over another": field(1, field(1, "eve")+"\x10\x09") + canonical,
		"a scalar over another":  field(2, "evil") + canonical,
		"a key over another":     field(3, field(1, "a")+field(2, "evil")) + canonical,
		"a member over another":  field(5, "evil") + canonical,
		"rows apart":             "\x20\x01" + ada + "\x22\x01\x02" + mine + "\x20\x03" + labels + seven,
		"unknown fields":         field(99, "evil") + canonical + "\xa8\x06\x01",
		"long varints":           ada + mine + labels + rows + "\xb0\x00\x87\x80\x00",
		"longer lengths":         "\x0a\x87\x00" + field(1, "ada") + two + mine + labels + rows + seven,
	} {
		if status := send("application/protobuf", body); status != http.StatusOK {
			t.Errorf("%s: status %d", name, status)
		}
	}
	for _, body := range []string{
		`{"who":{"name":"ada","floor":2},"note":"mine","labels":{"a":"1","b":"2"},"rows":[1,2,3],"id":7}`,
		`{"id":"7e0","rows":["1",2.0,3],"labels":{"b":"2","\u0061":"1"},"name":null,"note":"\u006dine","who":{"floor":2,"name":"ada"}}`,
	} {
		if status := send("application/json", body); status != http.StatusOK {
			t.Errorf("%s: status %d", body, status)
		}
	}
	if want := []string{canonical}; !slices.Equal(seen, want) {
		t.Errorf("the service saw %q, want %q: one call, the others from the cache", seen, want)
	}
	seen = nil
	for name, body := range map[string]string{
		"another message behind": canonical + field(1, field(1, "eve")),
		"a scalar behind":        canonical + field(2, "evil"),
		"a key behind":           canonical + field(3, field(1, "a")+field(2, "evil")),
		"one more key":           canonical + field(3, field(1, "c")+field(2, "evil")),
		"a member behind":        canonical + field(5, "evil"),
		"a row behind":           canonical + "\x20\x04",
		"nothing of a member":    canonical + field(5, ""),
		"nothing":                "",
	} {
		if status := send("application/protobuf", body); status != http.StatusUnauthorized {
			t.Errorf("%s: status %d", name, status)
		}
	}
	if len(seen) != 0 {
		t.Errorf("the service saw %q", seen)
	}
}
