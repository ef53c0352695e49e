package mesh

import (
	"bytes"
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/mesh/internal/policy"
)

const (
	// mirrorHeader marks the copy of a call.
	mirrorHeader = "x-mesh-mirror"
	// mirrorLimit is how many copies a client has under way at a time.
	mirrorLimit = 100
)

// mirror sends a copy of the call to another subset and forgets it. The copy has a
// request, a deadline and a reply of its own, no retries, and no say in whether an
// endpoint is healthy, so whatever becomes of it the call does not notice.
func (u *unaryCall) mirror(ctx context.Context, reply any, opts []grpc.CallOption) {
	ch := u.channel
	if !ch.mesh.happens(u.rule.Mirror.Percent) {
		return
	}
	req, fresh := copyRequest(u.req), freshReply(reply)
	if req == nil || fresh == nil || ch.mirrors.Add(1) > mirrorLimit {
		if req != nil && fresh != nil {
			ch.mirrors.Add(-1)
		}
		ch.mesh.counts.mirrorsDropped.Add(1)
		return
	}
	ch.mesh.counts.mirrors.Add(1)
	limit := u.rule.Timeout
	if limit == 0 {
		limit = policy.DefaultTimeout
	}
	ctx = metadata.AppendToOutgoingContext(context.WithoutCancel(ctx), mirrorHeader, "true")
	copied := &call{subset: u.rule.Mirror.Subset, mirrored: true}
	copied.Plain(ctx)
	answer := fresh()        // here, since it looks at the caller's reply
	ch.mesh.work.Go(func() { //nolint:contextcheck // copied is the context, of ctx
		defer ch.mirrors.Add(-1)
		ctx, cancel := context.WithTimeout(copied, limit)
		defer cancel()
		// The copy's answer is nobody's.
		_ = u.invoke(ctx, u.method, req, answer, u.conn, mirrorOptions(opts)...)
	})
}

// copyRequest copies what the caller may change once its call has returned; nil
// means that it cannot be copied.
func copyRequest(req any) any {
	switch req := req.(type) {
	case proto.Message:
		return proto.Clone(req)
	case []byte:
		return bytes.Clone(req)
	case *[]byte:
		clone := bytes.Clone(*req)
		return &clone
	}
	return nil
}

// mirrorOptions are a call's options without those that tell the caller something.
func mirrorOptions(opts []grpc.CallOption) []grpc.CallOption {
	kept := make([]grpc.CallOption, 0, len(opts))
	for _, opt := range opts {
		switch opt.(type) {
		case grpc.HeaderCallOption, grpc.TrailerCallOption, grpc.PeerCallOption, grpc.OnFinishCallOption:
		default:
			kept = append(kept, opt)
		}
	}
	return kept
}
