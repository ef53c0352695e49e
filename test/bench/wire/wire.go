// Package wire measures Portico's way between wire format and JSON against the Protobuf runtime with generated code.
package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portico-bff/portico/upstream/wire"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/test/bench/report"
	"github.com/portico-bff/portico/test/bench/sample"
	"github.com/portico-bff/portico/test/bench/stat"
)

// Options is how much to measure.
type Options struct {
	// Rounds is how often everything is measured, and Time how long at a time.
	Rounds int
	Time   time.Duration
	// Progress takes a line for each measurement.
	Progress io.Writer
}

// cost is what one operation costs.
type cost struct {
	ns     float64
	allocs int64
}

// subject is something to measure. It is called again and again, always from one goroutine.
type subject struct {
	name string
	run  func() error
}

// Run measures everything in interleaved rounds. Nothing else should be running.
func Run(ctx context.Context, o Options) (report.Result, error) {
	testing.Init()
	if err := flag.Set("test.benchtime", o.Time.String()); err != nil {
		return report.Result{}, err
	}
	subjects, err := subjects()
	if err != nil {
		return report.Result{}, err
	}
	measured := map[string][]cost{}
	for round := range o.Rounds {
		for _, s := range subjects {
			if err := ctx.Err(); err != nil {
				return report.Result{}, err
			}
			c, err := measure(s)
			if err != nil {
				return report.Result{}, fmt.Errorf("%s: %w", s.name, err)
			}
			measured[s.name] = append(measured[s.name], c)
			_, _ = fmt.Fprintf(o.Progress, "wire %d/%d  %-22s %10.0f ns/op %6d allocs/op\n", round+1, o.Rounds, s.name, c.ns, c.allocs)
		}
	}
	return report.Result{Rows: rows(measured), Details: details(subjects, measured)}, nil
}

// times are the nanoseconds of an operation, by round.
func times(costs []cost) []float64 {
	var all []float64
	for _, c := range costs {
		all = append(all, c.ns)
	}
	return all
}

// details is a table of medians.
func details(subjects []subject, measured map[string][]cost) string {
	var b strings.Builder
	for _, s := range subjects {
		costs := measured[s.name]
		fmt.Fprintf(&b, "%-22s %10.0f ns/op %6d allocs/op\n", s.name, stat.Median(times(costs)), costs[0].allocs)
	}
	return b.String()
}

// rows compares what was measured with its marks.
func rows(measured map[string][]cost) []report.Row {
	ns := func(name string) []float64 { return times(measured[name]) }
	allocs := func(name string) float64 {
		most := int64(0)
		for _, c := range measured[name] {
			most = max(most, c.allocs)
		}
		return float64(most)
	}
	ratio := func(a, b string) float64 { return stat.Ratio(ns(a), ns(b)) }
	return []report.Row{
		{Name: "wire.render.order.speedup", Value: ratio(runtimeOrder, ourOrder), Unit: "x", Mark: report.AtLeast(8)},
		{Name: "wire.render.page.speedup", Value: ratio(runtimePage, ourPage), Unit: "x", Mark: report.AtLeast(7).Stretch(12)},
		{Name: "wire.render.five.speedup", Value: ratio(runtimeOrder, ourFive), Unit: "x", Mark: report.AtLeast(50)},
		{Name: "wire.render.order.allocs", Value: allocs(ourOrder), Unit: "allocs/op", Mark: report.Exactly(0)},
		{Name: "wire.render.order.vs_unmarshal", Value: ratio(ourOrder, unmarshalOrder), Unit: "x", Mark: report.AtMost(0.5)},
		{Name: "wire.parse.speedup", Value: ratio(runtimeParse, ourParse), Unit: "x", Mark: report.AtLeast(7)},
		{Name: "wire.parse.allocs", Value: allocs(ourParse), Unit: "allocs/op", Mark: report.AtMost(2)},
	}
}

// measure runs a subject as a Go benchmark.
func measure(s subject) (cost, error) {
	var failure error
	r := testing.Benchmark(func(b *testing.B) { //nolint:thelper // this is the benchmark itself
		b.ReportAllocs()
		for b.Loop() {
			if err := s.run(); err != nil {
				failure = err
				b.FailNow()
			}
		}
	})
	if failure == nil && r.N == 0 {
		failure = errors.New("nothing was measured")
	}
	if failure != nil {
		return cost{}, failure
	}
	return cost{ns: float64(r.T.Nanoseconds()) / float64(r.N), allocs: r.AllocsPerOp()}, nil
}

// What is measured: ours, and the Protobuf runtime's with generated code.
const (
	ourOrder       = "render order"
	ourPage        = "render page"
	ourFive        = "render five"
	ourParse       = "parse order"
	runtimeOrder   = "protojson order"
	runtimePage    = "protojson page"
	unmarshalOrder = "unmarshal order"
	runtimeParse   = "protojson parse order"
)

// subjects prepares everything that is measured, and checks that both ways lead to the same.
func subjects() ([]subject, error) {
	order, page := proto.Message(sample.Order(7)), proto.Message(sample.Page())
	orderWire, err := proto.MarshalOptions{Deterministic: true}.Marshal(order)
	if err != nil {
		return nil, err
	}
	pageWire, err := proto.MarshalOptions{Deterministic: true}.Marshal(page)
	if err != nil {
		return nil, err
	}
	text, err := protojson.Marshal(order)
	if err != nil {
		return nil, err
	}
	renderOrder, err := ours(order, "", orderWire)
	if err != nil {
		return nil, err
	}
	renderPage, err := ours(page, "", pageWire)
	if err != nil {
		return nil, err
	}
	renderFive, err := ours(order, sample.Five, orderWire)
	if err != nil {
		return nil, err
	}
	parse, err := ourParser(order, text, orderWire)
	if err != nil {
		return nil, err
	}
	return []subject{
		{ourOrder, renderOrder},
		{runtimeOrder, theirs(order, orderWire)},
		{ourFive, renderFive},
		{unmarshalOrder, func() error {
			return proto.Unmarshal(orderWire, order.ProtoReflect().New().Interface())
		}},
		{ourPage, renderPage},
		{runtimePage, theirs(page, pageWire)},
		{ourParse, parse},
		{runtimeParse, func() error {
			into := order.ProtoReflect().New().Interface()
			if err := protojson.Unmarshal(text, into); err != nil {
				return err
			}
			_, err := proto.Marshal(into)
			return err
		}},
	}, nil
}

// theirs goes from wire format to JSON as gateways with generated code do.
func theirs(m proto.Message, msg []byte) func() error {
	return func() error {
		into := m.ProtoReflect().New().Interface()
		if err := proto.Unmarshal(msg, into); err != nil {
			return err
		}
		_, err := protojson.Marshal(into)
		return err
	}
}

// ours goes from wire format to JSON as Portico does, into a buffer that is used again.
func ours(m proto.Message, fields string, msg []byte) (func() error, error) {
	md := m.ProtoReflect().Descriptor()
	var selection *wire.Selection
	if fields != "" {
		var err error
		if selection, err = wire.ParseFields(md, fields); err != nil {
			return nil, err
		}
	}
	renderer, err := wire.NewRenderer(md, selection, wire.RenderOptions{})
	if err != nil {
		return nil, err
	}
	text, err := renderer.Append(nil, msg)
	if err != nil {
		return nil, err
	}
	if fields == "" {
		if err := sameJSON(m, text); err != nil {
			return nil, err
		}
	}
	buffer := slices.Grow([]byte(nil), 2*len(text))
	return func() error {
		_, err := renderer.Append(buffer[:0], msg)
		return err
	}, nil
}

// ourParser goes from JSON to wire format as Portico does, into a buffer that is used again.
func ourParser(m proto.Message, text, msg []byte) (func() error, error) {
	parser, err := wire.NewParser(m.ProtoReflect().Descriptor(), wire.ParseOptions{})
	if err != nil {
		return nil, err
	}
	got, err := parser.Append(nil, text)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(got, msg) {
		return nil, errors.New("the JSON of an order is not parsed to the order")
	}
	buffer := slices.Grow([]byte(nil), 2*len(got))
	return func() error {
		_, err := parser.Append(buffer[:0], text)
		return err
	}, nil
}

// sameJSON reports an error unless the text means the message.
func sameJSON(m proto.Message, text []byte) error {
	if !json.Valid(text) {
		return errors.New("what was rendered is not JSON")
	}
	back := m.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal(text, back); err != nil {
		return err
	}
	if !proto.Equal(m, back) {
		return errors.New("what was rendered is not the message")
	}
	return nil
}
