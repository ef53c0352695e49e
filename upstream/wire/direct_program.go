package wire

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// direct is what renders messages of a program without an index of all their fields. Usually the members are written in
// the order in which encoders write the fields; anyOrder says that the fields have to be located first.
type direct struct {
	members  []member // in the order of the output, then those that are not selected but matter
	first    *member
	byNumber []*member // nil for fields that do not matter
	far      map[uint64]*member
	anyOrder bool
}

// member is a field of a message that is rendered directly.
type member struct {
	value
	name  [nameRoom]byte // a comma, the name and a colon
	size  int            // of the name, also where it does not fit
	tag   uint64
	place int     // in the output, from 1; 0 if the field is not selected
	next  *member // in the output
	omit  bool    // zeros, and lists and maps of nothing, are left out
	list  bool    // a list or a map
	rare  bool    // neither a string, a message nor a varint, or with a long name
	oneof uint64  // a bit for its oneof
	o     *output
}

// nameRoom is how long the name of a member may be, with its quotes, comma and colon, to be copied as one piece.
const nameRoom = 32

// value is how the values of a field are written; those of maps have one of their own.
type value struct {
	op     op
	zigzag bool
	f      *field
	sub    *program // of messages
	values *value   // of maps
}

// op is a way to write a value.
type op uint8

const (
	opScalar op = iota // scalars of the rarer kinds
	opInt
	opUint
	opQuotedInt
	opQuotedUint
	opBool
	opEnum
	opDouble
	opText
	opBytes
	opTimestamp
	opMessage
	opKnown // the other types with a form of their own
	opMap
)

// direct compiles what renders prog directly, the outputs of which are complete. It is nil where that cannot be done:
// for types with a form of their own, for messages with groups or extensions, and if a field is to be written twice.
func (p *programs) direct(prog *program) *direct {
	l := prog.l
	if l.special != notSpecial || prog.whole && l.extensible || prog.slots != len(prog.outputs) || l.md.Oneofs().Len() > 64 {
		return nil
	}
	d := &direct{members: make([]member, 0, len(l.fields)+1), byNumber: make([]*member, len(prog.dense))}
	lastPlain, firstOneof := protowire.Number(0), protowire.MaxValidNumber
	for i := range prog.outputs {
		o := &prog.outputs[i]
		if o.f.wire == protowire.StartGroupType {
			return nil
		}
		m := p.member(o.f, o.sub)
		m.o, m.place, m.size = o, i+1, len(o.next)
		m.omit = !o.f.presence && o.zero == nil
		copy(m.name[:], o.next)
		m.rare = m.size > nameRoom || m.op == opBytes || m.zigzag || m.op < opText && o.f.wire != protowire.VarintType
		d.add(m)
		d.anyOrder = d.anyOrder || o.zero != nil || i > 0 && prog.outputs[i-1].f.num > o.f.num
		if m.oneof != 0 {
			firstOneof = min(firstOneof, o.f.num)
		} else {
			lastPlain = max(lastPlain, o.f.num)
		}
	}
	// Some encoders write the members of oneofs after all other fields, some in the order of the numbers.
	d.anyOrder = d.anyOrder || firstOneof < lastPlain
	d.members = append(d.members, member{tag: math.MaxUint64, place: math.MaxInt}) // nothing comes after the last one
	for i := range prog.outputs {
		d.members[i].next = &d.members[i+1]
	}
	d.first = &d.members[0]
	for i := range l.fields {
		f := &l.fields[i]
		if look := prog.lookup(f.num); look != nil && look.f != nil && look.slot < 0 {
			d.add(p.member(f, nil))
		}
	}
	return d
}

func (d *direct) add(m member) {
	d.members = append(d.members, m)
	added := &d.members[len(d.members)-1]
	if n := int(m.f.num); n < len(d.byNumber) {
		d.byNumber[n] = added
		return
	}
	if d.far == nil {
		d.far = map[uint64]*member{}
	}
	d.far[uint64(m.f.num)] = added
}

// find returns the member with a number; nil if the field does not matter.
func (d *direct) find(num uint64) *member {
	if num < uint64(len(d.byNumber)) {
		return d.byNumber[num]
	}
	return d.far[num]
}

func (p *programs) member(f *field, sub *program) member {
	m := member{value: p.value(f, sub), tag: f.tag, list: f.list || f.isMap}
	if len(f.siblings) > 0 {
		m.oneof = 1 << (f.oneof - 1)
	}
	return m
}

func (p *programs) value(f *field, sub *program) value {
	v := value{op: p.op(f), f: f, sub: sub}
	v.zigzag = f.kind == protoreflect.Sint32Kind || f.kind == protoreflect.Sint64Kind
	if f.isMap {
		values := p.value(f.val, sub)
		v.values = &values
	}
	return v
}

// op says how the values of a field are written.
func (p *programs) op(f *field) op {
	switch {
	case f.isMap:
		return opMap
	case f.msg != nil && f.msg.special == notSpecial:
		return opMessage
	case f.msg != nil && f.msg.special == specialTimestamp:
		return opTimestamp
	case f.msg != nil:
		return opKnown
	}
	switch f.kind {
	case protoreflect.StringKind:
		return opText
	case protoreflect.BytesKind:
		return opBytes
	case protoreflect.BoolKind:
		return opBool
	case protoreflect.DoubleKind:
		return opDouble
	case protoreflect.FloatKind:
		return opScalar
	case protoreflect.EnumKind:
		if p.o.NumericEnums || f.enum.isNull {
			return opScalar
		}
		return opEnum
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return opUint
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		if p.o.NumericInt64 {
			return opUint
		}
		return opQuotedUint
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		if p.o.NumericInt64 {
			return opInt
		}
		return opQuotedInt
	default:
		return opInt
	}
}
