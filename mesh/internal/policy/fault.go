package policy

import (
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"
	"google.golang.org/grpc/codes"
)

// Fault is what is done to calls on purpose, to see how callers bear it; its zero
// value is nothing.
type Fault struct {
	Delay        time.Duration
	DelayPercent float64 // of calls; 0 delays none
	Abort        codes.Code
	AbortPercent float64
}

// Mirror is where copies of calls go.
type Mirror struct {
	Subset  *Subset
	Percent float64 // of calls
}

// fault reads an entry's, in Istio's words.
func (r *reader) fault(n ast.Node, f *Fault) {
	some := false
	r.mapping(n, "fault",
		key{name: "delay", read: func(n ast.Node) {
			some, f.DelayPercent = true, 100
			r.mapping(n, "delay",
				key{name: "fixedDelay", must: true, read: func(n ast.Node) { r.duration(n, "fixedDelay", &f.Delay) }},
				key{name: "percentage", read: func(n ast.Node) { r.percentage(n, "percentage", &f.DelayPercent) }})
		}},
		key{name: "abort", read: func(n ast.Node) {
			some, f.AbortPercent = true, 100
			r.mapping(n, "abort",
				key{name: "grpcStatus", must: true, read: func(n ast.Node) { r.code(n, "grpcStatus", &f.Abort) }},
				key{name: "percentage", read: func(n ast.Node) { r.percentage(n, "percentage", &f.AbortPercent) }})
		}})
	if !some {
		r.fail(place(n), `fault: want "delay" or "abort"`)
	}
}

// mirror reads where copies go: a subset of the route's own host.
func (r *reader) mirror(n ast.Node) *Mirror {
	m := &Mirror{Percent: 100}
	r.ownDestination(n, "mirror", true, func(s *Subset) { m.Subset = s })
	return m
}

// percentage reads Istio's {value: 12.5}.
func (r *reader) percentage(n ast.Node, what string, to *float64) {
	r.mapping(n, what, key{name: "value", must: true, read: func(n ast.Node) { r.number(n, "value", 0, 100, to) }})
}

// code reads the name of a status that is an error, as gRPC writes it.
func (r *reader) code(n ast.Node, what string, to *codes.Code) {
	names := []string{
		"CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
		"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
	name, ok := r.word(n, what, names...)
	if !ok {
		return
	}
	if err := to.UnmarshalJSON([]byte(strconv.Quote(name))); err != nil {
		r.fail(place(n), "%s: %v", what, err)
	}
}
