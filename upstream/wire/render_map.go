package wire

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// mapEntry is one entry of a map.
type mapEntry struct {
	text  []byte // the key, if it is a string
	key   uint64 // otherwise the key's bits so that they sort right
	value []byte // nil if there is none on the wire
}

// mapping appends the entries of a map, which part holds, perhaps among others: sorted by key, of equal keys the last.
func (s *render) mapping(o *output, part []byte, depth int) error {
	if depth <= 0 {
		return errDepth()
	}
	f := o.f
	base := len(s.entries)
	for at := 0; at < len(part); {
		num, typ, n := protowire.ConsumeTag(part[at:])
		end, content, _ := valueEnd(part, at+n, num, typ)
		at = end
		if num != f.num || typ != f.wire {
			continue
		}
		e, err := s.entry(f, part[content:end])
		if err != nil {
			return err
		}
		s.entries = append(s.entries, e)
	}
	kept, err := s.sorted(f, s.entries[base:])
	if err != nil {
		return err
	}
	s.out = append(s.out, '{')
	for i := range kept {
		e := s.entries[base+i] // entries may move while messages in the map are rendered
		if i > 0 {
			s.out = append(s.out, ',')
		}
		if f.key.wire == bytesType {
			if err := s.text(f.key, e.text); err != nil {
				return err
			}
		} else {
			s.key(f.key.kind, sortable(f.key.kind, e.key))
		}
		s.out = append(s.out, ':')
		if err := s.element(o, f.val, e.value, depth-1); err != nil {
			return err
		}
	}
	s.out = append(s.out, '}')
	s.entries = s.entries[:base]
	return nil
}

// sorted sorts entries in place and drops all but the last of equal keys. It returns how many are left.
func (s *render) sorted(f *field, entries []mapEntry) (int, error) {
	compare := func(a, b mapEntry) int {
		if c := cmp.Compare(a.key, b.key); c != 0 {
			return c
		}
		return bytes.Compare(a.text, b.text)
	}
	sorted := true
	for i := 1; i < len(entries) && sorted; i++ {
		sorted = compare(entries[i-1], entries[i]) < 0
	}
	if sorted {
		return len(entries), nil
	}
	slices.SortStableFunc(entries, compare)
	n := 1
	for _, e := range entries[1:] {
		if compare(entries[n-1], e) != 0 {
			entries[n] = e
			n++
			continue
		}
		if err := s.passedOver(f.val, entries[n-1].value); err != nil {
			return 0, err
		}
		entries[n-1] = e
	}
	return n, nil
}

// passedOver checks a value that is not rendered because another one follows.
func (s *render) passedOver(f *field, value []byte) error {
	switch {
	case f.msg != nil:
		return s.valid(f.msg, value)
	case f.utf8 && !utf8.Valid(value):
		return errUTF8(f)
	}
	return nil
}

// key appends a map key that is no string.
func (s *render) key(k protoreflect.Kind, bits uint64) {
	s.out = append(s.out, '"')
	switch k {
	case protoreflect.BoolKind:
		s.out = strconv.AppendBool(s.out, bits != 0)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		s.out = strconv.AppendUint(s.out, bits, 10)
	default:
		s.out = strconv.AppendInt(s.out, int64(bits), 10)
	}
	s.out = append(s.out, '"')
}

// entry reads one entry of a map: of several keys or values the last one, but all pieces of a message.
func (s *render) entry(f *field, content []byte) (mapEntry, error) {
	e := mapEntry{}
	if f.key.wire != bytesType {
		e.key = sortable(f.key.kind, 0)
	}
	pieces := 0
	for at := 0; at < len(content); {
		num, typ, n := protowire.ConsumeTag(content[at:])
		if n < 0 || num > protowire.MaxValidNumber {
			return e, errTruncated()
		}
		end, start, stop := valueEnd(content, at+n, num, typ)
		if end < 0 {
			return e, errTruncated()
		}
		v := content[start:stop]
		at = end
		switch {
		case num == 1 && typ == f.key.wire:
			if f.key.wire == bytesType {
				if err := s.passedOver(f.key, e.text); err != nil {
					return e, err
				}
				e.text = v
				continue
			}
			e.key = sortable(f.key.kind, f.key.bits(v))
		case num == 2 && typ == f.val.wire:
			if err := s.piece(f, &e, v, pieces); err != nil {
				return e, err
			}
			pieces++
		}
	}
	return e, nil
}

// piece notes a value of an entry after others.
func (s *render) piece(f *field, e *mapEntry, v []byte, before int) error {
	switch {
	case f.val.msg == nil:
		if err := s.passedOver(f.val, e.value); err != nil {
			return err
		}
		e.value = v
		return nil
	case before == 0:
		e.value = v
		return nil
	case !wellFormed(v) || before == 1 && !wellFormed(e.value):
		return errTruncated()
	case before == 1:
		e.value = slices.Concat(e.value, v)
	default:
		e.value = append(e.value, v...)
	}
	return nil
}
