package schema

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// Coerced values are nil, string (also of enums), bool, int64, float64, []any and map[string]any; of JSON, whatever
// encoding/json makes.

// coercer coerces input as the specification's section 3 says for each type.
type coercer struct {
	types map[string]*ast.Definition
}

// inputError says which part of a value is wrong.
type inputError struct {
	path ast.Path
	what string
}

func (e *inputError) Error() string {
	if len(e.path) == 0 {
		return e.what
	}
	return e.path.String() + ": " + e.what
}

// under puts an error below a name or an index.
func under(err error, at ast.PathElement) error {
	if in, ok := errors.AsType[*inputError](err); ok {
		return &inputError{path: append(ast.Path{at}, in.path...), what: in.what}
	}
	return err
}

func wrong(format string, args ...any) error { return &inputError{what: fmt.Sprintf(format, args...)} }

// value coerces a variable's value as it was decoded from JSON.
func (c coercer) value(typ *ast.Type, v any) (any, error) {
	if v == nil {
		if typ.NonNull {
			return nil, wrong("null where %s is needed", typ)
		}
		return nil, nil //nolint:nilnil // null is a value
	}
	if typ.Elem != nil {
		list, ok := asList(v)
		if !ok {
			one, err := c.value(typ.Elem, v)
			return []any{one}, err
		}
		out := make([]any, len(list))
		for i, item := range list {
			var err error
			if out[i], err = c.value(typ.Elem, item); err != nil {
				return nil, under(err, ast.PathIndex(i))
			}
		}
		return out, nil
	}
	def := c.types[typ.NamedType]
	switch def.Kind {
	case ast.Enum:
		if name, ok := v.(string); ok && def.EnumValues.ForName(name) != nil {
			return name, nil
		}
		return nil, wrong("%s is no value of %s", show(v), def.Name)
	case ast.InputObject:
		fields, ok := v.(map[string]any)
		if !ok {
			return nil, wrong("%s where an object of %s is needed", show(v), def.Name)
		}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if def.Fields.ForName(name) == nil {
				return nil, wrong("%s has no field %q", def.Name, name)
			}
		}
		return c.fields(def, func(f *ast.FieldDefinition) (any, bool, error) {
			value, ok := fields[f.Name]
			if !ok {
				return nil, false, nil
			}
			value, err := c.value(f.Type, value)
			return value, true, err
		})
	default:
		return scalarValue(def.Name, v)
	}
}

// asList returns the elements of a list. gqlparser's coercion, which other callers may have applied before, makes lists of
// one of any element type.
func asList(v any) ([]any, bool) {
	if list, ok := v.([]any); ok {
		return list, true
	}
	slice := reflect.ValueOf(v)
	if slice.Kind() != reflect.Slice {
		return nil, false
	}
	list := make([]any, slice.Len())
	for i := range list {
		list[i] = slice.Index(i).Interface()
	}
	return list, true
}

// literal coerces a value in a document; vars holds the coerced variables. A value with a variable that is not set is
// itself not set, for which errUnset is returned.
func (c coercer) literal(typ *ast.Type, v *ast.Value, vars map[string]any) (any, error) {
	if v.Kind == ast.Variable {
		value, ok := vars[v.Raw]
		switch {
		case !ok:
			return nil, errUnset
		case value == nil && typ.NonNull:
			return nil, wrong("null where %s is needed", typ)
		case typ.Elem != nil && value != nil:
			if _, isList := value.([]any); !isList {
				return []any{value}, nil
			}
		}
		return value, nil
	}
	if v.Kind == ast.NullValue {
		if typ.NonNull {
			return nil, wrong("null where %s is needed", typ)
		}
		return nil, nil //nolint:nilnil // null is a value
	}
	if typ.Elem != nil {
		if v.Kind != ast.ListValue {
			one, err := c.literal(typ.Elem, v, vars)
			return []any{one}, err
		}
		out := make([]any, len(v.Children))
		for i, child := range v.Children {
			item, err := c.literal(typ.Elem, child.Value, vars)
			if errors.Is(err, errUnset) && !typ.Elem.NonNull {
				item, err = nil, nil
			} else if errors.Is(err, errUnset) {
				err = wrong("null where %s is needed", typ.Elem)
			}
			if err != nil {
				return nil, under(err, ast.PathIndex(i))
			}
			out[i] = item
		}
		return out, nil
	}
	def := c.types[typ.NamedType]
	switch def.Kind {
	case ast.Enum:
		if v.Kind == ast.EnumValue && def.EnumValues.ForName(v.Raw) != nil {
			return v.Raw, nil
		}
		return nil, wrong("%s is no value of %s", v, def.Name)
	case ast.InputObject:
		return c.objectLiteral(def, v, vars)
	default:
		return scalarLiteral(def.Name, v, vars)
	}
}

// errUnset says that a variable has no value, so that what it stands for is left out.
var errUnset = errors.New("variable is not set")

func (c coercer) objectLiteral(def *ast.Definition, v *ast.Value, vars map[string]any) (any, error) {
	if v.Kind != ast.ObjectValue {
		return nil, wrong("%s where an object of %s is needed", v, def.Name)
	}
	for _, child := range v.Children {
		if def.Fields.ForName(child.Name) == nil {
			return nil, wrong("%s has no field %q", def.Name, child.Name)
		}
	}
	return c.fields(def, func(f *ast.FieldDefinition) (any, bool, error) {
		child := v.Children.ForName(f.Name)
		if child == nil {
			return nil, false, nil
		}
		value, err := c.literal(f.Type, child, vars)
		if errors.Is(err, errUnset) {
			return nil, false, nil
		}
		return value, true, err
	})
}

// fields coerces the fields of an input object, adds defaults and checks @oneOf.
func (c coercer) fields(def *ast.Definition, get func(f *ast.FieldDefinition) (any, bool, error)) (any, error) {
	out := make(map[string]any, len(def.Fields))
	for _, f := range def.Fields {
		value, has, err := get(f)
		if err != nil {
			return nil, under(err, ast.PathName(f.Name))
		}
		switch {
		case has:
			out[f.Name] = value
		case f.DefaultValue != nil:
			if value, err = c.literal(f.Type, f.DefaultValue, nil); err != nil {
				return nil, under(err, ast.PathName(f.Name))
			}
			out[f.Name] = value
		case f.Type.NonNull:
			return nil, under(wrong("is missing, and it is %s", f.Type), ast.PathName(f.Name))
		}
	}
	if def.Directives.ForName("oneOf") == nil {
		return out, nil
	}
	if len(out) != 1 {
		return nil, wrong("%s needs exactly one field, not %d", def.Name, len(out))
	}
	for name, value := range out {
		if value == nil {
			return nil, under(wrong("null in %s, which needs exactly one value", def.Name), ast.PathName(name))
		}
	}
	return out, nil
}

// scalarLiteral coerces a literal of a scalar.
func scalarLiteral(scalar string, v *ast.Value, vars map[string]any) (any, error) {
	switch v.Kind {
	case ast.IntValue:
		return scalarValue(scalar, json.Number(v.Raw))
	case ast.FloatValue:
		if scalar == "Int" || scalar == "ID" || scalar == scalarInt64 {
			return nil, wrong("%s is no %s", v, scalar)
		}
		return scalarValue(scalar, json.Number(v.Raw))
	case ast.StringValue, ast.BlockValue:
		return scalarValue(scalar, v.Raw)
	case ast.BooleanValue:
		return scalarValue(scalar, v.Raw == "true")
	default:
		if scalar != scalarJSON {
			return nil, wrong("%s is no %s", v, scalar)
		}
		value, err := v.Value(vars)
		if err != nil {
			return nil, wrong("%s is no %s", v, scalar)
		}
		return value, nil
	}
}

// scalarValue coerces a scalar's value as encoding/json, or this package, made it.
func scalarValue(scalar string, v any) (any, error) {
	var (
		out any
		ok  bool
	)
	switch scalar {
	case "Int":
		var n int64
		n, ok = wholeNumber(v)
		ok = ok && n >= math.MinInt32 && n <= math.MaxInt32
		out = n
	case "Float":
		out, ok = floatNumber(v)
	case "String":
		out, ok = v.(string)
	case "Boolean":
		out, ok = v.(bool)
	case "ID":
		if out, ok = v.(string); !ok {
			out, ok = wholeText(v)
		}
	case scalarInt64:
		if s, isString := v.(string); isString {
			out, ok = s, isInt64(s)
		} else {
			out, ok = wholeText(v)
		}
	case scalarDateTime:
		var s string
		if s, ok = v.(string); ok {
			_, err := time.Parse(time.RFC3339Nano, s)
			out, ok = s, err == nil
		}
	case scalarDuration:
		var s string
		if s, ok = v.(string); ok {
			out, ok = s, isDuration(s)
		}
	case scalarBase64:
		var s string
		if s, ok = v.(string); ok {
			_, err := base64.StdEncoding.DecodeString(s)
			out, ok = s, err == nil
		}
	case scalarJSON:
		out, ok = v, true
	}
	if !ok {
		return nil, wrong("%s is no %s", show(v), scalar)
	}
	return out, nil
}

func isInt64(s string) bool {
	if _, err := strconv.ParseInt(s, 10, 64); err == nil {
		return true
	}
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}

func isDuration(s string) bool {
	seconds, found := strings.CutSuffix(s, "s")
	if !found || strings.ContainsAny(seconds, "eExXpPnNiI_+") {
		return false
	}
	_, err := strconv.ParseFloat(seconds, 64)
	return err == nil
}

// wholeNumber reads a number without a fraction.
func wholeNumber(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int32:
		return int64(v), true
	case int64:
		return v, true
	case float64:
		return int64(v), v == math.Trunc(v) && math.Abs(v) < 1<<53
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n, true
		}
		f, err := v.Float64()
		return int64(f), err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53
	default:
		return 0, false
	}
}

// wholeText reads an integer of any size up to 64 bits as a text.
func wholeText(v any) (string, bool) {
	if n, isNumber := v.(json.Number); isNumber {
		return string(n), isInt64(string(n))
	}
	n, ok := wholeNumber(v)
	return strconv.FormatInt(n, 10), ok
}

func floatNumber(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, !math.IsInf(v, 0) && !math.IsNaN(v)
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	default:
		n, ok := wholeNumber(v)
		return float64(n), ok
	}
}

// show writes a value as JSON, shortened.
func show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("a value of %T", v)
	}
	if len(text) > 60 {
		text = append(text[:57:57], "..."...)
	}
	return strings.ToValidUTF8(string(text), "")
}
