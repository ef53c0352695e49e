package schema

import (
	"errors"
	"fmt"

	"github.com/vektah/gqlparser/v2/ast"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/upstream/wire"
)

// renderer writes the data of an execution as JSON, once: where null propagates, what was written of the ancestor is
// cut off again.
type renderer struct {
	e    *execution
	buf  []byte
	path ast.Path
	errs []*Error
	// spans are scratch space for each depth of objects.
	spans [][]wire.Span
	depth int
}

// outcome is what became of a value.
type outcome int

const (
	written outcome = iota
	// isNull is a null that is no error where null is allowed.
	isNull
	// failed is a null whose error has been noted.
	failed
)

// maxGuess bounds the buffer that a response starts with.
const maxGuess = 1 << 20

func newRenderer(e *execution) *renderer {
	n := int(e.received.Load())
	return &renderer{e: e, buf: make([]byte, 0, min(512+n+n/4, maxGuess))}
}

// response renders the root. before runs ahead of each root field; it is nil if everything is there already.
func (r *renderer) response(before func(i int)) *Response {
	root := &r.e.root
	r.buf = append(r.buf, '{')
	for i, f := range root.sel.fields {
		if before != nil {
			before(i)
		}
		if !r.field(root, f, nil, i == 0) {
			r.buf = append(r.buf[:0], "null"...)
			return &Response{Data: r.buf, Errors: r.errs}
		}
	}
	r.buf = append(r.buf, '}')
	return &Response{Data: r.buf, Errors: r.errs}
}

// object writes an object. It reports failed if a field that must not be null is.
func (r *renderer) object(in *instance) outcome {
	s := in.sel
	if in.err != nil {
		return r.fail(nil, in.err)
	}
	if r.depth == len(r.spans) {
		r.spans = append(r.spans, nil)
	}
	if n := s.table.Len(); cap(r.spans[r.depth]) < n {
		r.spans[r.depth] = make([]wire.Span, n)
	}
	spans := r.spans[r.depth][:s.table.Len()]
	if err := s.table.Scan(in.msg, spans); err != nil {
		return r.fail(nil, &malformedError{err})
	}
	r.depth++
	defer func() { r.depth-- }()
	r.buf = append(r.buf, '{')
	for i, f := range s.fields {
		if !r.field(in, f, spans, i == 0) {
			return failed
		}
	}
	r.buf = append(r.buf, '}')
	return written
}

// field writes a field with its key. It reports false if the field is null and must not be.
func (r *renderer) field(in *instance, f *selected, spans []wire.Span, first bool) bool {
	if !first {
		r.buf = append(r.buf, ',')
	}
	r.buf = append(r.buf, f.key...)
	r.path = append(r.path, f.name)
	ok := true
	switch {
	case f.typename != nil:
		r.buf = append(r.buf, f.typename...)
	case f.meta != nil:
		mark := len(r.buf)
		ok = r.complete(f, f.meta.typ, mark, r.meta(f.meta))
	default:
		mark := len(r.buf)
		ok = r.complete(f, f.field.out.typ, mark, r.value(in, f, spans))
	}
	r.path = r.path[:len(r.path)-1]
	return ok
}

// complete settles what becomes of a value: it writes null where that is allowed, and reports false where it is not.
func (r *renderer) complete(f *selected, typ *ast.Type, mark int, o outcome) bool {
	if o == written {
		return true
	}
	r.buf = r.buf[:mark]
	if !typ.NonNull {
		r.buf = append(r.buf, "null"...)
		return true
	}
	if o == isNull {
		r.fail(f, errNull)
	}
	return false
}

// errNull is the cause of errors about a null that must not be.
var errNull = errors.New("null in a field that is never null")

// value writes a field's value.
func (r *renderer) value(in *instance, f *selected, spans []wire.Span) outcome {
	out := f.field.out
	switch {
	case f.join >= 0:
		return r.joined(in, f)
	case f.kid >= 0:
		return r.objects(f, in.kids[f.kid], f.slot >= 0 && spans[f.slot].Present())
	case f.slot < 0:
		return r.whole(f, out, in.msg)
	}
	holder, span := in.msg, &spans[f.slot]
	if len(f.rest) > 0 {
		if !span.Present() {
			return isNull
		}
		value := span.Value()
		h, last, err := f.rest.read(value.Raw())
		if err != nil {
			return r.fail(f, &malformedError{err})
		}
		if h == nil {
			return isNull
		}
		holder, span = h, &last
	}
	return r.read(f, out, holder, span)
}

// joined writes a field whose value was fetched.
func (r *renderer) joined(in *instance, f *selected) outcome {
	res := in.joins[f.join]
	switch {
	case res == nil:
		return isNull
	case res.err != nil:
		return r.fail(f, res.err)
	}
	out := f.field.out
	if f.composite() != nil {
		if out.elem == nil && len(res.objects) == 0 {
			return isNull
		}
		return r.objects(f, res.objects, true)
	}
	if !f.field.call.batch.plural() {
		if len(res.rows) == 0 {
			return isNull
		}
		return r.row(f, out, res.rows[0])
	}
	if len(res.rows) == 0 && out.nullIfEmpty {
		return isNull
	}
	r.buf = append(r.buf, '[')
	for i, row := range res.rows {
		mark := r.element(i)
		o := isNull
		if row != nil {
			o = r.row(f, out.elem, row)
		}
		if !r.settle(f, out.elem, mark, o) {
			return failed
		}
	}
	r.buf = append(r.buf, ']')
	return written
}

// row writes a value that is no object out of a fetched message.
func (r *renderer) row(f *selected, out *output, row []byte) outcome {
	if len(f.rest) == 0 {
		return r.whole(f, out, row)
	}
	holder, span, err := f.rest.read(row)
	switch {
	case err != nil:
		return r.fail(f, &malformedError{err})
	case holder == nil:
		return isNull
	}
	return r.read(f, out, holder, &span)
}

// whole writes a value that is a message itself.
func (r *renderer) whole(f *selected, out *output, msg []byte) outcome {
	if out.comp != nil {
		return r.message(f, out.comp, msg)
	}
	buf, null, err := out.message(r.buf, msg)
	if err != nil {
		return r.fail(f, &unfitError{err})
	}
	if null {
		return isNull
	}
	r.buf = buf
	return written
}

// read writes the value of a message field.
func (r *renderer) read(f *selected, out *output, holder []byte, span *wire.Span) outcome {
	switch {
	case out.whole != nil:
		return r.json(f, out, holder)
	case out.elem != nil:
		return r.spread(f, out, span)
	case !span.Present() && (out.absent || out.comp != nil):
		return isNull
	case out.comp != nil:
		value := span.Value()
		return r.message(f, out.comp, value.Raw())
	default:
		return r.leaf(f, out, span.Value())
	}
}

// spread writes the elements of a repeated field.
func (r *renderer) spread(f *selected, out *output, span *wire.Span) outcome {
	r.buf = append(r.buf, '[')
	n, ok := 0, true
	span.Each(func(v wire.Value) bool {
		mark := r.element(n)
		var o outcome
		if out.elem.comp != nil {
			o = r.message(f, out.elem.comp, v.Raw())
		} else {
			o = r.leaf(f, out.elem, v)
		}
		ok = r.settle(f, out.elem, mark, o)
		n++
		return ok
	})
	switch {
	case !ok:
		return failed
	case n == 0 && out.nullIfEmpty:
		return isNull
	}
	r.buf = append(r.buf, ']')
	return written
}

// element begins an element of a list and returns where it begins; settle must follow.
func (r *renderer) element(i int) (mark int) {
	if i > 0 {
		r.buf = append(r.buf, ',')
	}
	r.path = append(r.path, ast.PathIndex(i))
	return len(r.buf)
}

// settle ends an element. It reports false if it is null and must not be.
func (r *renderer) settle(f *selected, elem *output, mark int, o outcome) bool {
	ok := r.complete(f, elem.typ, mark, o)
	r.path = r.path[:len(r.path)-1]
	return ok
}

// objects writes a composite field whose instances are there.
func (r *renderer) objects(f *selected, list []instance, present bool) outcome {
	if f.field.out.elem == nil {
		if !present || len(list) == 0 || list[0].sel == nil {
			return isNull
		}
		return r.object(&list[0])
	}
	out := f.field.out
	if len(list) == 0 && out.nullIfEmpty {
		return isNull
	}
	r.buf = append(r.buf, '[')
	for i := range list {
		mark := r.element(i)
		o := isNull
		if list[i].sel != nil {
			o = r.object(&list[i])
		}
		if !r.settle(f, out.elem, mark, o) {
			return failed
		}
	}
	r.buf = append(r.buf, ']')
	return written
}

// message writes an object that no joins start from, straight from its message.
func (r *renderer) message(f *selected, comp *composite, msg []byte) outcome {
	at, msg, err := comp.choose(msg)
	switch {
	case err != nil:
		return r.fail(f, &malformedError{err})
	case at < 0:
		return isNull
	}
	in := instance{sel: f.selections[at], msg: msg}
	return r.object(&in)
}

// leaf writes a scalar or an enum value.
func (r *renderer) leaf(f *selected, out *output, v wire.Value) outcome {
	if out.nullIfEmpty && isEmpty(v) {
		return isNull
	}
	buf, null, err := out.leaf(r.buf, v)
	if err != nil {
		return r.fail(f, &unfitError{err})
	}
	if null {
		return isNull
	}
	r.buf = buf
	return written
}

// isEmpty reports whether a scalar is zero, false or empty.
func isEmpty(v wire.Value) bool {
	if !v.IsValid() {
		return true
	}
	switch classify(v.Field()) {
	case classString, classBytes:
		return len(v.Raw()) == 0
	default:
		return v.Field().Message() == nil && v.Bits() == 0
	}
}

// json writes a repeated field or a map as one JSON value.
func (r *renderer) json(f *selected, out *output, holder []byte) outcome {
	mark := len(r.buf)
	buf, err := out.whole.Append(r.buf, holder)
	if err != nil {
		return r.fail(f, &unfitError{err})
	}
	if len(buf)-mark == len("{}") {
		if out.nullIfEmpty {
			return isNull
		}
		r.buf = append(r.buf, out.empty...)
		return written
	}
	// The value stands in an object with the one key wholeKey.
	const before, after = len(`{"` + wholeKey + `":`), len(`}`)
	n := copy(buf[mark:], buf[mark+before:len(buf)-after])
	r.buf = buf[:mark+n]
	return written
}

// unfitError says that an answer's value does not fit the type of its field.
type unfitError struct{ err error }

func (u *unfitError) Error() string { return u.err.Error() }
func (u *unfitError) Unwrap() error { return u.err }

// fail notes an error at the present path. What is wrong by our own account gets a cause with its code and its blame; what
// the Caller returned is the cause as it is.
func (r *renderer) fail(f *selected, err error) outcome {
	e := &Error{Path: append(ast.Path(nil), r.path...)}
	if f != nil {
		e.Locations = f.locations
	}
	var (
		input *argumentError
		bad   *malformedError
		unfit *unfitError
	)
	answered := fault.WithBlame(fault.Upstream)
	switch {
	case errors.Is(err, errNull):
		e.Message = "null where a value is needed"
		if f != nil && f.field != nil {
			e.Message = fmt.Sprintf("%s.%s must not be null, but there is no value", f.field.owner.def.Name, f.field.def.Name)
		}
		e.Cause = fault.New(codes.Internal, e.Message, answered)
	case errors.As(err, &input):
		e.Message = input.Error()
		e.Cause = fault.New(codes.InvalidArgument, e.Message, fault.WithCause(err))
	case errors.As(err, &bad):
		e.Message = "the answer of a service is malformed"
		e.Cause = fault.New(codes.Internal, e.Message, fault.WithCause(err), answered)
	case errors.As(err, &unfit):
		e.Message = "the value does not fit its type"
		if f != nil && f.field != nil {
			e.Message = "the value does not fit " + f.field.out.typ.Name()
		}
		e.Cause = fault.New(codes.Internal, e.Message, fault.WithCause(err), answered)
	case errors.Is(err, errPanic):
		e.Message = "internal error"
		e.Cause = fault.New(codes.Internal, e.Message, fault.WithCause(err))
	default:
		e.Message = "the service answered with " + status.Code(err).String()
		e.Cause = err
	}
	r.errs = append(r.errs, e)
	return failed
}
