package schema

import (
	"github.com/portico-bff/portico/upstream/wire"
)

// instance is one object of an answer that joins start from, or that leads to such objects.
type instance struct {
	// sel is what is selected of it; nil for a null among the elements of a list.
	sel *selection
	msg []byte
	// kids are the objects of the selection's kids, and joins what was fetched for its joins.
	kids  [][]instance
	joins []*result
	// err says that msg is malformed below.
	err error
}

// result is what a call brought for one parent, or for all parents with the same key. A nil result is null.
type result struct {
	err error
	// rows are the messages that a scalar field's value is read from: one, or for a plural batch any number. A nil row is
	// a miss.
	rows [][]byte
	// objects are the objects of a composite field.
	objects []instance
}

// grow fills an instance of every element of list: the objects below, down to those that joins start from, which are
// noted at their selections' places. All of list must stay where it is. It must be called by the group that brought the
// list, which writes to the places by itself.
func (e *execution) grow(list []instance) {
	joins, kids := 0, 0
	for i := range list {
		if s := list[i].sel; s != nil {
			joins += len(s.joins)
			kids += len(s.kids)
		}
	}
	if joins == 0 && kids == 0 {
		return
	}
	joinSlab, kidSlab := make([]*result, joins), make([][]instance, kids)
	for i := range list {
		in := &list[i]
		if in.sel == nil {
			continue
		}
		j, k := len(in.sel.joins), len(in.sel.kids)
		in.joins, joinSlab = joinSlab[:j:j], joinSlab[j:]
		in.kids, kidSlab = kidSlab[:k:k], kidSlab[k:]
		if j > 0 {
			e.places[in.sel.index] = append(e.places[in.sel.index], in)
		}
		if k > 0 {
			if err := e.growKids(in); err != nil {
				in.err = &malformedError{err}
			}
		}
	}
}

func (e *execution) growKids(in *instance) error {
	var few [8]wire.Span
	spans := few[:]
	if n := in.sel.kidTable.Len(); n > len(few) {
		spans = make([]wire.Span, n)
	} else {
		spans = spans[:n]
	}
	if err := in.sel.kidTable.Scan(in.msg, spans); err != nil {
		return err
	}
	for k, f := range in.sel.kids {
		var (
			objects []instance
			err     error
		)
		if f.kidSlot < 0 {
			objects, err = f.objectsOf(nil, in.msg)
		} else {
			objects, err = f.objectsAt(&spans[f.kidSlot])
		}
		if err != nil {
			return err
		}
		e.grow(objects)
		in.kids[k] = objects
	}
	return nil
}

// objectsAt makes instances of the objects of a field whose path begins at a span.
func (f *selected) objectsAt(span *wire.Span) ([]instance, error) {
	if len(f.rest) > 0 {
		if !span.Present() {
			return nil, nil
		}
		value := span.Value()
		return f.objectsIn(value.Raw())
	}
	return f.objectsFrom(span)
}

// objectsIn makes instances of the objects that the field's path, without the first step of a field that is read,
// leads to.
func (f *selected) objectsIn(msg []byte) ([]instance, error) {
	if len(f.rest) == 0 {
		return f.objectsOf(nil, msg)
	}
	holder, span, err := f.rest.read(msg)
	if err != nil || holder == nil {
		return nil, err
	}
	return f.objectsFrom(&span)
}

func (f *selected) objectsFrom(span *wire.Span) ([]instance, error) {
	if f.field.out.elem == nil || f.field.call != nil && f.field.call.batch.plural() {
		if !span.Present() {
			return nil, nil
		}
		value := span.Value()
		return f.objectsOf(nil, value.Raw())
	}
	n := 0
	span.Each(func(wire.Value) bool {
		n++
		return true
	})
	var err error
	objects := make([]instance, 0, n)
	span.Each(func(v wire.Value) bool {
		objects, err = f.objectsOf(objects, v.Raw())
		return err == nil
	})
	return objects, err
}

// objectsOf appends the instance of one message, of the alternative that it is.
func (f *selected) objectsOf(objects []instance, msg []byte) ([]instance, error) {
	at, msg, err := f.composite().choose(msg)
	switch {
	case err != nil:
		return nil, err
	case at < 0:
		return append(objects, instance{}), nil
	default:
		return append(objects, instance{sel: f.selections[at], msg: msg}), nil
	}
}

func (f *selected) composite() *composite {
	if f.field.out.elem != nil {
		return f.field.out.elem.comp
	}
	return f.field.out.comp
}

// choose finds the alternative that a message is, and the message of its member; -1 if no member is set.
func (c *composite) choose(msg []byte) (int, []byte, error) {
	if c.table == nil {
		return 0, msg, nil
	}
	var few [8]wire.Span
	spans := few[:]
	if n := c.table.Len(); n > len(few) {
		spans = make([]wire.Span, n)
	} else {
		spans = spans[:n]
	}
	if err := c.table.Scan(msg, spans); err != nil {
		return -1, nil, err
	}
	for i := range spans {
		if spans[i].Present() {
			value := spans[i].Value()
			return i, value.Raw(), nil
		}
	}
	return -1, nil, nil
}
