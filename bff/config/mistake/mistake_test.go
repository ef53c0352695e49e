package mistake_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/bff/config/mistake"
)

func TestIn(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	err := mistake.In(errors.Join(
		mistake.At("a is wrong", "a"),
		mistake.In(fmt.Errorf("plain: %w", cause), "b"),
		nil,
	), "section", "0")
	var got []string
	for _, m := range mistake.List(err) {
		got = append(got, m.Error())
	}
	if diff := cmp.Diff([]string{"section.0.a: a is wrong", "section.0.b: plain: cause"}, got); diff != "" {
		t.Errorf("In (-want +got):\n%s", diff)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
	if mistake.In(nil, "x") != nil || mistake.List(nil) != nil {
		t.Error("nil does not stay nil")
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"upstreams", "methods", "web", "shop.orders.v1.OrderService/GetOrder"}
	for name, want := range map[string]string{
		"upstream": "upstreams", "Method": "methods", "wbe": "web", "shop.orders.v1.OrderService/GetOrdr": "shop.orders.v1.OrderService/GetOrder",
		"xyzzy": "", "": "", "ÜPSTREAMS": "upstreams", strings.Repeat("é", 1<<22): "",
	} {
		if got := mistake.Nearest(name, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}
