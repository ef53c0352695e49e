package schema

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/core"
)

// Mistake is one thing that is wrong in SDL or in a stored operation.
type Mistake struct { //nolint:errname // what it is about has this name everywhere
	// File, Line and Column say where; lines and columns count from 1.
	File         string
	Line, Column int
	// What says what was found, such as `unknown type "Ordr"`.
	What string
	// Expected says what would be right; may be empty.
	Expected string
	// Nearest is the nearest known name; may be empty.
	Nearest string
}

// Error is "file:line:col: what, expected ..., did you mean ...?".
func (m *Mistake) Error() string {
	var b strings.Builder
	if m.File != "" || m.Line > 0 {
		fmt.Fprintf(&b, "%s:%d:%d: ", m.File, m.Line, m.Column)
	}
	b.WriteString(m.What)
	if m.Expected != "" {
		b.WriteString(", expected " + m.Expected)
	}
	if m.Nearest != "" {
		b.WriteString(", did you mean " + strconv.Quote(m.Nearest) + "?")
	}
	return b.String()
}

// Warning is something in the SDL that works but costs, such as one call per row.
type Warning struct {
	// File, Line and Column say where.
	File         string
	Line, Column int
	// Message says what.
	Message string
}

// String is "file:line:col: message".
func (w Warning) String() string {
	return fmt.Sprintf("%s:%d:%d: %s", w.File, w.Line, w.Column, w.Message)
}

// mistakes collects what is wrong, each thing once.
type mistakes struct {
	list []*Mistake
	seen map[Mistake]bool
}

// note is a mistake that has just been noted, to which more can be said.
type note struct{ m *Mistake }

// add notes a mistake at a position.
func (ms *mistakes) add(pos *ast.Position, format string, args ...any) note {
	m := &Mistake{What: fmt.Sprintf(format, args...)}
	m.File, m.Line, m.Column = place(pos)
	ms.list = append(ms.list, m)
	return note{m}
}

// place tells where a token begins. gqlparser's own column is that of a string's first character and of a directive's
// name; this one is that of the quote and of the @.
func place(pos *ast.Position) (file string, line, column int) {
	if pos == nil || pos.Src == nil {
		return "", 0, 0
	}
	line, column = 1, 1
	at, before := 0, rune(0)
	for _, r := range pos.Src.Input {
		if at == pos.Start {
			break
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
		before = r
		at++
	}
	if before == '@' {
		column--
	}
	return pos.Src.Name, line, column
}

// expect says what would be right.
func (n note) expect(format string, args ...any) note {
	n.m.Expected = fmt.Sprintf(format, args...)
	return n
}

// near sets the nearest of the known names, if one is near enough to be a slip.
func (n note) near(name string, known []string) note {
	if options := core.SuggestionList(name, known); len(options) > 0 {
		n.m.Nearest = options[0]
	}
	return n
}

// err joins the mistakes in order of their place; nil if there are none.
func (ms *mistakes) err() error {
	if len(ms.list) == 0 {
		return nil
	}
	slices.SortStableFunc(ms.list, func(a, b *Mistake) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	ms.seen = map[Mistake]bool{}
	var errs []error
	for _, m := range ms.list {
		if !ms.seen[*m] {
			ms.seen[*m] = true
			errs = append(errs, m)
		}
	}
	return errors.Join(errs...)
}
