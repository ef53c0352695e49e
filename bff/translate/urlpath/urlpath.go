// Package urlpath takes the path of a request's URL apart, once and in one way for everybody who looks at it: the
// router, access rules and logs all speak of the same segments.
//
// Segments are split where the path as it was sent has a slash, and decoded afterwards, so an encoded slash never
// becomes a separator. Start with [Parse]; [Canonical] is for those who want one string.
package urlpath

import (
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"
)

// The errors of [Parse] and [Canonical]. All of them are the client's: 400. Their texts are fit for the client.
var (
	// ErrNotRooted is a path that does not begin with a slash, such as that of OPTIONS *.
	ErrNotRooted = errors.New("the path does not begin with a slash")
	// ErrDots is a path with a segment "." or "..", encoded or not. Clients resolve these before they send
	// (RFC 3986, section 5.2.4), and what a service would make of them is anybody's guess.
	ErrDots = errors.New("the path has a dot segment")
	// ErrNUL is a path with an encoded NUL.
	ErrNUL = errors.New("the path has a NUL character")
	// ErrUTF8 is a path that is not UTF-8 when decoded.
	ErrUTF8 = errors.New("the path is not UTF-8")
	// ErrEscape is a path with a malformed percent-encoding.
	ErrEscape = errors.New("the path has a malformed percent-encoding")
)

// Path is a path taken apart. The zero Path is that of "/". A Path that has been parsed is immutable.
type Path struct {
	// Segments holds what stands between the slashes, decoded. "/" has no segment; "/a/" has two, the second empty.
	Segments []string
	// kept holds the segments as variables of several segments show them; nil if none differs.
	kept []string
	// verbAt is the index of the last segment's last colon, and keptVerbAt that in kept; -1 without a usable one.
	verbAt, keptVerbAt int
}

// Parse takes the path of u apart. spare is a slice whose capacity is reused; it may be nil.
func Parse(u *url.URL, spare []string) (Path, error) {
	p := Path{Segments: spare[:0], verbAt: -1, keptVerbAt: -1}
	if u.RawPath == "" {
		// The path as it was sent is what encoding u.Path gives: no encoded slash or colon in it.
		if err := check(u.Path); err != nil {
			return Path{}, err
		}
		for rest, more := u.Path[1:], u.Path != "/"; more; {
			var segment string
			segment, rest, more = strings.Cut(rest, "/")
			p.Segments = append(p.Segments, segment)
		}
		p.findVerb()
		return p, nil
	}
	return parseEscaped(u, p)
}

// parseEscaped serves the rare paths with something encoded that changes their meaning.
func parseEscaped(u *url.URL, p Path) (Path, error) {
	escaped := sent(u)
	if !strings.HasPrefix(escaped, "/") {
		return Path{}, ErrNotRooted
	}
	if escaped == "/" {
		return p, nil
	}
	verbAt := -1 // in the segment at hand, decoded
	for segment := range strings.SplitSeq(escaped[1:], "/") {
		decoded, err := url.PathUnescape(segment)
		if err != nil {
			return Path{}, ErrEscape
		}
		if err := checkSegment(decoded); err != nil {
			return Path{}, err
		}
		kept, err := unescapeKeepingSlash(segment)
		if err != nil {
			return Path{}, ErrEscape
		}
		p.Segments = append(p.Segments, decoded)
		p.kept = append(p.kept, kept)
		// Only a colon that was sent as such can begin a verb.
		verbAt = -1
		p.keptVerbAt = -1
		if i := strings.LastIndexByte(segment, ':'); i > 0 && i < len(segment)-1 {
			tail, _ := url.PathUnescape(segment[i:])
			verbAt = len(decoded) - len(tail)
			tail, _ = unescapeKeepingSlash(segment[i:])
			p.keptVerbAt = len(kept) - len(tail)
		}
	}
	p.verbAt = verbAt
	return p, nil
}

// sent returns the path as it was sent. It is not u.EscapedPath: that encodes u.Path anew, with the encoded slashes
// turned into separators, as soon as the client left any character bare that it should have encoded.
func sent(u *url.URL) string {
	if path, err := url.PathUnescape(u.RawPath); err == nil && path == u.Path {
		return u.RawPath
	}
	return u.EscapedPath()
}

// unescapeKeepingSlash decodes a segment, leaving an encoded slash as it was sent.
func unescapeKeepingSlash(s string) (string, error) {
	var b strings.Builder
	for {
		i := indexEncodedSlash(s)
		if i < 0 {
			break
		}
		part, err := url.PathUnescape(s[:i])
		if err != nil {
			return "", err
		}
		b.WriteString(part)
		b.WriteString(s[i : i+3])
		s = s[i+3:]
	}
	part, err := url.PathUnescape(s)
	if err != nil {
		return "", err
	}
	if b.Len() == 0 {
		return part, nil
	}
	b.WriteString(part)
	return b.String(), nil
}

// indexEncodedSlash finds %2F in well-formed text, where every percent sign begins an escape.
func indexEncodedSlash(s string) int {
	for i := 0; i+2 < len(s); i++ {
		if s[i] == '%' {
			if s[i+1] == '2' && s[i+2]|0x20 == 'f' {
				return i
			}
			i += 2
		}
	}
	return -1
}

func (p *Path) findVerb() {
	if len(p.Segments) == 0 {
		return
	}
	last := p.Segments[len(p.Segments)-1]
	if i := strings.LastIndexByte(last, ':'); i > 0 && i < len(last)-1 {
		p.verbAt, p.keptVerbAt = i, i
	}
}

// Verb splits the last segment at its last colon. ok is false if it has none that was sent as such, or nothing
// before or behind it.
func (p *Path) Verb() (stem, verb string, ok bool) {
	if p.verbAt < 0 {
		return "", "", false
	}
	last := p.Segments[len(p.Segments)-1]
	return last[:p.verbAt], last[p.verbAt+1:], true
}

// Single returns segment i as a variable of one segment shows it: all decoded. withoutVerb cuts the verb off the
// last segment.
func (p *Path) Single(i int, withoutVerb bool) string {
	s := p.Segments[i]
	if withoutVerb && i == len(p.Segments)-1 && p.verbAt >= 0 {
		s = s[:p.verbAt]
	}
	return s
}

// Several returns the segments from i up to, but without, j as a variable of several segments shows them: joined
// by slashes, with encoded slashes left as they were sent. withoutVerb cuts the verb off the last segment.
func (p *Path) Several(i, j int, withoutVerb bool) string {
	segments := p.Segments
	verbAt := p.verbAt
	if p.kept != nil {
		segments, verbAt = p.kept, p.keptVerbAt
	}
	s := strings.Join(segments[i:j], "/")
	if withoutVerb && j == len(segments) && i < j && verbAt >= 0 {
		s = s[:len(s)-(len(segments[j-1])-verbAt)]
	}
	return s
}

// Canonical returns the path of u as rules and logs see it: decoded, except that a slash within a segment is %2F and a
// percent sign %25. So two paths that are routed or bound differently never look the same, and %2F is always a slash that
// does not separate.
func Canonical(u *url.URL) (string, error) {
	if u.RawPath == "" { // no segment holds a slash
		if strings.IndexByte(u.Path, '%') < 0 {
			return u.Path, check(u.Path)
		}
		return strings.ReplaceAll(u.Path, "%", "%25"), check(u.Path)
	}
	p, err := parseEscaped(u, Path{})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, s := range p.Segments {
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(s, "%", "%25"), "/", "%2F"))
	}
	if b.Len() == 0 {
		return "/", nil
	}
	return b.String(), nil
}

// check looks at a whole path without encoded slashes.
func check(path string) error {
	if path == "" || path[0] != '/' {
		return ErrNotRooted
	}
	if strings.IndexByte(path, 0) >= 0 {
		return ErrNUL
	}
	if !utf8.ValidString(path) {
		return ErrUTF8
	}
	for i := 0; i < len(path); {
		at := strings.Index(path[i:], "/.")
		if at < 0 {
			return nil
		}
		i += at + 2
		rest := strings.TrimPrefix(path[i:], ".")
		if rest == "" || rest[0] == '/' {
			return ErrDots
		}
	}
	return nil
}

func checkSegment(s string) error {
	switch {
	case s == "." || s == "..":
		return ErrDots
	case strings.IndexByte(s, 0) >= 0:
		return ErrNUL
	case !utf8.ValidString(s):
		return ErrUTF8
	}
	return nil
}
