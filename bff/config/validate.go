package config

import (
	"bytes"
	"cmp"
	_ "embed" // the schema
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/portico-bff/portico/bff/config/mistake"
)

//go:embed schema.json
var schemaJSON []byte

// Schema returns the JSON Schema of the configuration file (draft 2020-12), for editors and for [Load].
func Schema() []byte { return bytes.Clone(schemaJSON) }

// validate holds the document against the JSON Schema and returns everything that does not fit.
func (d *document) validate() error {
	schema, err := compileSchema(schemaJSON)
	if err != nil {
		return fmt.Errorf("compile the configuration's schema: %w", err)
	}
	var value any
	if err := yaml.NodeToValue(d.root, &value); err != nil {
		return Problems{d.yamlProblem(err)}
	}
	err = schema.Validate(value)
	if err == nil {
		return nil
	}
	invalid, ok := err.(*jsonschema.ValidationError) //nolint:errorlint // Validate returns it unwrapped
	if !ok {
		return fmt.Errorf("validate: %w", err)
	}
	r := reporter{printer: message.NewPrinter(language.English)}
	r.report(schema, invalid)
	r.reportMissing()
	var problems Problems
	for _, m := range r.mistakes {
		problems = append(problems, d.locate(m)...)
	}
	return problems.sorted()
}

func compileSchema(text []byte) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	const url = "portico.schema.json"
	if err := c.AddResource(url, doc); err != nil {
		return nil, err
	}
	return c.Compile(url)
}

// reporter turns the tree of validation errors into mistakes.
type reporter struct {
	printer  *message.Printer
	mistakes []*mistake.Mistake
	missing  [][]string // paths of keys that are required and absent
}

func (r *reporter) report(root *jsonschema.Schema, e *jsonschema.ValidationError) {
	switch k := e.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf:
		// A value that fits none of several forms: the form that it comes closest to explains it best.
		if best := closest(e.Causes); best != nil {
			r.report(root, best)
			return
		}
	case *kind.AdditionalProperties:
		known := properties(schemaAt(root, e.InstanceLocation))
		for _, name := range k.Properties {
			r.add(&mistake.Mistake{
				Path: append(slices.Clone(e.InstanceLocation), name), Key: true,
				What: fmt.Sprintf("unknown key %q", name), Expected: oneOf(known), Nearest: mistake.Nearest(name, known),
			})
		}
		return
	case *kind.Required:
		for _, name := range k.Missing {
			r.missing = append(r.missing, append(slices.Clone(e.InstanceLocation), name))
		}
		return
	case *kind.Type:
		r.add(&mistake.Mistake{
			Path: e.InstanceLocation, What: "found " + k.Got,
			Expected: cmp.Or(title(root, e.InstanceLocation), strings.Join(k.Want, " or ")),
		})
		return
	case *kind.Enum:
		want := make([]string, len(k.Want))
		for i, w := range k.Want {
			want[i] = fmt.Sprint(w)
		}
		got := fmt.Sprint(k.Got)
		r.add(&mistake.Mistake{Path: e.InstanceLocation, What: fmt.Sprintf("unknown value %q", got), Expected: oneOf(want), Nearest: mistake.Nearest(got, want)})
		return
	case *kind.Pattern:
		what := fmt.Sprintf("%q does not fit", k.Got)
		if at := schemaAt(root, e.InstanceLocation); at != nil && at.WriteOnly {
			what = "the secret does not fit"
		}
		r.add(&mistake.Mistake{
			Path: e.InstanceLocation, What: what,
			Expected: cmp.Or(title(root, e.InstanceLocation), "a text like "+k.Want),
		})
		return
	}
	if len(e.Causes) == 0 {
		r.add(mistake.At(e.ErrorKind.LocalizedString(r.printer), e.InstanceLocation...))
		return
	}
	for _, cause := range e.Causes {
		r.report(root, cause)
	}
}

// reportMissing adds the missing keys, but for those that are there under a misspelled name.
func (r *reporter) reportMissing() {
	misspelled := map[string]bool{}
	for _, m := range r.mistakes {
		if m.Key && m.Nearest != "" {
			misspelled[strings.Join(append(slices.Clone(m.Path[:len(m.Path)-1]), m.Nearest), "\x00")] = true
		}
	}
	for _, path := range r.missing {
		if !misspelled[strings.Join(path, "\x00")] {
			r.add(mistake.At("missing "+path[len(path)-1], path[:len(path)-1]...))
		}
	}
}

func (r *reporter) add(m *mistake.Mistake) { r.mistakes = append(r.mistakes, m) }

// closest is the failed alternative that got deepest into the value.
func closest(alternatives []*jsonschema.ValidationError) *jsonschema.ValidationError {
	var best *jsonschema.ValidationError
	depth := func(e *jsonschema.ValidationError) int {
		_, typeMismatch := e.ErrorKind.(*kind.Type)
		for len(e.Causes) > 0 {
			e = e.Causes[0]
			_, typeMismatch = e.ErrorKind.(*kind.Type)
		}
		n := 2 * len(e.InstanceLocation)
		if !typeMismatch {
			n++ // the right type with a wrong content is nearer than the wrong type
		}
		return n
	}
	for _, e := range alternatives {
		if best == nil || depth(e) > depth(best) {
			best = e
		}
	}
	return best
}

// title is what the schema calls a value that fits at a path; empty if it says nothing.
func title(root *jsonschema.Schema, path []string) string {
	if at := schemaAt(root, path); at != nil {
		return at.Title
	}
	return ""
}

// schemaAt follows a path of keys through the schema; nil where the schema says nothing.
func schemaAt(s *jsonschema.Schema, path []string) *jsonschema.Schema {
	s = follow(s)
	for _, key := range path {
		if s == nil {
			return nil
		}
		next := s.Properties[key]
		if next == nil {
			next, _ = s.AdditionalProperties.(*jsonschema.Schema)
		}
		if next == nil {
			next = s.Items2020
		}
		if next == nil {
			if items, ok := s.Items.(*jsonschema.Schema); ok {
				next = items
			}
		}
		if next == nil {
			for _, form := range slices.Concat(s.OneOf, s.AnyOf) {
				if next = follow(form).Properties[key]; next != nil {
					break
				}
			}
		}
		s = follow(next)
	}
	return s
}

func follow(s *jsonschema.Schema) *jsonschema.Schema {
	for s != nil && s.Ref != nil {
		s = s.Ref
	}
	return s
}

// properties are the keys that a schema knows, in order.
func properties(s *jsonschema.Schema) []string {
	if s == nil {
		return nil
	}
	var names []string
	for name := range s.Properties {
		names = append(names, name)
	}
	for _, form := range slices.Concat(s.OneOf, s.AnyOf) {
		for name := range follow(form).Properties {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func oneOf(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "one of " + strings.Join(names, ", ")
}
