package urlpath_test

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/bff/translate/urlpath"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		raw        string
		segments   []string
		stem, verb string // of the last segment
		several    string // all segments as one variable
		canonical  string
		err        error
	}{
		{raw: "/", canonical: "/"},
		{raw: "/a", segments: []string{"a"}, several: "a", canonical: "/a"},
		{raw: "/a/", segments: []string{"a", ""}, several: "a/", canonical: "/a/"},
		{raw: "//a", segments: []string{"", "a"}, several: "/a", canonical: "//a"},
		{raw: "/a//b", segments: []string{"a", "", "b"}, several: "a//b", canonical: "/a//b"},
		{raw: "/a%20b/c", segments: []string{"a b", "c"}, several: "a b/c", canonical: "/a b/c"},
		{raw: "/a+b", segments: []string{"a+b"}, several: "a+b", canonical: "/a+b"},
		{raw: "/a%2Fb/c", segments: []string{"a/b", "c"}, several: "a%2Fb/c", canonical: "/a%2Fb/c"},
		{raw: "/a%2fb", segments: []string{"a/b"}, several: "a%2fb", canonical: "/a%2Fb"},
		{raw: "/a%252Fb%2F", segments: []string{"a%2Fb/"}, several: "a%2Fb%2F", canonical: "/a%252Fb%2F"},
		{raw: "/a%252Fb", segments: []string{"a%2Fb"}, several: "a%2Fb", canonical: "/a%252Fb"},
		{raw: "/a%25", segments: []string{"a%"}, several: "a%", canonical: "/a%25"},
		{raw: "/%2525%2F", segments: []string{"%25/"}, several: "%25%2F", canonical: "/%2525%2F"},
		{raw: "/%C3%A9%2F\u00e9", segments: []string{"é/é"}, several: "é%2Fé", canonical: "/é%2Fé"},
		{raw: "/a:b", segments: []string{"a:b"}, stem: "a", verb: "b", several: "a:b", canonical: "/a:b"},
		{raw: "/a:b:c", segments: []string{"a:b:c"}, stem: "a:b", verb: "c", several: "a:b:c", canonical: "/a:b:c"},
		{raw: "/a:b/c", segments: []string{"a:b", "c"}, several: "a:b/c", canonical: "/a:b/c"},
		{raw: "/a:", segments: []string{"a:"}, several: "a:", canonical: "/a:"},
		{raw: "/:a", segments: []string{":a"}, several: ":a", canonical: "/:a"},
		{raw: "/a%3Ab", segments: []string{"a:b"}, several: "a:b", canonical: "/a:b"},
		{raw: "/a%3Ab:c", segments: []string{"a:b:c"}, stem: "a:b", verb: "c", several: "a:b:c", canonical: "/a:b:c"},
		{raw: "/a:b%3Ac", segments: []string{"a:b:c"}, stem: "a", verb: "b:c", several: "a:b:c", canonical: "/a:b:c"},
		{raw: "/a%2Fb:c%2F", segments: []string{"a/b:c/"}, stem: "a/b", verb: "c/", several: "a%2Fb:c%2F", canonical: "/a%2Fb:c%2F"},
		{raw: "/...", segments: []string{"..."}, several: "...", canonical: "/..."},
		{raw: "/.a/b..", segments: []string{".a", "b.."}, several: ".a/b..", canonical: "/.a/b.."},
		{raw: "/..%2Fa", segments: []string{"../a"}, several: "..%2Fa", canonical: "/..%2Fa"},
		{raw: "/a/../b", err: urlpath.ErrDots},
		{raw: "/a/.", err: urlpath.ErrDots},
		{raw: "/./a", err: urlpath.ErrDots},
		{raw: "/%2e%2E/a", err: urlpath.ErrDots},
		{raw: "/%2e%2E/a%2Fb", err: urlpath.ErrDots},
		{raw: "/a%00", err: urlpath.ErrNUL},
		{raw: "/a%00%2F", err: urlpath.ErrNUL},
		{raw: "/%ff", err: urlpath.ErrUTF8},
		{raw: "/%ff%2F", err: urlpath.ErrUTF8},
		{raw: "*", err: urlpath.ErrNotRooted},
		{raw: "", err: urlpath.ErrNotRooted},
	} {
		t.Run(test.raw, func(t *testing.T) {
			t.Parallel()
			u := parseURL(t, test.raw)
			p, err := urlpath.Parse(u, nil)
			if !errors.Is(err, test.err) {
				t.Fatalf("Parse: error %v, want %v", err, test.err)
			}
			canonical, err := urlpath.Canonical(u)
			if !errors.Is(err, test.err) {
				t.Fatalf("Canonical: error %v, want %v", err, test.err)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(test.segments, p.Segments); diff != "" {
				t.Errorf("segments (-want +got):\n%s", diff)
			}
			if canonical != test.canonical {
				t.Errorf("canonical is %q, want %q", canonical, test.canonical)
			}
			stem, verb, ok := p.Verb()
			if stem != test.stem || verb != test.verb || ok != (test.verb != "") {
				t.Errorf("verb is (%q, %q, %t), want (%q, %q)", stem, verb, ok, test.stem, test.verb)
			}
			if got := p.Several(0, len(p.Segments), false); got != test.several {
				t.Errorf("several is %q, want %q", got, test.several)
			}
			if ok {
				if got := p.Single(len(p.Segments)-1, true); got != stem {
					t.Errorf("single without verb is %q, want %q", got, stem)
				}
			}
		})
	}
}

func TestSeveralWithoutVerb(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"/a/b:get":           "a/b",
		"/a%2Fb/c%2Fd:get":   "a%2Fb/c%2Fd",
		"/a/%C3%A9%2f:g%20t": "a/é%2f",
	} {
		p, err := urlpath.Parse(parseURL(t, raw), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Several(0, len(p.Segments), true); got != want {
			t.Errorf("%s: got %q, want %q", raw, got, want)
		}
	}
}

// The properties: nothing panics; Parse and Canonical refuse the same paths; a canonical path holds as many
// segments as Parse found, and nothing but them; the encoded slash is never a separator.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/", "/a/b", "/a%2Fb:c", "/%2e/..", "/a//b/", "/%00", "/a:b%3Ac:d", "/a%252Fb", "/a%252Fb%2F"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			return
		}
		p, err := urlpath.Parse(u, nil)
		canonical, err2 := urlpath.Canonical(u)
		if !errors.Is(err2, err) {
			t.Fatalf("Parse: %v, Canonical: %v", err, err2)
		}
		if err != nil {
			return
		}
		sent, _, _ := strings.Cut(raw, "?")
		if want := strings.Count(sent, "/"); raw[0] == '/' && sent != "/" && len(p.Segments) != want {
			t.Errorf("%q: %d segments, want %d", raw, len(p.Segments), want)
		}
		if got := strings.Count(canonical, "/"); canonical != "/" && got != len(p.Segments) {
			t.Errorf("%q: canonical path %q has %d segments, want %d", raw, canonical, got, len(p.Segments))
		}
		decoded := strings.Split(canonical, "/")[1:]
		for i, s := range decoded {
			decoded[i] = strings.ReplaceAll(strings.ReplaceAll(s, "%2F", "/"), "%25", "%")
		}
		if canonical != "/" && !slices.Equal(decoded, p.Segments) {
			t.Errorf("%q: canonical path %q holds %q, want %q", raw, canonical, decoded, p.Segments)
		}
		if stem, verb, ok := p.Verb(); ok && stem+":"+verb != p.Segments[len(p.Segments)-1] {
			t.Errorf("%q: verb (%q, %q) does not make up %q", raw, stem, verb, p.Segments[len(p.Segments)-1])
		}
	})
}

func parseURL(t *testing.T, raw string) *url.URL {
	t.Helper()
	if raw == "" || raw == "*" {
		return &url.URL{Path: raw}
	}
	u, err := url.ParseRequestURI(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
