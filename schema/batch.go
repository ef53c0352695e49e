package schema

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/upstream/wire"
)

// bucket is a part of a batch: the keys that go with one base request.
type bucket struct {
	base  []byte
	keys  [][]byte
	index map[string]int
	// rows are what came for each key, or lists if a member of the group wants all rows of a key; errs says why nothing
	// came.
	rows  [][]byte
	lists [][][]byte
	errs  []error
	// chunk is the chunk that asks for each key.
	chunk []int
	// results and objects are those of one member, shared by parents with the same key.
	results []sharedResult
	objects []instance
}

// sharedResult is the result of one key for one member.
type sharedResult struct {
	result
	state resultState
}

type resultState int

const (
	unmade resultState = iota
	made
	missing
)

func (b *bucket) add(key []byte) int {
	if at, ok := b.index[string(key)]; ok {
		return at
	}
	at := len(b.keys)
	b.index[string(key)] = at
	b.keys = append(b.keys, key)
	return at
}

// demand is what one parent asks of a batch.
type demand struct {
	member int
	parent *instance
	bucket *bucket
	// from and to delimit its keys in batchRun.wanted.
	from, to int
}

// batchRun is one run of a batch group.
type batchRun struct {
	*execution
	group   *group
	buckets []*bucket
	byBase  map[string]*bucket
	demands []demand
	wanted  []int
}

// fetchBatch collects the keys of all members, calls for them in chunks, and hands out the rows.
func (e *execution) fetchBatch(g *group) error {
	run := &batchRun{execution: e, group: g, byBase: map[string]*bucket{}}
	for i := range g.members {
		run.collect(i)
	}
	type chunk struct {
		bucket *bucket
		keys   []int
	}
	var chunks []chunk
	for _, b := range run.buckets {
		n := len(b.keys)
		b.errs, b.chunk = make([]error, n), make([]int, n)
		if g.cached {
			b.rows = make([][]byte, n)
		} else {
			b.lists = make([][][]byte, n)
		}
		ask := run.lookUp(b)
		for size := g.call.batch.max; len(ask) > 0; {
			n := min(size, len(ask))
			chunks = append(chunks, chunk{b, ask[:n]})
			for _, at := range ask[:n] {
				b.chunk[at] = len(chunks)
			}
			ask = ask[n:]
		}
	}
	if err := e.parallel(len(chunks), func(i int) { run.call(chunks[i].bucket, i+1, chunks[i].keys) }); err != nil {
		return err
	}
	run.handOut()
	return nil
}

// collect computes the keys of a member's parents.
func (r *batchRun) collect(at int) {
	m := r.group.members[at]
	parents := r.places[m.parent.index]
	if len(parents) == 0 {
		return
	}
	c := m.field.field.call
	in := r.inputs(m)
	r.demands = slices.Grow(r.demands, len(parents))
	r.wanted = slices.Grow(r.wanted, len(parents))
	var (
		shared *bucket
		base   []byte
	)
	for _, p := range parents {
		err := in.err
		in.parent = p.msg
		b := shared
		if err == nil && b == nil {
			if base, _, err = c.request.build(base[:0], &in.inputs); err == nil {
				if c.request.usesParent {
					b = r.bucket(base, 0)
				} else {
					b = r.bucket(base, len(parents))
					shared = b
				}
			} else {
				err = requestFailure(err)
			}
		}
		d := demand{member: at, parent: p, bucket: b, from: len(r.wanted)}
		if err == nil {
			if err = c.batch.keys(&in.inputs, func(key []byte) { r.wanted = append(r.wanted, b.add(key)) }); err != nil {
				err = requestFailure(err)
			}
		}
		if err != nil {
			p.joins[m.field.join] = &result{err: err}
			continue
		}
		if d.to = len(r.wanted); d.to > d.from || c.batch.plural() {
			r.demands = append(r.demands, d)
		}
	}
}

// bucket finds or makes the bucket of a base request, for about n keys.
func (r *batchRun) bucket(base []byte, n int) *bucket {
	b := r.byBase[string(base)]
	if b == nil {
		b = &bucket{base: bytes.Clone(base), index: make(map[string]int, n), keys: make([][]byte, 0, n)}
		r.byBase[string(base)] = b
		r.buckets = append(r.buckets, b)
	}
	return b
}

// lookUp asks the row cache, if there is one, and returns the keys that must be called for.
func (r *batchRun) lookUp(b *bucket) []int {
	if len(b.keys) == 0 {
		return nil
	}
	var found [][]byte
	if r.rows != nil && r.group.cached {
		var err error
		if found, err = r.rows.LookupRows(r.contextOf(r.group.members[0]), r.group.call.batch.rows, b.base, b.keys); err != nil {
			for i := range b.errs {
				b.errs[i] = err
			}
			return nil
		}
	}
	ask := make([]int, 0, len(b.keys))
	for i := range b.keys {
		if i < len(found) && found[i] != nil {
			b.rows[i] = found[i]
			continue
		}
		ask = append(ask, i)
	}
	return ask
}

// call makes one call and sorts its rows to the keys. Chunks of one bucket write to keys of their own.
func (r *batchRun) call(b *bucket, chunk int, keys []int) {
	c := r.group.call
	asked := make([][]byte, len(keys))
	for i, at := range keys {
		asked[i] = b.keys[at]
	}
	reply, err := r.invoke(r.contextOf(r.group.members[0]), c.method, appendKeys(nil, b.base, c.batch.rows.Into, asked))
	if err == nil {
		err = c.batch.sort(reply, len(keys), func(i int, key, row []byte) {
			at, known := b.index[string(key)]
			if i >= 0 {
				at, known = keys[i], true
			}
			switch {
			case !known || b.chunk[at] != chunk:
			case b.lists != nil:
				b.lists[at] = append(b.lists[at], row)
			case b.rows[at] == nil:
				b.rows[at] = row
			}
		})
	}
	if err != nil {
		for _, at := range keys {
			b.errs[at] = err
		}
		return
	}
	if r.rows == nil || !r.group.cached {
		return
	}
	rows := make([][]byte, len(keys))
	for i, at := range keys {
		rows[i] = b.rows[at]
	}
	r.rows.StoreRows(r.contextOf(r.group.members[0]), c.batch.rows, b.base, asked, rows)
}

// sort takes an answer to n keys apart and yields each row with its position or, where that says nothing, with -1 and the
// row's key, which is valid until yield returns.
func (b *batch) sort(reply []byte, n int, yield func(i int, key, row []byte)) error {
	holder, span, err := b.results.read(reply)
	if err != nil {
		return &malformedError{err}
	}
	if holder == nil {
		return nil
	}
	if b.match == nil && b.entry == nil {
		return sortByPosition(&span, n, yield)
	}
	var (
		slots [2]wire.Span
		in    inputs
		key   []byte
	)
	span.Each(func(v wire.Value) bool {
		var has bool
		row := v.Raw()
		if b.entry != nil {
			if err = b.entry.Scan(row, slots[:]); err != nil {
				return false
			}
			keyValue, value := slots[0].Value(), slots[1].Value()
			has = keyValue.IsValid()
			key, row = keyValue.AppendRaw(key[:0]), value.Raw()
			if row == nil {
				row = []byte{}
			}
		} else {
			in.parent = row
			key, has = b.match(key[:0], &in)
		}
		if has {
			yield(-1, key, row)
		}
		return true
	})
	if err != nil {
		return &malformedError{err}
	}
	return nil
}

func sortByPosition(span *wire.Span, n int, yield func(i int, key, row []byte)) error {
	rows := 0
	span.Each(func(wire.Value) bool {
		rows++
		return true
	})
	if rows != n {
		return &malformedError{fmt.Errorf("%d rows for %d keys that are matched by position", rows, n)}
	}
	rows = 0
	span.Each(func(v wire.Value) bool {
		yield(rows, nil, v.Raw())
		rows++
		return true
	})
	return nil
}

// handOut gives every parent its result. Parents of one member that ask for the same key share it.
func (r *batchRun) handOut() {
	for from := 0; from < len(r.demands); {
		to := from
		for to < len(r.demands) && r.demands[to].member == r.demands[from].member {
			to++
		}
		r.handOutTo(r.group.members[r.demands[from].member], r.demands[from:to])
		from = to
	}
}

// handOutTo gives the parents of one member their results.
func (r *batchRun) handOutTo(m member, demands []demand) {
	b := m.field.field.call.batch
	for _, bucket := range r.buckets {
		bucket.results = make([]sharedResult, len(bucket.keys))
		if m.field.plain() && !b.plural() {
			bucket.objects = make([]instance, len(bucket.keys))
		}
	}
	for _, d := range demands {
		slot := &d.parent.joins[m.field.join]
		switch {
		case b.fan:
			*slot = r.fan(m, d)
			r.grow((*slot).objects)
		case d.from == d.to:
			*slot = &result{} // an empty list
		default:
			key := r.wanted[d.from]
			shared := &d.bucket.results[key]
			if shared.state == unmade {
				r.share(m, d.bucket, key, shared)
			}
			if shared.state == made {
				*slot = &shared.result
			}
		}
	}
	for _, bucket := range r.buckets {
		r.grow(bucket.objects)
		for i := range bucket.results {
			if bucket.objects == nil {
				r.grow(bucket.results[i].objects)
			}
		}
		bucket.results, bucket.objects = nil, nil
	}
}

// share makes the result of one key.
func (r *batchRun) share(m member, b *bucket, key int, out *sharedResult) {
	out.state = made
	if err := b.errs[key]; err != nil {
		out.err = err
		return
	}
	var row [][]byte
	switch {
	case b.lists != nil:
		row = b.lists[key]
	case b.rows[key] != nil:
		row = b.rows[key : key+1 : key+1]
	}
	switch {
	case m.field.field.call.batch.many:
		out.result = *m.field.result(row)
	case len(row) == 0:
		out.state = missing
	case b.objects != nil:
		b.objects[key] = instance{sel: m.field.selections[0], msg: row[0]}
		out.objects = b.objects[key : key+1 : key+1]
	default:
		out.result = *m.field.result(row[:1])
	}
}

// plain reports that a row itself is the field's object.
func (f *selected) plain() bool {
	comp := f.composite()
	return comp != nil && comp.table == nil && len(f.rest) == 0
}

// fan makes the result of a parent that holds many keys: one row, or null, for each.
func (r *batchRun) fan(m member, d demand) *result {
	rows := make([][]byte, 0, d.to-d.from)
	for _, key := range r.wanted[d.from:d.to] {
		if err := d.bucket.errs[key]; err != nil {
			return &result{err: err}
		}
		switch b := d.bucket; {
		case b.lists == nil:
			rows = append(rows, b.rows[key])
		case len(b.lists[key]) > 0:
			rows = append(rows, b.lists[key][0])
		default:
			rows = append(rows, nil)
		}
	}
	return m.field.result(rows)
}

// appendKeys appends base, which is canonical, with the keys at the place of their field.
func appendKeys(dst, base []byte, into protoreflect.FieldDescriptor, keys [][]byte) []byte {
	at := 0
	for at < len(base) {
		num, _, n := protowire.ConsumeField(base[at:])
		if n < 0 || num > into.Number() {
			break
		}
		at += n
	}
	size := 0
	for _, key := range keys {
		size += len(key)
	}
	const around = 2 * binary.MaxVarintLen32 // tag and length of a key at the most
	dst = append(slices.Grow(dst, len(base)+size+len(keys)*around), base[:at]...)
	if into.IsPacked() {
		dst = protowire.AppendTag(dst, into.Number(), protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(size))
		for _, key := range keys {
			dst = append(dst, key...)
		}
		return append(dst, base[at:]...)
	}
	for _, key := range keys {
		switch into.Kind() {
		case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
			dst = protowire.AppendTag(dst, into.Number(), protowire.BytesType)
			dst = protowire.AppendBytes(dst, key)
		case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
			dst = append(protowire.AppendTag(dst, into.Number(), protowire.Fixed32Type), key...)
		case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
			dst = append(protowire.AppendTag(dst, into.Number(), protowire.Fixed64Type), key...)
		case protoreflect.GroupKind:
			dst = append(protowire.AppendTag(dst, into.Number(), protowire.StartGroupType), key...)
			dst = protowire.AppendTag(dst, into.Number(), protowire.EndGroupType)
		default:
			dst = append(protowire.AppendTag(dst, into.Number(), protowire.VarintType), key...)
		}
	}
	return append(dst, base[at:]...)
}
