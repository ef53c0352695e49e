// Package report holds the outcome of benchmarks against marks that were set beforehand, and writes it as a table and
// as JSON.
package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
)

// Row is one figure.
type Row struct {
	// Name says what was measured.
	Name string
	// Value is the figure, in Unit: "x" for a ratio.
	Value float64
	Unit  string
	// Mark is what the figure should reach.
	Mark Mark
}

// Mark is a bound of a figure. The zero value is no bound.
type Mark struct {
	relation string
	bound    float64
	stretch  float64
}

// AtLeast is met by figures of the bound or more.
func AtLeast(bound float64) Mark { return Mark{relation: ">=", bound: bound} }

// AtMost is met by figures of the bound or less.
func AtMost(bound float64) Mark { return Mark{relation: "<=", bound: bound} }

// Exactly is met by one figure.
func Exactly(bound float64) Mark { return Mark{relation: "==", bound: bound} }

// Stretch adds a goal beyond the bound. It is told, and not enforced.
func (m Mark) Stretch(goal float64) Mark {
	m.stretch = goal
	return m
}

// Met reports whether a figure reaches the mark. NaN, which is no figure, reaches none.
func (m Mark) Met(value float64) bool {
	switch m.relation {
	case ">=":
		return value >= m.bound
	case "<=":
		return value <= m.bound
	case "==":
		return value == m.bound
	}
	return !math.IsNaN(value)
}

// String is the mark as a reader expects it, such as ">= 7 (stretch 12)".
func (m Mark) String() string {
	text := ""
	switch m.relation {
	case "":
	case "==":
		text = number(m.bound)
	default:
		text = m.relation + " " + number(m.bound)
	}
	if m.stretch != 0 {
		text += " (stretch " + number(m.stretch) + ")"
	}
	return text
}

// number writes a figure without digits that say nothing.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// round keeps four significant digits, which is more than measurements repeat.
func round(v float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	if err != nil {
		return v
	}
	return rounded
}

// Short returns the rows that do not reach their marks.
func Short(rows []Row) []Row {
	var short []Row
	for _, r := range rows {
		if !r.Mark.Met(r.Value) {
			short = append(short, r)
		}
	}
	return short
}

// Table writes rows for people, each with whether it reaches its mark.
func Table(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "name\tvalue\tunit\tmark\t") // errors come back from Flush
	for _, r := range rows {
		state := "ok"
		if !r.Mark.Met(r.Value) {
			state = "short"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.Name, number(round(r.Value)), r.Unit, r.Mark, state)
	}
	return t.Flush()
}

// entry is a row in JSON.
type entry struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Mark  string  `json:"mark"`
}

// JSON encodes rows: [{"name": ..., "value": ..., "unit": ..., "mark": ...}], a line each.
func JSON(rows []Row) ([]byte, error) {
	text := []byte("[")
	for i, r := range rows {
		line, err := marshal(entry{r.Name, round(r.Value), r.Unit, r.Mark.String()})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Name, err)
		}
		if i > 0 {
			text = append(text, ',')
		}
		text = append(append(text, "\n  "...), line...)
	}
	return append(text, "\n]\n"...), nil
}

// marshal leaves < and > as they are: marks are full of them.
func marshal(e entry) ([]byte, error) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	err := enc.Encode(e)
	return bytes.TrimSpace(line.Bytes()), err
}

// Result is what a suite has measured.
type Result struct {
	// Rows are the figures that have marks.
	Rows []Row
	// Details is a table of the figures behind them.
	Details string
}

// Write writes a suite's result to a folder: SUITE.json has the rows, and SUITE.md the table for people, the details, and
// the setting that all of it was measured in.
func (r Result) Write(dir, suite, setting string) error {
	text, err := JSON(r.Rows)
	if err != nil {
		return err
	}
	var table bytes.Buffer
	if err := Table(&table, r.Rows); err != nil {
		return err
	}
	page := fmt.Sprintf("# %s\n\n%s\n\n```\n%s```\n\n```\n%s```\n", suite, setting, &table, r.Details)
	return errors.Join(replace(filepath.Join(dir, suite+".json"), text), replace(filepath.Join(dir, suite+".md"), []byte(page)))
}

// replace writes a file whole or not at all.
func replace(path string, text []byte) error {
	temp := path + ".new"
	if err := os.WriteFile(temp, text, 0o644); err != nil { //nolint:gosec // results are for everybody
		return err
	}
	return os.Rename(temp, path)
}
