package wire

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Projector copies the selected fields of messages of one type, in wire format. It is immutable and safe for concurrent
// use.
type Projector struct {
	fields map[protowire.Number]*projected // nil copies everything
	rivals bool                            // some are not selected, but may replace others
}

// projected is a field that is selected, or that is not but whose oneof has a selected member, which it may replace.
type projected struct {
	step
	dropped bool
	oneof   int        // its oneof plus one; 0 if none
	sub     *Projector // of messages; nil if they are copied whole
	entry   *Projector // of the entries of maps
}

// NewProjector compiles a projector of the selected fields of md, all of them if sel is nil.
func NewProjector(md protoreflect.MessageDescriptor, sel *Selection) (*Projector, error) {
	if err := checkSelection(md, sel); err != nil {
		return nil, err
	}
	if sel == nil {
		return new(Projector), nil
	}
	return newProjector(md, sel), nil
}

// newProjector returns nil if everything is selected.
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
		p.selected(md.Fields().ByName(f.Name), f.Sub)
	}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		s := newStep(fd)
		for _, n := range s.siblings {
			if other := p.fields[n]; other != nil && !other.dropped && p.fields[s.num] == nil {
				p.fields[s.num] = &projected{step: s, dropped: true, oneof: other.oneof}
				p.rivals = true
			}
		}
	}
	return p
}

// selected adds a selected field.
func (p *Projector) selected(fd protoreflect.FieldDescriptor, sub *Selection) {
	f := &projected{step: newStep(fd)}
	if len(f.siblings) > 0 {
		f.oneof = fd.ContainingOneof().Index() + 1
	}
	if child := selectable(fd); child != nil {
		f.sub = newProjector(child, sub)
	}
	if fd.IsMap() && f.sub != nil {
		f.entry = &Projector{fields: map[protowire.Number]*projected{
			1: {step: newStep(fd.MapKey())},
			2: {step: newStep(fd.MapValue()), sub: f.sub},
		}}
	}
	p.fields[fd.Number()] = f
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
	if p.fields == nil {
		return append(dst, msg...), nil
	}
	var replaced map[int]int
	if p.rivals {
		replaced = p.replaced(msg)
	}
	for at := 0; at < len(msg); {
		num, typ, n := protowire.ConsumeTag(msg[at:])
		if n < 0 || num > protowire.MaxValidNumber {
			return dst, errTruncated()
		}
		m := protowire.ConsumeFieldValue(num, typ, msg[at+n:])
		if m < 0 {
			return dst, errTruncated()
		}
		start, value := at, at+n
		at += n + m
		f := p.fields[num]
		if f == nil || f.dropped || f.oneof > 0 && start < replaced[f.oneof] {
			continue
		}
		var err error
		if dst, err = f.append(dst, msg[start:value], msg[value:at], typ); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// replaced says for each oneof up to where in msg members that are not selected have replaced those that are. It stops
// at what is malformed.
func (p *Projector) replaced(msg []byte) map[int]int {
	var found map[int]int
	for at := 0; at < len(msg); {
		num, typ, n := protowire.ConsumeTag(msg[at:])
		if n < 0 {
			break
		}
		m := protowire.ConsumeFieldValue(num, typ, msg[at+n:])
		if m < 0 {
			break
		}
		if f := p.fields[num]; f != nil && f.dropped && typ == f.wire {
			if found == nil {
				found = map[int]int{}
			}
			found[f.oneof] = at
		}
		at += n + m
	}
	return found
}

// append copies a field, or what is selected of it.
func (f *projected) append(dst, tag, value []byte, typ protowire.Type) ([]byte, error) {
	within := f.sub
	if f.entry != nil {
		within = f.entry
	}
	if within == nil || typ != f.wire {
		return append(append(dst, tag...), value...), nil
	}
	v, n := f.value(value)
	if n < 0 {
		return dst, errTruncated()
	}
	inner, err := within.Append(nil, v.raw)
	if err != nil {
		return dst, err
	}
	dst = append(dst, tag...)
	if typ == bytesType {
		return protowire.AppendBytes(dst, inner), nil
	}
	return protowire.AppendTag(append(dst, inner...), f.num, protowire.EndGroupType), nil
}
