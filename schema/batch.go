package schema

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/upstream/wire"
)

// bucket is a part of a batch: the keys that go with one base request.
type bucket struct {
	base  []byte
	keys  [][]byte
	index map[string]int
	// rows and errs are what came for each key.
	rows [][][]byte
	errs []error
}

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
		b.rows, b.errs = make([][][]byte, len(b.keys)), make([]error, len(b.keys))
		missing := run.lookUp(b)
		for size := g.call.batch.max; len(missing) > 0; {
			n := min(size, len(missing))
			chunks = append(chunks, chunk{b, missing[:n]})
			missing = missing[n:]
		}
	}
	if err := e.parallel(len(chunks), func(i int) { run.call(chunks[i].bucket, chunks[i].keys) }); err != nil {
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
	var shared *bucket
	for _, p := range parents {
		err := in.err
		in.parent = p.msg
		b := shared
		if err == nil && b == nil {
			var base []byte
			if base, _, err = c.request.build(&in.inputs); err == nil {
				b = r.bucket(base)
				if !c.request.usesParent {
					shared = b
				}
			} else {
				err = &argumentError{err}
			}
		}
		d := demand{member: at, parent: p, bucket: b, from: len(r.wanted)}
		if err == nil {
			if err = c.batch.keys(&in.inputs, func(key []byte) { r.wanted = append(r.wanted, b.add(key)) }); err != nil {
				err = &argumentError{err}
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

func (r *batchRun) bucket(base []byte) *bucket {
	b := r.byBase[string(base)]
	if b == nil {
		b = &bucket{base: base, index: map[string]int{}}
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
		if found, err = r.rows.LookupRows(r.ctx, r.group.call.batch.rows, b.base, b.keys); err != nil {
			for i := range b.errs {
				b.errs[i] = err
			}
			return nil
		}
	}
	missing := make([]int, 0, len(b.keys))
	for i := range b.keys {
		if i < len(found) && found[i] != nil {
			b.rows[i] = [][]byte{found[i]}
			continue
		}
		missing = append(missing, i)
	}
	return missing
}

// call makes one call and sorts its rows to the keys. Chunks of one bucket write to keys of their own.
func (r *batchRun) call(b *bucket, keys []int) {
	c := r.group.call
	asked := make([][]byte, len(keys))
	for i, at := range keys {
		asked[i] = b.keys[at]
	}
	reply, err := r.invoke(c.method, appendKeys(nil, b.base, c.batch.rows.Into, asked))
	if err == nil {
		err = c.batch.sort(reply, asked, func(i int, row []byte) { b.rows[keys[i]] = append(b.rows[keys[i]], row) })
	}
	if err != nil {
		for _, at := range keys {
			b.rows[at], b.errs[at] = nil, err
		}
		return
	}
	if r.rows == nil || !r.group.cached {
		return
	}
	rows := make([][]byte, len(keys))
	for i, at := range keys {
		if len(b.rows[at]) > 0 {
			rows[i] = b.rows[at][0]
		}
	}
	r.rows.StoreRows(r.ctx, c.batch.rows, b.base, asked, rows)
}

// sort takes an answer apart and yields each row with the index of its key. Rows that nobody asked for are left out.
func (b *batch) sort(reply []byte, asked [][]byte, yield func(i int, row []byte)) error {
	holder, span, err := b.results.read(reply)
	if err != nil {
		return &malformedError{err}
	}
	if holder == nil {
		return nil
	}
	if b.match == nil && b.entry == nil {
		return sortByPosition(&span, asked, yield)
	}
	index := make(map[string]int, len(asked))
	for i, key := range asked {
		index[string(key)] = i
	}
	var slots [2]wire.Span
	span.Each(func(v wire.Value) bool {
		row := v.Raw()
		var key []byte
		if b.entry != nil {
			if err = b.entry.Scan(row, slots[:]); err != nil {
				return false
			}
			keyValue, value := slots[0].Value(), slots[1].Value()
			key, row = keyValue.Raw(), value.Raw()
			if row == nil {
				row = []byte{}
			}
		} else {
			var ok bool
			if key, ok = b.match(row); !ok {
				return true
			}
		}
		if i, ok := index[string(key)]; ok {
			yield(i, row)
		}
		return true
	})
	if err != nil {
		return &malformedError{err}
	}
	return nil
}

func sortByPosition(span *wire.Span, asked [][]byte, yield func(i int, row []byte)) error {
	n := 0
	span.Each(func(wire.Value) bool {
		n++
		return true
	})
	if n != len(asked) {
		return &malformedError{fmt.Errorf("%d rows for %d keys that are matched by position", n, len(asked))}
	}
	n = 0
	span.Each(func(v wire.Value) bool {
		yield(n, v.Raw())
		n++
		return true
	})
	return nil
}

// handOut gives every parent its result. Parents of one member that ask for the same key share it.
func (r *batchRun) handOut() {
	type resultKey struct {
		member int
		bucket *bucket
		key    int
	}
	known := make(map[resultKey]*result)
	for _, d := range r.demands {
		m := r.group.members[d.member]
		b := m.field.field.call.batch
		slot := &d.parent.joins[m.field.join]
		if b.fan {
			*slot = r.fan(m, d)
			continue
		}
		if d.from == d.to {
			*slot = &result{} // an empty list
			continue
		}
		key := resultKey{d.member, d.bucket, r.wanted[d.from]}
		res, ok := known[key]
		if !ok {
			res = r.result(m, d.bucket, key.key, b.many)
			r.growResult(res)
			known[key] = res
		}
		*slot = res
	}
}

// result makes the result of one key.
func (r *batchRun) result(m member, b *bucket, key int, many bool) *result {
	if err := b.errs[key]; err != nil {
		return &result{err: err}
	}
	rows := b.rows[key]
	switch {
	case many:
		return m.field.result(rows)
	case len(rows) == 0:
		return nil
	default:
		return m.field.result(rows[:1])
	}
}

// fan makes the result of a parent that holds many keys: one row, or null, for each.
func (r *batchRun) fan(m member, d demand) *result {
	rows := make([][]byte, 0, d.to-d.from)
	for _, key := range r.wanted[d.from:d.to] {
		if err := d.bucket.errs[key]; err != nil {
			return &result{err: err}
		}
		var row []byte
		if found := d.bucket.rows[key]; len(found) > 0 {
			row = found[0]
		}
		rows = append(rows, row)
	}
	res := m.field.result(rows)
	r.growResult(res)
	return res
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
	dst = append(dst, base[:at]...)
	if into.IsPacked() {
		size := 0
		for _, key := range keys {
			size += len(key)
		}
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
