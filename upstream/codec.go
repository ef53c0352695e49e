package upstream

import (
	"fmt"

	"google.golang.org/grpc/mem"

	"github.com/portico-bff/portico/mesh"
)

// rawReply is where the codec puts a received message.
type rawReply struct {
	message []byte
	// lease is where the message's memory comes from, if its memory is set; otherwise it belongs to the garbage collector.
	lease lease
}

var _ mesh.HedgedReply = (*rawReply)(nil)

// NewReply returns a reply for another attempt of the same call.
func (r *rawReply) NewReply() any { return &rawReply{lease: lease{memory: r.lease.memory}} }

// TakeReply takes over what the attempt that won has received.
func (r *rawReply) TakeReply(reply any) {
	if from, ok := reply.(*rawReply); ok {
		r.message = from.message
		r.lease.piece.Store(from.lease.piece.Swap(nil))
	}
}

// receive copies a message. An attempt that received before this one may have left a message: nobody gives that back.
func (r *rawReply) receive(data mem.BufferSlice) {
	var p *piece
	if n := data.Len(); n > 0 && r.lease.memory != nil {
		p = r.lease.memory.lend(n)
	}
	r.lease.piece.Store(p)
	if p == nil {
		r.message = data.Materialize()
		return
	}
	data.CopyTo(p.bytes)
	r.message = p.bytes
}

// lent returns the lease of the message's memory; nil if that belongs to the garbage collector.
func (r *rawReply) lent() *lease {
	if r.lease.piece.Load() == nil {
		return nil
	}
	return &r.lease
}

// rawCodec passes message bytes through. It sends a *[]byte, and receives into a *[rawReply] as one slice, so that no
// pooled buffer of gRPC's leaves this package.
type rawCodec struct{}

// Marshal copies the bytes into a pooled buffer: gRPC may still be writing them when the call has ended already, for
// instance because it was cancelled or because the service answered before it had read all.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("the raw codec sends *[]byte, not %T", v)
	}
	return mem.BufferSlice{mem.Copy(*b, mem.DefaultBufferPool())}, nil
}

// Unmarshal copies the message.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*rawReply)
	if !ok {
		return fmt.Errorf("the raw codec receives into *rawReply, not %T", v)
	}
	r.receive(data)
	return nil
}

// Name is the content subtype: the bytes are protobuf's.
func (rawCodec) Name() string { return "proto" }
