package config

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// Problem is one thing that is wrong in a file, at a place.
type Problem struct {
	// File, Line and Col say where, counted from 1. Line is 0 if the problem is the whole file's.
	File      string
	Line, Col int
	// Text says what is wrong, what was expected and the nearest known name.
	Text string
	// Source is the line of the file, without its end; empty if there is none.
	Source string
}

// String is "file:line:col: text" and, below it, the line of the file with a mark under the column.
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	s := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Col, p.Text)
	if p.Source == "" {
		return s
	}
	gutter := fmt.Sprintf("%6d | ", p.Line)
	return s + "\n" + gutter + p.Source + "\n" + strings.Repeat(" ", len(gutter)-2) + "| " + indent(p.Source, p.Col) + "^"
}

// indent is as wide as the first col-1 characters of line, tabs kept.
func indent(line string, col int) string {
	var b strings.Builder
	for i, r := range []rune(line) {
		if i >= col-1 {
			break
		}
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// Problems is every problem that was found in one run, ordered by place. As an error it prints them all.
type Problems []Problem //nolint:errname // a list of Problem

// Error prints all problems, one after the other.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// LogValue is the problems without the lines of the file, since there may be secrets in them.
func (ps Problems) LogValue() slog.Value {
	lines := make([]string, len(ps))
	for i, p := range ps {
		p.Source = ""
		lines[i] = p.String()
	}
	return slog.StringValue(strings.Join(lines, "\n"))
}

// sorted returns the problems in the order of the file, each once.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(ps)
}
