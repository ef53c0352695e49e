package wire

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/bff/config/mistake"
)

// Parser turns JSON texts into canonical messages of one type. It is immutable and safe for concurrent use.
type Parser struct {
	o     ParseOptions
	types *types
	root  *layout
	pool  *sync.Pool // of *parse
}

// SyntaxError says where a JSON text is wrong. Its text is meant for whoever wrote the JSON.
type SyntaxError struct {
	// Pointer is the JSON pointer (RFC 6901) of the value that is wrong; "" is the whole text.
	Pointer string
	// Expected says what should stand there; may be empty.
	Expected string
	// Found says what stands there.
	Found string
	// Nearest is the nearest known name; may be empty.
	Nearest string
	// Offset is where it stands in the text, in bytes.
	Offset int
}

// Error tells all but the offset.
func (e *SyntaxError) Error() string {
	s := e.Found
	if e.Pointer != "" {
		s = e.Pointer + ": " + s
	}
	if e.Expected != "" {
		s += ", expected " + e.Expected
	}
	if e.Nearest != "" {
		s += ", did you mean " + strconv.Quote(e.Nearest) + "?"
	}
	return s
}

// in puts the pointer of e below a member or element. Of a long name only the beginning is repeated.
func (e *SyntaxError) in(segment string) *SyntaxError {
	segment = strings.ReplaceAll(strings.ReplaceAll(short(segment), "~", "~0"), "/", "~1")
	e.Pointer = "/" + segment + e.Pointer
	return e
}

// NewParser compiles a parser of messages of the type md.
func NewParser(md protoreflect.MessageDescriptor, o ParseOptions) (*Parser, error) {
	o = o.withDefaults()
	t := newTypes(o.Resolver)
	return newParser(t, t.layout(md), o), nil
}

func newParser(t *types, root *layout, o ParseOptions) *Parser {
	return &Parser{o: o, types: t, root: root, pool: &sync.Pool{New: func() any { return new(parse) }}}
}

// Append appends the canonical encoding of the JSON text to dst. The error is a [*SyntaxError].
func (p *Parser) Append(dst, json []byte) ([]byte, error) {
	return p.run(dst, json, func(s *parse) *SyntaxError { return s.message(p.root, p.o.MaxDepth) })
}

// field appends the JSON value of a field with its tag. It reports whether there is a value: null is none, most often.
// What is zero may be present and yet have no bytes.
func (p *Parser) field(dst, json []byte, f *field, depth int) (out []byte, present bool, err error) {
	out, err = p.run(dst, json, func(s *parse) *SyntaxError {
		if s.peek() == 'n' && !f.null && s.literal("null") {
			return nil
		}
		var wrong *SyntaxError
		present, wrong = s.value(f, depth)
		return wrong
	})
	return out, present, err
}

// maxKept bounds the scratch memory that a pooled parse keeps.
const maxKept = 64 << 10

// run reads one value with read.
func (p *Parser) run(dst, json []byte, read func(*parse) *SyntaxError) ([]byte, error) {
	if len(json) > p.o.MaxBytes {
		return dst, &SyntaxError{Found: fmt.Sprintf("%d bytes", len(json)), Expected: fmt.Sprintf("at most %d bytes", p.o.MaxBytes)}
	}
	s, ok := p.pool.Get().(*parse)
	if !ok {
		s = new(parse)
	}
	s.p, s.in, s.at, s.out = p, json, 0, dst
	s.segments = s.segments[:0]
	err := read(s)
	if s.peek(); err == nil && s.at < len(json) {
		err = s.fail(s.at, "the end of the text")
	}
	out := s.out
	s.p, s.in, s.out = nil, nil, nil
	if cap(s.scratch)+cap(s.moved) <= maxKept && cap(s.segments) <= maxKept/8 {
		p.pool.Put(s)
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

// parse is the state of reading one text.
type parse struct {
	lexer
	writer
	p       *Parser
	partial bool // required fields may be missing, as within Any
}

// message reads a value of a message type.
func (s *parse) message(l *layout, depth int) *SyntaxError {
	if depth <= 0 {
		return &SyntaxError{Found: "a value that is nested too deep", Offset: s.at}
	}
	if l.special != notSpecial {
		return s.wellKnown(l, depth-1)
	}
	return s.object(l, depth-1, false)
}

// seen is a set of the fields that an object has had.
type seen struct {
	low  [4]uint64
	high map[int]bool
}

// add adds i and reports whether it was there before.
func (s *seen) add(i int) bool {
	if i < 256 {
		bit := uint64(1) << (i & 63)
		old := s.low[i>>6]&bit != 0
		s.low[i>>6] |= bit
		return old
	}
	old := s.high[i]
	if !old {
		if s.high == nil {
			s.high = map[int]bool{}
		}
		s.high[i] = true
	}
	return old
}

// has reports whether i is in the set.
func (s *seen) has(i int) bool {
	if i < 256 {
		return s.low[i>>6]&(1<<(i&63)) != 0
	}
	return s.high[i]
}

// object reads the fields of a message. inAny says that "@type" is among them.
func (s *parse) object(l *layout, depth int, inAny bool) *SyntaxError {
	begin := s.at
	if err := s.open('{', "an object"); err != nil {
		return err
	}
	var had, oneofs, set seen
	base, top, guess := len(s.segments), len(s.out), 0
	for first := true; ; first = false {
		more, err := s.next('}', first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		nameAt := s.at
		name, err := s.name()
		if err != nil {
			return err
		}
		if inAny && string(name) == "@type" {
			if err := s.skip(depth); err != nil {
				return err.in("@type")
			}
			continue
		}
		f, i, foreign := s.lookup(l, name, guess)
		if f == nil {
			if foreign || !s.p.o.DiscardUnknown {
				return s.unknown(l, string(name), nameAt)
			}
			if err := s.skip(depth); err != nil {
				return err.in(s.nameAt(nameAt))
			}
			continue
		}
		guess = i + 1
		key := i
		if i < 0 {
			key = len(l.fields) + int(f.num)
		}
		if had.add(key) {
			return (&SyntaxError{Found: "a field that was given before", Offset: nameAt}).in(string(name))
		}
		if !f.null && s.peek() == 'n' && s.literal("null") {
			continue
		}
		if f.oneof > 0 && oneofs.add(f.oneof) {
			return (&SyntaxError{Found: fmt.Sprintf("a second field of %q, of which only one may be set",
				f.fd.ContainingOneof().Name()), Offset: nameAt}).in(string(name))
		}
		start := len(s.out)
		present, err := s.value(f, depth)
		if err != nil {
			return err.in(s.nameAt(nameAt))
		}
		if present && f.required {
			set.add(key)
		}
		if len(s.out) == start {
			continue
		}
		s.segments = append(s.segments, segment{key: uint64(f.num), start: start, end: len(s.out)})
	}
	s.sortFields(base, top)
	if !s.partial {
		for _, i := range l.required {
			if !set.has(i) {
				return &SyntaxError{Found: "an object without the required field " + strconv.Quote(l.fields[i].fd.JSONName()), Offset: begin}
			}
		}
	}
	return nil
}

// lookup finds a field by its name. guess is the index that would come next if the fields were in order. The index of
// an extension is -1. foreign says that name is an extension of another message.
func (s *parse) lookup(l *layout, name []byte, guess int) (f *field, index int, foreign bool) {
	if guess < len(l.fields) && l.fields[guess].json == string(name) {
		return &l.fields[guess], guess, false
	}
	if i, ok := l.byName[string(name)]; ok {
		return &l.fields[i], i, false
	}
	if len(name) > 2 && name[0] == '[' && name[len(name)-1] == ']' {
		f, foreign = s.p.types.extensionNamed(l.md, protoreflect.FullName(name[1:len(name)-1]))
	}
	return f, -1, foreign
}

func (s *parse) unknown(l *layout, name string, at int) *SyntaxError {
	return (&SyntaxError{
		Found:   "unknown field " + quote(name),
		Nearest: mistake.Nearest(name, names(l.md)),
		Offset:  at,
	}).in(name)
}

// nameAt reads the member name at an offset again, for an error.
func (s *parse) nameAt(at int) string {
	x := lexer{in: s.in, at: at}
	name, err := x.text()
	if err != nil {
		return ""
	}
	return string(name)
}

// value reads the value of a field and appends it with its tag, or nothing where the canonical encoding has nothing. It
// reports whether the field is set.
func (s *parse) value(f *field, depth int) (bool, *SyntaxError) {
	switch {
	case f.list:
		return true, s.array(f, depth)
	case f.isMap:
		return true, s.mapping(f, depth)
	}
	start := len(s.out)
	present, zero, err := s.single(f, depth)
	if err != nil || !present {
		return false, err
	}
	if zero && !f.presence {
		s.out = s.out[:start]
	}
	return true, nil
}

// single appends one value with its tag. It reports whether there was one at all (unknown enum names may be discarded)
// and whether it was zero.
func (s *parse) single(f *field, depth int) (present, zero bool, err *SyntaxError) {
	start := len(s.out)
	s.out = protowire.AppendVarint(s.out, f.tag)
	if f.msg == nil {
		if present, zero, err = s.scalar(f); !present {
			s.out = s.out[:start]
		}
		return present, zero, err
	}
	if f.wire == protowire.StartGroupType {
		err = s.message(f.msg, depth)
		s.out = protowire.AppendTag(s.out, f.num, protowire.EndGroupType)
		return err == nil, false, err
	}
	at := s.begin()
	err = s.message(f.msg, depth)
	s.end(at)
	return err == nil, false, err
}

// array reads a repeated field.
func (s *parse) array(f *field, depth int) *SyntaxError {
	if err := s.open('[', "an array"); err != nil {
		return err
	}
	start, at := len(s.out), 0
	if f.packed {
		s.out = protowire.AppendTag(s.out, f.num, protowire.BytesType)
		at = s.begin()
	}
	for n := 0; ; n++ {
		more, err := s.next(']', n == 0)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if f.packed {
			_, _, err = s.scalar(f)
		} else {
			_, _, err = s.single(f, depth)
		}
		if err != nil {
			return err.in(strconv.Itoa(n))
		}
	}
	switch {
	case !f.packed:
	case len(s.out) == at:
		s.out = s.out[:start]
	default:
		s.end(at)
	}
	return nil
}

// mapping reads a map field: its entries are sorted by key.
func (s *parse) mapping(f *field, depth int) *SyntaxError {
	if err := s.open('{', "an object"); err != nil {
		return err
	}
	base, top := len(s.segments), len(s.out)
	for first := true; ; first = false {
		more, err := s.next('}', first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if err := s.entry(f, depth); err != nil {
			return err
		}
	}
	if g, twice := s.sortEntries(base, top, f.key.kind == protoreflect.StringKind); twice {
		return (&SyntaxError{Found: "a key that was given before", Offset: g.nameAt}).in(s.nameAt(g.nameAt))
	}
	return nil
}

// entry reads one entry of a map.
func (s *parse) entry(f *field, depth int) *SyntaxError {
	g := segment{start: len(s.out), nameAt: s.at}
	name, err := s.name()
	if err != nil {
		return err
	}
	s.out = protowire.AppendVarint(s.out, f.tag)
	at := s.begin()
	s.out = protowire.AppendVarint(s.out, f.key.tag)
	if f.key.kind == protoreflect.StringKind {
		s.out = protowire.AppendBytes(s.out, name)
		g.keyStart, g.keyEnd = len(s.out)-len(name), len(s.out)
	} else {
		bits, ok := keyBits(f.key.kind, name)
		if !ok {
			return (&SyntaxError{Found: "the key " + quote(string(name)), Expected: "a key that is " + kindText(f.key), Offset: g.nameAt}).in(string(name))
		}
		s.out = appendBits(s.out, f.key.kind, bits)
		g.key = sortable(f.key.kind, bits)
	}
	present, _, err := s.single(f.val, depth)
	if err != nil {
		return err.in(s.nameAt(g.nameAt))
	}
	if !present {
		s.out = s.out[:g.start]
		return nil
	}
	moved := s.end(at)
	g.keyStart, g.keyEnd, g.end = g.keyStart+moved, g.keyEnd+moved, len(s.out)
	s.segments = append(s.segments, g)
	return nil
}

// keyBits reads a map key that is no string.
func keyBits(k protoreflect.Kind, name []byte) (uint64, bool) {
	switch k {
	case protoreflect.BoolKind:
		switch string(name) {
		case "true":
			return 1, true
		case "false":
			return 0, true
		}
		return 0, false
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n, err := strconv.ParseUint(string(name), 10, 32)
		return n, err == nil
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		n, err := strconv.ParseUint(string(name), 10, 64)
		return n, err == nil
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		n, err := strconv.ParseInt(string(name), 10, 64)
		return uint64(n), err == nil
	default:
		n, err := strconv.ParseInt(string(name), 10, 32)
		return uint64(n), err == nil
	}
}

// sortable turns the bits of a map key into a number that sorts as the key does.
func sortable(k protoreflect.Kind, bits uint64) uint64 {
	switch k {
	case protoreflect.BoolKind, protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return bits
	default:
		return bits ^ 1<<63
	}
}
