package translate

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/upstream"
	"github.com/portico-bff/portico/upstream/wire"
)

// Config is the http section of the configuration: rules for methods whose protos cannot be annotated. It has the form
// of the http part of google.api.Service.
type Config struct {
	// Rules map methods to HTTP. They override annotations; of several for one method the last counts.
	Rules []Rule `yaml:"rules" json:"rules,omitempty" jsonschema_description:"Rules that map methods to HTTP, in the form of google.api.Service; they override annotations."`
}

// Rule is a google.api.HttpRule with the method that it is for.
type Rule struct {
	// Selector is the method, written package.Service.Method.
	Selector string `yaml:"selector" json:"selector" jsonschema:"minLength=1" jsonschema_description:"The method, written package.Service.Method."`
	Binding  `yaml:",inline"`
	// At is where it stands, as file:line:col; empty if that is not known. No file says it: who reads the file does.
	At string `yaml:"-" json:"-"`
	// AdditionalBindings are more routes to the method.
	AdditionalBindings []Binding `yaml:"additional_bindings" json:"additional_bindings,omitempty" jsonschema_description:"More routes to the method."`
}

// Binding is one route: exactly one of the HTTP methods with its path template, and what becomes of the bodies.
type Binding struct {
	// Get, Put, Post, Delete and Patch are the path template of that HTTP method.
	Get    string `yaml:"get" json:"get,omitempty" jsonschema_description:"Path template of GET."`
	Put    string `yaml:"put" json:"put,omitempty" jsonschema_description:"Path template of PUT."`
	Post   string `yaml:"post" json:"post,omitempty" jsonschema_description:"Path template of POST."`
	Delete string `yaml:"delete" json:"delete,omitempty" jsonschema_description:"Path template of DELETE."`
	Patch  string `yaml:"patch" json:"patch,omitempty" jsonschema_description:"Path template of PATCH."`
	// Custom is the path template of another HTTP method.
	Custom *Custom `yaml:"custom" json:"custom,omitempty" jsonschema_description:"Another HTTP method."`
	// Body is the request field that the body is, * for all fields that the path does not bind, or empty for no body.
	Body string `yaml:"body" json:"body,omitempty" jsonschema_description:"Request field that the body is; * is all fields that the path does not bind."`
	// ResponseBody is the response field that is the answer; empty for the whole message.
	ResponseBody string `yaml:"response_body" json:"response_body,omitempty" jsonschema_description:"Response field that is the answer; by default the whole message is."`
}

// Custom is an HTTP method that has no key of its own.
type Custom struct {
	// Kind is the HTTP method; * is any that has no other rule.
	Kind string `yaml:"kind" json:"kind" jsonschema:"minLength=1" jsonschema_description:"The HTTP method; * is any that has no other rule."`
	// Path is the path template.
	Path string `yaml:"path" json:"path" jsonschema:"minLength=1" jsonschema_description:"The path template."`
}

// Configured is a method's rule of the configuration.
type Configured struct {
	// Rule is what it says.
	Rule *annotations.HttpRule
	// At is where it stands, as file:line:col; empty if that is not known.
	At string
}

// Compile returns the rules by method, as [Options] want them. The error joins a [mistake.Mistake] for everything that is
// wrong, at paths like ["rules", "0", "selector"].
func (c Config) Compile(d *upstream.Descriptors) (map[string]Configured, error) {
	rules := map[string]Configured{}
	var errs []error
	for i := range c.Rules {
		r := &c.Rules[i]
		rule, err := r.compile(d)
		if err != nil {
			errs = append(errs, mistake.In(err, "rules", strconv.Itoa(i)))
			continue
		}
		rules[methodName(r.Selector)] = Configured{Rule: rule, At: r.At}
	}
	return rules, errors.Join(errs...)
}

// methodName turns package.Service.Method into package.Service/Method.
func methodName(selector string) string {
	if i := strings.LastIndexByte(selector, '.'); i >= 0 {
		return selector[:i] + "/" + selector[i+1:]
	}
	return selector
}

// compile checks one rule all the way through: what it says must fit the method.
func (r *Rule) compile(d *upstream.Descriptors) (*annotations.HttpRule, error) {
	method, ok := d.Method(methodName(r.Selector))
	if !ok {
		return nil, &mistake.Mistake{
			Path: []string{"selector"}, What: fmt.Sprintf("unknown method %q", r.Selector), Nearest: nearestMethod(r.Selector, d),
		}
	}
	rule, err := r.Binding.compile(method, d)
	errs := []error{err}
	if rule == nil {
		rule = &annotations.HttpRule{}
	}
	rule.Selector = r.Selector
	for i := range r.AdditionalBindings {
		more, err := r.AdditionalBindings[i].compile(method, d)
		errs = append(errs, mistake.In(err, "additional_bindings", strconv.Itoa(i)))
		rule.AdditionalBindings = append(rule.AdditionalBindings, more)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return rule, nil
}

func (b *Binding) compile(m *upstream.Method, d *upstream.Descriptors) (*annotations.HttpRule, error) {
	rule := &annotations.HttpRule{Body: b.Body, ResponseBody: b.ResponseBody}
	var named []string
	for _, one := range []struct {
		key, path string
		set       func()
	}{
		{"get", b.Get, func() { rule.Pattern = &annotations.HttpRule_Get{Get: b.Get} }},
		{"put", b.Put, func() { rule.Pattern = &annotations.HttpRule_Put{Put: b.Put} }},
		{"post", b.Post, func() { rule.Pattern = &annotations.HttpRule_Post{Post: b.Post} }},
		{"delete", b.Delete, func() { rule.Pattern = &annotations.HttpRule_Delete{Delete: b.Delete} }},
		{"patch", b.Patch, func() { rule.Pattern = &annotations.HttpRule_Patch{Patch: b.Patch} }},
	} {
		if one.path != "" {
			named = append(named, one.key)
			one.set()
		}
	}
	if b.Custom != nil {
		named = append(named, "custom")
		rule.Pattern = &annotations.HttpRule_Custom{Custom: &annotations.CustomHttpPattern{Kind: b.Custom.Kind, Path: b.Custom.Path}}
	}
	if len(named) != 1 {
		what := "no HTTP method"
		if len(named) > 1 {
			what = strings.Join(named, " and ") + " exclude each other"
		}
		return nil, &mistake.Mistake{What: what, Expected: "exactly one of get, put, post, delete, patch and custom"}
	}
	all, err := bindings(rule)
	if err == nil {
		_, err = compile(m, all[0], settings{render: wire.RenderOptions{Resolver: d.Types()}, parse: wire.ParseOptions{Resolver: d.Types()}})
	}
	if err != nil {
		return nil, mistake.In(err, named[0])
	}
	return rule, nil
}

// nearestMethod returns the method most like a selector, in its form.
func nearestMethod(selector string, d *upstream.Descriptors) string {
	var known []string
	for _, service := range d.Services() {
		for _, m := range d.Methods(service) {
			known = append(known, strings.Replace(m.Name, "/", ".", 1))
		}
	}
	return mistake.Nearest(selector, known)
}
