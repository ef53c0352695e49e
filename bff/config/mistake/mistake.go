// Package mistake describes what is wrong in a configuration, at a path of keys, so that package config can say in
// which line and column of the file it stands. Constructors of configured parts return [Mistake] values, joined
// with errors.Join, one for each thing that is wrong.
package mistake

import (
	"errors"
	"strconv"
	"strings"
)

// Mistake is one thing that is wrong in a configuration.
type Mistake struct {
	// Path leads to the value: mapping keys, and indices of sequences in decimal.
	Path []string
	// What says what is wrong, such as `unknown method "shop.v1.Shop/Gett"`.
	What string
	// Expected says what would be right, such as "a duration like 2s"; may be empty.
	Expected string
	// Nearest is the nearest known name; may be empty.
	Nearest string
	// Key reports that the key at the end of Path is wrong rather than its value.
	Key bool
	// Err is the cause, if there is one.
	Err error
}

// At makes a [Mistake] at a path.
func At(what string, path ...string) *Mistake { return &Mistake{Path: path, What: what} }

// Error tells the path, what is wrong, what was expected and the nearest name.
func (m *Mistake) Error() string {
	var b strings.Builder
	if len(m.Path) > 0 {
		b.WriteString(strings.Join(m.Path, "."))
		b.WriteString(": ")
	}
	b.WriteString(m.Text())
	return b.String()
}

// Text is the message without the path.
func (m *Mistake) Text() string {
	var b strings.Builder
	b.WriteString(m.What)
	if m.Expected != "" {
		b.WriteString(", expected ")
		b.WriteString(m.Expected)
	}
	if m.Nearest != "" {
		b.WriteString(", did you mean ")
		b.WriteString(strconv.Quote(m.Nearest))
		b.WriteString("?")
	}
	return b.String()
}

// Unwrap returns the cause.
func (m *Mistake) Unwrap() error { return m.Err }

// In puts every [Mistake] found in err below path and returns all of them joined. An err (or a joined part of it)
// that is no Mistake becomes one at path. A nil err gives nil.
func In(err error, path ...string) error {
	list := List(err)
	out := make([]error, 0, len(list))
	for _, m := range list {
		moved := *m
		moved.Path = append(append(make([]string, 0, len(path)+len(m.Path)), path...), m.Path...)
		out = append(out, &moved)
	}
	return errors.Join(out...)
}

// List returns every mistake in err, in order: joined errors are taken apart, an error that is no Mistake becomes
// one without a path. A nil err gives nil.
func List(err error) []*Mistake {
	if err == nil {
		return nil
	}
	if m, ok := err.(*Mistake); ok { //nolint:errorlint // a wrapper of a Mistake adds words that must be kept
		return []*Mistake{m}
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*Mistake
		for _, e := range joined.Unwrap() {
			out = append(out, List(e)...)
		}
		return out
	}
	return []*Mistake{{What: err.Error(), Err: err}}
}
