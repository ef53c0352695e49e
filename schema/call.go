package schema

import (
	"context"
	"errors"

	"github.com/vektah/gqlparser/v2/ast"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/upstream"
	"github.com/portico-bff/portico/upstream/wire"
)

// call is a bound method: how its request is made and, for a batch, how its answer is taken apart.
type call struct {
	method  *upstream.Method
	request *request
	// batch is nil for a method that answers for one object.
	batch *batch
	pos   *ast.Position
}

// request makes the canonical request of a call; for a batch all of it but the keys.
type request struct {
	builder *wire.Builder
	steps   []step
	// template writes the steps' fields.
	template *wire.Template
	// usesParent reports that the request depends on the parent object.
	usesParent bool
}

// step sets one field of a request.
type step struct {
	slot *wire.Slot
	set  setter
	pos  *ast.Position
	// needed reports that without a value there is no request; it is so for the parts of a message key.
	needed bool
}

// setter assigns a value that it makes of those at hand. It reports false if there is no value to assign.
type setter func(to *wire.Target, in *inputs) (bool, error)

// inputs are the values that a request can be made of. They serve one goroutine.
type inputs struct {
	ctx    context.Context //nolint:containedctx // lives for one call of a setter
	lookup func(ctx context.Context, path string) (string, bool)
	args   map[string]any
	parent []byte
	// json is scratch memory of setters, and arena holds the keys that are made for parents.
	json, arena []byte
}

// errMissing ends a request that lacks a value which is needed.
var errMissing = errors.New("a value is missing")

// build appends the request to dst. It reports false if a value is missing that is needed.
func (r *request) build(dst []byte, in *inputs) ([]byte, bool, error) {
	if len(r.steps) == 0 {
		return dst, true, nil
	}
	dst, err := r.template.Append(dst, func(i int, to *wire.Target) error {
		s := &r.steps[i]
		has, err := s.set(to, in)
		if err == nil && !has && s.needed {
			return errMissing
		}
		return err
	})
	if errors.Is(err, errMissing) {
		return dst, false, nil
	}
	return dst, err == nil, err
}

// batch is how one call answers for many keys.
type batch struct {
	// rows describes the batch for the row cache; rows.Into is the request field that takes the keys.
	rows *upstream.Rows
	// keys yields the keys of one parent: none, one, or, if fan is set, any number.
	keys func(in *inputs, yield func(key []byte)) error
	fan  bool
	// results reads the rows of the answer; entry the key and the value of a map's.
	results reading
	entry   *wire.Table
	// match appends the key of the row that is the inputs' parent; nil if rows are matched by position, or by map key if
	// entry is set.
	match func(dst []byte, in *inputs) (key []byte, ok bool)
	// many reports that there may be many rows for a key, all of which make up the list.
	many bool
	// uncached keeps the rows out of the row cache, which knows the method and the keys but not the path of the results.
	uncached bool
	max      int
	// signature tells batches apart that must not share a call.
	signature string
}

// plural reports that a parent's value is a list of rows. A nil batch has one answer for each parent.
func (b *batch) plural() bool { return b != nil && (b.many || b.fan) }

// rowMessage is the message type of a batch's rows.
func rowMessage(results protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if results.IsMap() {
		return results.MapValue().Message()
	}
	return results.Message()
}

// reading reads one field by its path: a table for each message on the way, of one field each.
type reading []*wire.Table

func newReading(path []protoreflect.FieldDescriptor) reading {
	r := make(reading, len(path))
	for i, fd := range path {
		r[i] = wire.NewTable(fd.ContainingMessage(), []protoreflect.FieldDescriptor{fd})
	}
	return r
}

// read returns the last field and the message that holds it; a nil holder if a message on the way is not there. The
// reading must not be empty.
func (r reading) read(msg []byte) (holder []byte, last wire.Span, err error) {
	var slots [1]wire.Span
	for i, t := range r {
		if err := t.Scan(msg, slots[:]); err != nil {
			return nil, wire.Span{}, err
		}
		if i == len(r)-1 {
			break
		}
		if !slots[0].Present() {
			return nil, wire.Span{}, nil
		}
		value := slots[0].Value()
		msg = value.Raw()
	}
	if msg == nil {
		msg = []byte{}
	}
	return msg, slots[0], nil
}
