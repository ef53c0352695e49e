package principal

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestContext(t *testing.T) {
	t.Parallel()
	nobody := FromContext(t.Context())
	if nobody.Kind != Anonymous || nobody.Authenticated {
		t.Errorf("nobody is %+v", nobody)
	}
	if p := FromContext(NewContext(t.Context(), nil)); p == nil || p.Kind != Anonymous {
		t.Errorf("a nil principal is %+v", p)
	}
	p := &Principal{Subject: "usr-0003"}
	if got := FromContext(NewContext(t.Context(), p)); got != p {
		t.Errorf("got %+v", got)
	}
}

func TestClaim(t *testing.T) {
	t.Parallel()
	p := &Principal{Claims: map[string]any{"a": map[string]any{"b": 1.0}, "x.y": "whole", "x": map[string]any{"y": "parts"}}}
	for path, want := range map[string]any{"a.b": 1.0, "a.c": nil, "a.b.c": nil, "x.y": "whole", "none": nil, "": nil} {
		if diff := cmp.Diff(want, p.Claim(path)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	if got := (&Principal{}).Claim("a.b"); got != nil {
		t.Errorf("without claims: %v", got)
	}
}
