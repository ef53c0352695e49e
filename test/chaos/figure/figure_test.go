package figure_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/test/chaos/figure"
)

func TestFigures(t *testing.T) {
	t.Parallel()
	tests := []struct {
		figure figure.Figure
		text   string
		met    bool
	}{
		{figure.Count("errors", 0, figure.Zero()), "errors 0 (0)", true},
		{figure.Count("errors", 1, figure.Zero()), "errors 1 (0)", false},
		{figure.Count("wrong_decisions", 3, figure.Most(5)), "wrong decisions 3 (<= 5)", true},
		{figure.Percent("failed", 1, 3000, figure.Most(0.1)), "failed 0.0333 % (<= 0.1)", true},
		{figure.Percent("failed", 4, 3000, figure.Most(0.1)), "failed 0.133 % (<= 0.1)", false},
		{figure.Percent("failed", 0, 0, figure.Most(0.1)), "failed NaN % (<= 0.1)", false},
		{figure.Seconds("ejected", 1234567*time.Microsecond, figure.Most(1)), "ejected 1.23 s (<= 1)", false},
		{figure.Milliseconds("p99", 6500*time.Microsecond, figure.Most(50)), "p99 6.5 ms (<= 50)", true},
		{figure.Count("calls", 123456, figure.Least(1000)), "calls 123456 (>= 1000)", true},
		{figure.Count("calls", 999, figure.Least(1000)), "calls 999 (>= 1000)", false},
	}
	for _, test := range tests {
		if got := test.figure.String(); got != test.text || test.figure.Met() != test.met {
			t.Errorf("%s, met: %v; want %s, %v", got, test.figure.Met(), test.text, test.met)
		}
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	text, err := figure.JSON([]figure.Figure{
		figure.Count("a", 1, figure.Most(2)),
		figure.Percent("b", 0, 0, figure.Zero()),
	})
	want := `[
  {"name":"a","value":1,"unit":"","mark":"<= 2"},
  {"name":"b","value":null,"unit":"%","mark":"0"}
]
`
	if diff := cmp.Diff(want, string(text)); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for n := range 3 {
		text, err := figure.JSON(make([]figure.Figure, n))
		var list []any
		if err != nil || json.Unmarshal(text, &list) != nil || len(list) != n {
			t.Errorf("%d figures: %v, %s", n, err, text)
		}
	}
}
