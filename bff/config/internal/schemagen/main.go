// Command schemagen writes the JSON Schema of the configuration file from the Go types and their comments. Run it
// from the top of the repository: go run ./bff/config/internal/schemagen > bff/config/schema.json.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/invopop/jsonschema"

	"github.com/portico-bff/portico/bff/config"
	"github.com/portico-bff/portico/bff/config/unit"
)

const module = "github.com/portico-bff/portico"

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "schemagen:", err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	r := &jsonschema.Reflector{Anonymous: true, Mapper: scalar, Namer: name}
	for _, dir := range []string{"./bff", "./upstream"} {
		if err := r.AddGoComments(module, dir, jsonschema.WithFullComment()); err != nil {
			return fmt.Errorf("read comments below %s: %w", dir, err)
		}
	}
	for key, comment := range r.CommentMap {
		r.CommentMap[key] = prose(key, comment)
	}
	s := r.Reflect(&config.Config{})
	s.ID = module + "/bff/config/schema.json"
	s.Title = "Portico configuration"
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(s)
}

// scalar describes the scalar types that are written as text.
func scalar(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return &jsonschema.Schema{
			Type: "string", Pattern: `^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`, Title: "a duration like 2s or 1m30s",
		}
	case reflect.TypeFor[unit.Bytes]():
		return &jsonschema.Schema{Title: "a size like 512, 32KiB or 1MiB", OneOf: []*jsonschema.Schema{
			{Type: "string", Pattern: `^[0-9]+([KMG]i?)?B?$`},
			{Type: "integer", Minimum: json.Number("0")},
		}}
	case reflect.TypeFor[unit.Rate]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[1-9][0-9]*/[smh]$`, Title: "a rate like 100/s, 5/m or 1000/h"}
	}
	return nil
}

// name keeps types of the same name in different packages apart.
func name(t reflect.Type) string {
	if t.Name() == "" {
		return "" // a list or a map has no definition of its own
	}
	return strings.ReplaceAll(strings.TrimPrefix(t.PkgPath(), module+"/"), "/", ".") + "." + t.Name()
}

// prose is a doc comment as the description of a key: one line, without Go's links and the leading Go name.
func prose(key, comment string) string {
	comment = regexp.MustCompile(`\[([A-Za-z.]+)\]`).ReplaceAllString(comment, "$1")
	comment = strings.Join(strings.Fields(comment), " ")
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		if rest, ok := strings.CutPrefix(comment, key[i+1:]+" "); ok {
			comment = strings.TrimPrefix(strings.TrimPrefix(rest, "is "), "are ")
		}
	}
	if comment != "" {
		comment = strings.ToUpper(comment[:1]) + comment[1:]
	}
	return comment
}
