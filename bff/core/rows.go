package core

import (
	"bytes"
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/cache"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/upstream"
)

// LookupRows authorizes a batch call and returns the rows that the cache has, nil for each that it has not.
func (c *Core) LookupRows(ctx context.Context, r *upstream.Rows, base []byte, keys [][]byte) ([][]byte, error) {
	info := request.FromContext(ctx)
	rows, err := c.lookupRows(ctx, info, r, base, keys)
	if err != nil {
		f := present(ctx, err)
		c.metrics.called(info.Door, r.Batch.Name, f)
		return nil, f
	}
	return rows, nil
}

func (c *Core) lookupRows(ctx context.Context, info *request.Info, r *upstream.Rows, base []byte, keys [][]byte) ([][]byte, error) {
	batch := c.methods[r.Batch]
	if batch == nil || !r.Batch.Unary() {
		return nil, misuse(r.Batch)
	}
	var msg []byte
	if c.rules.ReadsMessage(r.Batch) {
		msg = slices.Clone(base)
		for _, key := range keys {
			msg = appendField(msg, r.Into, key)
		}
	}
	if err := c.rules.Allow(ctx, r.Batch, msg, time.Now()); err != nil {
		return nil, err
	}
	rows := make([][]byte, len(keys))
	if batch.cache == nil {
		return rows, nil
	}
	headers, err := batch.headers.compose(info, auth.FromContext(ctx), batch.public)
	if err != nil {
		return nil, err
	}
	hits := 0
	for i, key := range keys {
		if entry, ok := c.cache.Lookup(c.rowKey(r, batch, headers, base, key)); ok && entry.Age() < batch.cache.MaxAge {
			rows[i] = entry.Reply.Message
			hits++
		}
	}
	c.metrics.cache.WithLabelValues(r.Batch.Name, "hit").Add(float64(hits))
	c.metrics.cache.WithLabelValues(r.Batch.Name, "miss").Add(float64(len(keys) - hits))
	return rows, nil
}

// StoreRows keeps the rows of a batch that has just been answered. It copies them: they are parts of a larger answer.
func (c *Core) StoreRows(ctx context.Context, r *upstream.Rows, base []byte, keys, rows [][]byte) {
	batch := c.methods[r.Batch]
	if batch == nil || batch.cache == nil {
		return
	}
	headers, err := batch.headers.compose(request.FromContext(ctx), auth.FromContext(ctx), batch.public)
	if err != nil {
		return // LookupRows has told the caller
	}
	for i, key := range keys {
		if i < len(rows) && rows[i] != nil {
			row := make([]byte, len(rows[i])) // an empty message stays a row
			copy(row, rows[i])
			c.cache.Store(c.rowKey(r, batch, headers, base, key), upstream.Reply{Message: row}, batch.cache.MaxAge+batch.cache.StaleIfError)
		}
	}
}

// rowKey is the cache key of a row: that of the call of the single-row method that would bring it, if there is one and
// its answers are shared by the same clients, so that both meet in one entry; else one of the row's own.
func (c *Core) rowKey(r *upstream.Rows, batch *method, headers []sentHeader, base, key []byte) cache.Key {
	if r.Get != nil && r.GetField != nil && len(base) == 0 {
		get := c.methods[r.Get]
		if get != nil && get.cache != nil && get.public == batch.public && get.headers == batch.headers && sameElement(r.Into, r.GetField) {
			return callKey(get, headers, getRequest(r.GetField, key))
		}
	}
	b := cache.NewKey(nil)
	beginKey(&b, batch, headers)
	b.Add(base)
	b.Add(key)
	return b.Key()
}

// sameElement reports whether an element of the repeated field a is encoded as the singular field b is.
func sameElement(a, b protoreflect.FieldDescriptor) bool {
	return a.IsList() && !b.IsList() && !b.IsMap() && a.Kind() == b.Kind() && a.Kind() != protoreflect.GroupKind &&
		(a.Message() == nil || a.Message().FullName() == b.Message().FullName())
}

// getRequest is the canonical request that asks for one key. A field without presence is not written if it is zero.
func getRequest(field protoreflect.FieldDescriptor, key []byte) []byte {
	if !field.HasPresence() && len(bytes.Trim(key, "\x00")) == 0 && (len(key) == 0 || wireType(field.Kind()) != protowire.BytesType) {
		return nil
	}
	return appendField(nil, field, key)
}

// appendField appends one element of a field, given without its tag and length.
func appendField(dst []byte, field protoreflect.FieldDescriptor, value []byte) []byte {
	if field.Kind() == protoreflect.GroupKind {
		dst = protowire.AppendTag(dst, field.Number(), protowire.StartGroupType)
		return protowire.AppendGroup(dst, field.Number(), value)
	}
	t := wireType(field.Kind())
	dst = protowire.AppendTag(dst, field.Number(), t)
	if t == protowire.BytesType {
		return protowire.AppendBytes(dst, value)
	}
	return append(dst, value...)
}

// wireType is how a kind stands on the wire, not packed.
func wireType(k protoreflect.Kind) protowire.Type {
	switch k {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	default:
		return protowire.VarintType
	}
}
