package shop_test

import (
	"testing"

	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/schema/shop"
)

func TestCompiles(t *testing.T) {
	t.Parallel()
	s := compile(t)
	if warnings := s.Warnings(); len(warnings) > 0 {
		t.Errorf("the demo warns: %v", warnings)
	}
	texts, err := shop.Operations()
	if err != nil {
		t.Fatal(err)
	}
	stored, err := s.Stored(texts)
	if err != nil {
		t.Fatal(err)
	}
	if len(stored) == 0 {
		t.Fatal("the demo stores no operations")
	}
	home := stored[0]
	if home.Name != "Home" || home.REST == nil || *home.REST != (schema.REST{Method: "GET", Path: "/v1/home"}) {
		t.Errorf("home is %+v", home)
	}
	services := map[string]bool{}
	for _, m := range home.Operation.Methods() {
		services[m.Service()] = true
	}
	if len(services) < 3 {
		t.Errorf("home composes %v, want at least three services", services)
	}
}

// TestDescribed wants a description on everything a client can see.
func TestDescribed(t *testing.T) {
	t.Parallel()
	s := compile(t)
	for name, def := range s.AST().Types {
		if def.BuiltIn || len(name) > 1 && name[:2] == "__" {
			continue
		}
		if def.Description == "" {
			t.Errorf("type %s has no description", name)
		}
		for _, f := range def.Fields {
			if f.Description == "" && f.Name[:1] != "_" {
				t.Errorf("field %s.%s has no description", name, f.Name)
			}
			for _, a := range f.Arguments {
				if a.Description == "" && f.Name[:1] != "_" {
					t.Errorf("argument %s.%s(%s:) has no description", name, f.Name, a.Name)
				}
			}
		}
		for _, v := range def.EnumValues {
			if v.Description == "" {
				t.Errorf("enum value %s.%s has no description", name, v.Name)
			}
		}
	}
}
