package schema

import (
	"slices"
	"strconv"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/upstream"
	"github.com/portico-bff/portico/upstream/wire"
)

// plan is an operation ready to run: a tree of selections, and the graph of fetches that feed them. It is immutable.
type plan struct {
	root *selection
	// groups holds every fetch, those that feed others before them.
	groups []*group
	// phases are the groups that run together: all of a query's, those of each root field of a mutation.
	phases [][]*group
	// selections counts the selections, and calls the fields with calls.
	selections, calls int
	// stream is the method of a subscription; nil for other operations.
	stream *upstream.Method
}

// selection is what is selected of one object type at one place.
type selection struct {
	object *object
	fields []*selected
	// table reads the fields, and kidTable only those that lead to joins.
	table, kidTable *wire.Table
	// kids are the fields read from the message that have joins below; joins are the fields with calls.
	kids, joins []*selected
	// group is the fetch that brings the objects; nil for the root.
	group *group
	index int
}

// deep reports whether there are joins at or below the selection.
func (s *selection) deep() bool { return len(s.kids) > 0 || len(s.joins) > 0 }

// selected is one field of a selection.
type selected struct {
	name      ast.PathElement // the response key
	key       []byte          // the same as a JSON key with its colon
	locations []gqlerror.Location
	// Exactly one of typename, meta and field is set.
	typename []byte
	meta     *metaField
	field    *field
	// slot is the first step of the field's path in its selection's table; rest are the others, or, for a joined
	// field, all.
	slot int
	rest reading
	// kidSlot is the same in the kidTable; kid and join are indices into the selection's kids and joins.
	kidSlot, kid, join int
	// selections of a composite, one for each of its alternatives.
	selections []*selection
	args       *arguments
}

// group is one fetch of a plan: one call, or several equal bindings at the same depth that share their calls.
type group struct {
	index   int
	call    *call
	members []member
	// feeds are the groups that wait for this one; waits counts the groups that this one waits for.
	feeds []*group
	waits int
	// once reports that equal requests may share an answer; it is not so for the root fields of a mutation.
	once bool
	// cached reports that rows may be looked up and stored one by one.
	cached bool
}

// member is a field whose value a group fetches.
type member struct {
	parent *selection
	field  *selected
}

// planner makes a plan.
type planner struct {
	op      *Operation
	collect collector
	out     *plan
	groups  map[string]*group
	phase   int
	fields  int
	aliases int
}

func newPlanner(o *Operation, value func(variable string) bool) *planner {
	p := &planner{op: o, out: &plan{}, groups: map[string]*group{}}
	p.collect = collector{doc: o.doc, ast: o.schema.ast, value: value, count: p.count}
	return p
}

// count bounds the fields of an operation while fragments are written out.
func (p *planner) count(f *ast.Field) error {
	limits := p.op.schema.options.Limits
	p.fields++
	if f.Alias != f.Name {
		p.aliases++
	}
	switch {
	case p.fields > limits.Fields:
		return Errors{{Message: "the operation selects more than " + strconv.Itoa(limits.Fields) + " fields", Locations: locate(f.Position)}}
	case p.aliases > limits.Aliases:
		return Errors{{Message: "the operation uses more than " + strconv.Itoa(limits.Aliases) + " aliases", Locations: locate(f.Position)}}
	default:
		return nil
	}
}

func (p *planner) plan() (*plan, error) {
	root, err := p.selection(p.op.root, []ast.SelectionSet{p.op.def.SelectionSet}, nil, 0, 1)
	if err != nil {
		return nil, err
	}
	p.out.root = root
	if p.op.def.Operation != ast.Mutation {
		p.out.phases = [][]*group{p.out.groups}
	}
	return p.out, nil
}

// selection plans what is selected of an object. calls counts the calls above it, nesting the fields.
func (p *planner) selection(o *object, sets []ast.SelectionSet, from *group, calls, nesting int) (*selection, error) {
	s := &selection{object: o, group: from, index: p.out.selections}
	p.out.selections++
	fields, err := p.collect.collect(o.def.Name, sets)
	if err != nil {
		return nil, err
	}
	if limit := p.op.schema.options.Limits.Depth; nesting > limit && len(fields) > 0 {
		return nil, Errors{{
			Message: "the operation nests fields deeper than " + strconv.Itoa(limit), Locations: locate(fields[0].fields[0].Position),
		}}
	}
	for _, c := range fields {
		first := len(p.out.groups)
		f, err := p.field(s, c, calls, nesting)
		if err != nil {
			return nil, err
		}
		s.fields = append(s.fields, f)
		if o == p.op.root && p.op.def.Operation == ast.Mutation {
			p.out.phases = append(p.out.phases, p.out.groups[first:len(p.out.groups):len(p.out.groups)])
			p.phase++
		}
	}
	s.tables()
	return s, nil
}

// field plans one response key.
func (p *planner) field(s *selection, c collected, calls, nesting int) (*selected, error) {
	node := c.fields[0]
	f := &selected{
		name: ast.PathName(c.name), key: append(wire.AppendJSONString(nil, []byte(c.name)), ':'),
		locations: locate(node.Position), slot: -1, kidSlot: -1, kid: -1, join: -1,
	}
	switch {
	case node.Name == "__typename":
		f.typename = wire.AppendJSONString(nil, []byte(s.object.def.Name))
		return f, nil
	case isIntrospective(node.Name):
		meta, err := p.metaField(c, metaRoot, 0)
		f.meta = meta
		return f, err
	}
	f.field = s.object.fields[node.Name]
	if f.field == nil {
		return nil, Errors{{Message: "field " + s.object.def.Name + "." + node.Name + " is not bound", Locations: f.locations}}
	}
	from := s.group
	if f.field.call != nil {
		var err error
		if f.args, err = p.arguments(f.field.def, node); err != nil {
			return nil, err
		}
		f.rest = newReading(f.field.path)
		f.join = len(s.joins)
		s.joins = append(s.joins, f)
		p.out.calls++
		calls++
		if p.op.def.Operation == ast.Subscription && s.object == p.op.root {
			p.out.stream = f.field.call.method
		} else {
			from = p.join(s, f, calls)
		}
	} else if len(f.field.path) > 0 {
		f.rest = newReading(f.field.path[1:])
	}
	out := f.field.out
	if out.elem != nil {
		out = out.elem
	}
	if out.comp == nil {
		return f, nil
	}
	sets := make([]ast.SelectionSet, 0, len(c.fields))
	for _, n := range c.fields {
		sets = append(sets, n.SelectionSet)
	}
	deep := false
	for _, a := range out.comp.alternatives {
		sub, err := p.selection(a.object, sets, from, calls, nesting+1)
		if err != nil {
			return nil, err
		}
		f.selections = append(f.selections, sub)
		deep = deep || sub.deep()
	}
	if deep && f.field.call == nil {
		f.kid = len(s.kids)
		s.kids = append(s.kids, f)
	}
	return f, nil
}

// join puts a field with a call into a group: one of its own, or one that it shares with equal batches at its depth.
func (p *planner) join(s *selection, f *selected, depth int) *group {
	c := f.field.call
	g := &group{index: len(p.out.groups), call: c, once: p.op.def.Operation == ast.Query || s != nil && s.object != p.op.root}
	if c.batch != nil {
		key := c.method.Name + "\x00" + c.batch.signature + "\x00" + strconv.Itoa(depth) + "\x00" + strconv.Itoa(p.phase)
		if shared := p.groups[key]; shared != nil {
			g = shared
		} else {
			g.cached = true
			p.groups[key] = g
		}
		g.cached = g.cached && !c.batch.many && !c.batch.uncached
	}
	if len(g.members) == 0 {
		p.out.groups = append(p.out.groups, g)
	}
	g.members = append(g.members, member{parent: s, field: f})
	if s.group != nil && !slices.Contains(s.group.feeds, g) {
		s.group.feeds = append(s.group.feeds, g)
		g.waits++
	}
	return g
}

// tables compiles the tables of a selection once its fields are known.
func (s *selection) tables() {
	if s.object.md == nil {
		return
	}
	fields, kids := &slots{}, &slots{}
	for _, f := range s.fields {
		if f.field == nil || f.field.call != nil || len(f.field.path) == 0 {
			continue
		}
		f.slot = fields.of(f.field.path[0])
		if f.kid >= 0 {
			f.kidSlot = kids.of(f.field.path[0])
		}
	}
	s.table = wire.NewTable(s.object.md, fields.list)
	s.kidTable = wire.NewTable(s.object.md, kids.list)
}

// slots assigns one slot to each message field.
type slots struct {
	list []protoreflect.FieldDescriptor
}

func (s *slots) of(fd protoreflect.FieldDescriptor) int {
	for i, have := range s.list {
		if have.Number() == fd.Number() {
			return i
		}
	}
	s.list = append(s.list, fd)
	return len(s.list) - 1
}
