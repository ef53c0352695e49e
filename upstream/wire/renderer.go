package wire

import (
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Renderer appends the JSON of messages of one type. It is immutable and safe for concurrent use. Required fields may be
// missing from what it renders.
type Renderer struct {
	programs *programs
	root     *program
	pool     *sync.Pool // of *render
}

// NewRenderer compiles a renderer of the selected fields of md, all of them if sel is nil.
func NewRenderer(md protoreflect.MessageDescriptor, sel *Selection, o RenderOptions) (*Renderer, error) {
	o.Resolver = resolverOr(o.Resolver)
	o.MaxDepth = orDefault(o.MaxDepth, defaultMaxDepth)
	if err := checkSelection(md, sel); err != nil {
		return nil, err
	}
	t := newTypes(o.Resolver)
	p := &programs{o: o, types: t, whole: map[*layout]*program{}}
	p.check = newCanonicalizer(t, nil, ParseOptions{MaxDepth: o.MaxDepth, MaxBytes: 1 << 31}.withDefaults())
	root := p.compile(t.layout(md), sel)
	return &Renderer{programs: p, root: root, pool: &sync.Pool{New: func() any { return new(render) }}}, nil
}

// Append appends the JSON of msg to dst. If msg is no valid message the error wraps [ErrInvalid], and what was appended
// is of no use. All of dst's capacity may be written to.
func (r *Renderer) Append(dst, msg []byte) ([]byte, error) {
	return r.append(dst, msg, inOrder)
}

// append appends the JSON of msg, at first as how says, and with less taken for granted as long as that does not do.
func (r *Renderer) append(dst, msg []byte, how how) ([]byte, error) {
	s, ok := r.pool.Get().(*render)
	if !ok {
		s = new(render)
	}
	s.programs, s.out = r.programs, dst
	var err error
	for s.how = how; ; s.how++ {
		s.spans, s.entries, s.places, s.pairs = s.spans[:0], s.entries[:0], s.places[:0], s.pairs[:0]
		err = s.message(r.root, msg, r.programs.o.MaxDepth)
		if err == nil || s.how == indexed {
			break
		}
		s.out = s.out[:len(dst)]
	}
	out := s.out
	s.out, s.msg = nil, nil
	clear(s.pieces)
	s.pieces = s.pieces[:0]
	if cap(s.spans)+cap(s.entries)+cap(s.places)+cap(s.pairs) <= maxKept/8 {
		r.pool.Put(s)
	}
	return out, err
}

// programs compiles programs and keeps those of whole messages. It is safe for concurrent use.
type programs struct {
	o     RenderOptions
	types *types
	check *Canonicalizer // tells whether what is not rendered is valid
	mu    sync.Mutex
	whole map[*layout]*program // guarded by mu
	exts  sync.Map             // *field to the *program that renders this extension alone
}

// program renders the selected fields of one message type.
type program struct {
	l       *layout
	outputs []output // in the order of the output
	slots   int
	dense   []lookup // by field number
	far     map[protowire.Number]*lookup
	whole   bool    // everything is selected, extensions too
	direct  *direct // nil if messages can be rendered by an index only
}

// lookup is what is done with a field number.
type lookup struct {
	f      *field
	slot   int   // -1 if the field is not rendered itself
	clears []int // slots of the other members of its oneof
}

// output is one field of the output.
type output struct {
	f     *field
	slot  int
	first []byte   // the name and the colon
	next  []byte   // the same after a comma
	zero  []byte   // what stands for a missing value; nil if nothing does
	sub   *program // of messages, and of the messages in maps
}

// all returns the program of all fields of a message.
func (p *programs) all(l *layout) *program {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.compileWhole(l)
}

// compile compiles the selected fields of a message.
func (p *programs) compile(l *layout, sel *Selection) *program {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.compileSelection(l, sel)
}

func (p *programs) compileWhole(l *layout) *program {
	if prog := p.whole[l]; prog != nil {
		return prog
	}
	prog := &program{l: l, whole: true}
	p.whole[l] = prog
	fds := l.md.Fields()
	sel := make([]Selected, fds.Len())
	for i := range sel {
		sel[i].Name = fds.Get(i).Name()
	}
	p.fill(prog, sel)
	return prog
}

func (p *programs) compileSelection(l *layout, sel *Selection) *program {
	if sel == nil {
		return p.compileWhole(l)
	}
	prog := &program{l: l}
	p.fill(prog, sel.Fields)
	return prog
}

// fill adds the outputs.
func (p *programs) fill(prog *program, sel []Selected) {
	l := prog.l
	slots := make([]int, len(l.fields))
	for i := range slots {
		slots[i] = -1
	}
	for _, s := range sel {
		i := l.index(l.md.Fields().ByName(s.Name).Number())
		if slots[i] < 0 {
			slots[i] = prog.slots
			prog.slots++
		}
		prog.outputs = append(prog.outputs, p.output(&l.fields[i], slots[i], s.As, s.Sub))
	}
	prog.dense = make([]lookup, len(l.dense))
	for i := range l.fields {
		f := &l.fields[i]
		look := lookup{f: f, slot: slots[i]}
		for _, n := range f.siblings {
			if slot := slots[l.index(n)]; slot >= 0 {
				look.clears = append(look.clears, slot)
			}
		}
		if look.slot < 0 && len(look.clears) == 0 {
			continue
		}
		if int(f.num) < len(prog.dense) {
			prog.dense[f.num] = look
			continue
		}
		if prog.far == nil {
			prog.far = map[protowire.Number]*lookup{}
		}
		prog.far[f.num] = &look
	}
	prog.direct = p.direct(prog)
}

// lookup is what is done with a field number; nil if nothing is.
func (p *program) lookup(num protowire.Number) *lookup {
	if int(num) < len(p.dense) {
		return &p.dense[num]
	}
	return p.far[num]
}

// output compiles one field of the output.
func (p *programs) output(f *field, slot int, as string, sub *Selection) output {
	switch {
	case as != "":
	case p.o.ProtoNames:
		as = f.fd.TextName()
	default:
		as = f.json
	}
	o := output{f: f, slot: slot}
	o.next = append(AppendJSONString([]byte{','}, []byte(as)), ':')
	o.first = o.next[1:]
	if p.o.EmitDefaults && !f.presence {
		o.zero = p.zero(f)
	}
	if msg := f.msg; msg != nil {
		o.sub = p.compileSelection(msg, sub)
	} else if f.isMap && f.val.msg != nil {
		o.sub = p.compileSelection(f.val.msg, sub)
	}
	return o
}

// zero is what stands for a missing field without presence.
func (p *programs) zero(f *field) []byte {
	switch {
	case f.list:
		return []byte("[]")
	case f.isMap:
		return []byte("{}")
	}
	s := render{programs: p}
	if f.wire == bytesType {
		return []byte(`""`)
	}
	s.scalar(f, 0)
	return s.out
}

// extension returns the program that renders one extension of a message alone.
func (p *programs) extension(l *layout, f *field) *program {
	if prog, ok := p.exts.Load(f); ok {
		known, _ := prog.(*program)
		return known
	}
	p.mu.Lock()
	prog := &program{l: l, slots: 1, outputs: []output{p.output(f, 0, "", nil)}}
	p.mu.Unlock()
	prog.far = map[protowire.Number]*lookup{f.num: {f: f}}
	p.exts.Store(f, prog)
	return prog
}
