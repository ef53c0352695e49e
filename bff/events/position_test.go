package events

import (
	"strings"
	"testing"
)

func TestParsePosition(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text string
		want Position
		ok   bool
	}{
		{"ABC-0", Position{"ABC", 0}, true},
		{"ABC234-17", Position{"ABC234", 17}, true},
		{"A-18446744073709551615", Position{"A", 1<<64 - 1}, true},
		{"A-18446744073709551616", Position{}, false},
		{"", Position{}, false},
		{"-", Position{}, false},
		{"-1", Position{}, false},
		{"A-", Position{}, false},
		{"A", Position{}, false},
		{"A-01", Position{}, false},
		{"A-+1", Position{}, false},
		{"A--1", Position{}, false},
		{"A-1 ", Position{}, false},
		{"a-1", Position{}, false},
		{"A\n-1", Position{}, false},
		{"A-1\x00", Position{}, false},
		{strings.Repeat("A", 64) + "-1", Position{strings.Repeat("A", 64), 1}, true},
		{strings.Repeat("A", 65) + "-1", Position{}, false},
	} {
		if got, ok := ParsePosition(test.text); got != test.want || ok != test.ok {
			t.Errorf("%q: %+v, %t", test.text, got, ok)
		}
	}
}

// FuzzParsePosition: whatever a client sends, it is refused or it is exactly what String writes, and it cannot break
// the lines of an event stream.
func FuzzParsePosition(f *testing.F) {
	for _, seed := range []string{"", "A-1", "ABC-18446744073709551616", "A-01", "--", "A-1\n\ndata: x", "É-1", "A-0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := ParsePosition(text)
		if !ok {
			if p != (Position{}) {
				t.Fatalf("%q is refused as %+v", text, p)
			}
			return
		}
		if p.String() != text {
			t.Fatalf("%q is written %q", text, p)
		}
		if strings.ContainsAny(text, "\r\n\x00") {
			t.Fatalf("%q breaks lines", text)
		}
	})
}
