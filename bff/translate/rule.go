package translate

import (
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/portico-bff/portico/upstream"
)

// binding is one HTTP method and path of a rule, with what becomes of bodies.
type binding struct {
	httpMethod, path   string
	body, responseBody string
}

// annotated reads the google.api.http annotation of a method; nil if there is none.
//
// Descriptors that were loaded at run time may hold the option as an unknown field or as a dynamic message, depending
// on what the loader knew. Encoding the options and decoding them again gives the generated type in all cases.
func annotated(m *upstream.Method) (*annotations.HttpRule, error) {
	encoded, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m.Desc.Options())
	if err != nil {
		return nil, fmt.Errorf("encoding the options of %s: %w", m.Name, err)
	}
	var options descriptorpb.MethodOptions
	err = proto.UnmarshalOptions{AllowPartial: true, Resolver: protoregistry.GlobalTypes}.Unmarshal(encoded, &options)
	if err != nil {
		return nil, fmt.Errorf("decoding the options of %s: %w", m.Name, err)
	}
	if !proto.HasExtension(&options, annotations.E_Http) {
		return nil, nil //nolint:nilnil // a method without a rule is a common thing, and no error
	}
	rule, ok := proto.GetExtension(&options, annotations.E_Http).(*annotations.HttpRule)
	if !ok {
		return nil, fmt.Errorf("%s: the option google.api.http is no HttpRule", m.Name)
	}
	return rule, nil
}

// bindings lists all bindings of a rule, its own first.
func bindings(rule *annotations.HttpRule) ([]binding, error) {
	all := make([]binding, 0, 1+len(rule.GetAdditionalBindings()))
	for i, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		if i > 0 && len(r.GetAdditionalBindings()) > 0 {
			return nil, fmt.Errorf("additional_bindings %d has additional_bindings itself", i-1)
		}
		b := binding{body: r.GetBody(), responseBody: r.GetResponseBody()}
		switch p := r.GetPattern().(type) {
		case *annotations.HttpRule_Get:
			b.httpMethod, b.path = "GET", p.Get
		case *annotations.HttpRule_Put:
			b.httpMethod, b.path = "PUT", p.Put
		case *annotations.HttpRule_Post:
			b.httpMethod, b.path = "POST", p.Post
		case *annotations.HttpRule_Delete:
			b.httpMethod, b.path = "DELETE", p.Delete
		case *annotations.HttpRule_Patch:
			b.httpMethod, b.path = "PATCH", p.Patch
		case *annotations.HttpRule_Custom:
			b.httpMethod, b.path = p.Custom.GetKind(), p.Custom.GetPath()
			if b.httpMethod != anyMethod && !token(b.httpMethod) {
				return nil, fmt.Errorf("custom kind %q is no HTTP method", b.httpMethod)
			}
		default:
			return nil, errors.New("a binding has no path")
		}
		all = append(all, b)
	}
	return all, nil
}

// token reports whether s is a token of RFC 9110, section 5.6.2, as every HTTP method is.
func token(s string) bool {
	for _, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && c != '-' && c != '_' && c != '.' && c != '!' && c != '#' && c != '$' && c != '%' && c != '&' &&
			c != '\'' && c != '*' && c != '+' && c != '^' && c != '`' && c != '|' && c != '~' {
			return false
		}
	}
	return s != ""
}
