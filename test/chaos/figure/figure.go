// Package figure holds what scenarios have measured against the marks that they were to reach.
package figure

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Figure is one measured value.
type Figure struct {
	Name  string
	Value float64
	Unit  string // "" for counts
	Mark  Mark
	// Timed says that the value is a time, or hangs on one: on a machine that is busy
	// otherwise it says little.
	Timed bool
}

// Mark is what a value should be. Its zero value is exactly 0.
type Mark struct {
	sign  string // "" for exactly
	bound float64
}

// Zero is met by 0 alone.
func Zero() Mark { return Mark{} }

// Most is met by values up to the bound.
func Most(bound float64) Mark { return Mark{sign: "<=", bound: bound} }

// Least is met by values from the bound on.
func Least(bound float64) Mark { return Mark{sign: ">=", bound: bound} }

// Count is a number of things.
func Count[N int | int64 | uint64](name string, n N, mark Mark) Figure {
	return Figure{Name: name, Value: float64(n), Mark: mark}
}

// Percent is a part of a whole; of nothing it is NaN, which reaches no mark.
func Percent[N int | int64 | uint64](name string, part, whole N, mark Mark) Figure {
	return Figure{Name: name, Value: 100 * float64(part) / float64(whole), Unit: "%", Mark: mark}
}

// Seconds is a time.
func Seconds(name string, d time.Duration, mark Mark) Figure {
	return Figure{Name: name, Value: d.Seconds(), Unit: "s", Mark: mark, Timed: true}
}

// Milliseconds is a time.
func Milliseconds(name string, d time.Duration, mark Mark) Figure {
	return Figure{Name: name, Value: float64(d) / float64(time.Millisecond), Unit: "ms", Mark: mark, Timed: true}
}

// Met says whether the value reaches its mark.
func (f Figure) Met() bool {
	switch f.Mark.sign {
	case "<=":
		return f.Value <= f.Mark.bound
	case ">=":
		return f.Value >= f.Mark.bound
	default:
		return f.Value == f.Mark.bound
	}
}

// String is the figure with its mark, such as "failed 0.02 % (<= 0.1)".
func (f Figure) String() string {
	text := strings.ReplaceAll(f.Name, "_", " ") + " " + number(f.rounded())
	if f.Unit != "" {
		text += " " + f.Unit
	}
	return text + " (" + f.Mark.String() + ")"
}

// String is the mark as a reader expects it.
func (m Mark) String() string { return strings.TrimSpace(m.sign + " " + number(m.bound)) }

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// rounded keeps three significant digits of what is no whole number: more than
// measurements repeat.
func (f Figure) rounded() float64 {
	if f.Value == math.Trunc(f.Value) {
		return f.Value
	}
	short, err := strconv.ParseFloat(strconv.FormatFloat(f.Value, 'g', 3, 64), 64)
	if err != nil {
		return f.Value
	}
	return short
}

// JSON encodes figures, a line each: [{"name": ..., "value": ..., "unit": ..., "mark": ...}].
// What is no number (a share of nothing) is encoded as null.
func JSON(figures []Figure) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out) // ends each value with a new line
	encoder.SetEscapeHTML(false)     // marks are full of < and >
	before := "[\n  "
	for _, f := range figures {
		out.WriteString(before)
		value := new(float64)
		if *value = f.rounded(); math.IsNaN(*value) || math.IsInf(*value, 0) {
			value = nil
		}
		err := encoder.Encode(struct {
			Name  string   `json:"name"`
			Value *float64 `json:"value"`
			Unit  string   `json:"unit"`
			Mark  string   `json:"mark"`
		}{f.Name, value, f.Unit, f.Mark.String()})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		out.Truncate(out.Len() - 1)
		before = ",\n  "
	}
	if len(figures) == 0 {
		out.WriteString("[")
	}
	out.WriteString("\n]\n")
	return out.Bytes(), nil
}
