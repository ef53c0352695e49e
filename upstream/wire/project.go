package wire

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Projector copies the selected fields of messages of one type, in wire format. It is immutable and safe for concurrent
// use.
type Projector struct {
	fields map[protowire.Number]*projected
}

// projected is a selected field; sub is nil if it is copied whole.
type projected struct {
	step
	isMap bool
	sub   *Projector
}

// NewProjector compiles a projector.
func NewProjector(md protoreflect.MessageDescriptor, sel *Selection) (*Projector, error) {
	if err := checkSelection(md, sel); err != nil {
		return nil, err
	}
	return newProjector(md, sel), nil
}

func newProjector(md protoreflect.MessageDescriptor, sel *Selection) *Projector {
	if sel == nil {
		return nil
	}
	p := &Projector{fields: map[protowire.Number]*projected{}}
	merged := new(Selection)
	for _, f := range sel.Fields {
		add(merged, f.Name, cloneSelection(f.Sub))
	}
	for _, f := range merged.Fields {
		fd := md.Fields().ByName(f.Name)
		field := &projected{step: newStep(fd), isMap: fd.IsMap()}
		if child := selectable(fd); child != nil {
			field.sub = newProjector(child, f.Sub)
		}
		p.fields[fd.Number()] = field
	}
	return p
}

// cloneSelection copies a selection, so that merging does not change the caller's.
func cloneSelection(s *Selection) *Selection {
	if s == nil {
		return nil
	}
	out := &Selection{Fields: make([]Selected, len(s.Fields))}
	for i, f := range s.Fields {
		out.Fields[i] = Selected{Name: f.Name, As: f.As, Sub: cloneSelection(f.Sub)}
	}
	return out
}

// Append appends the selected fields of msg to dst, in the order in which they stand there. A malformed message is an
// error that wraps [ErrInvalid].
func (p *Projector) Append(dst, msg []byte) ([]byte, error) {
	if p == nil {
		return append(dst, msg...), nil
	}
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return dst, errTruncated()
		}
		m := protowire.ConsumeFieldValue(num, typ, msg[n:])
		if m < 0 {
			return dst, errTruncated()
		}
		if f := p.fields[num]; f != nil {
			var err error
			if dst, err = f.append(dst, msg[:n], msg[n:n+m], typ); err != nil {
				return dst, err
			}
		}
		msg = msg[n+m:]
	}
	return dst, nil
}

func (f *projected) append(dst, tag, value []byte, typ protowire.Type) ([]byte, error) {
	if f.sub == nil || typ != f.wire {
		return append(append(dst, tag...), value...), nil
	}
	v, n := f.value(value)
	if n < 0 {
		return dst, errTruncated()
	}
	if f.isMap {
		return f.appendEntry(append(dst, tag...), v.raw)
	}
	inner, err := f.sub.Append(nil, v.raw)
	if err != nil {
		return dst, err
	}
	dst = append(dst, tag...)
	if typ == bytesType {
		return protowire.AppendBytes(dst, inner), nil
	}
	return protowire.AppendTag(append(dst, inner...), f.num, protowire.EndGroupType), nil
}

// appendEntry copies a map entry with the projection of its value.
func (f *projected) appendEntry(dst, entry []byte) ([]byte, error) {
	value := &projected{step: newStep(f.fd.MapValue()), sub: f.sub}
	p := Projector{fields: map[protowire.Number]*projected{1: {step: newStep(f.fd.MapKey())}, 2: value}}
	inner, err := p.Append(nil, entry)
	if err != nil {
		return dst, err
	}
	return protowire.AppendBytes(dst, inner), nil
}
