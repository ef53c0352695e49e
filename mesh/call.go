package mesh

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/policy"
)

// call is one call's state over its attempts. The interceptor puts it into the
// context, the picker and its Done write to it; gRPC orders the two.
type call struct {
	host    *outlier.Host   // of the current attempt
	tried   []*outlier.Host // of earlier ones, if they are to be avoided
	trailer metadata.MD     // of the last attempt
	limited bool            // the attempt's time limit is the mesh's own
}

type callKey struct{}

func (c *call) hasTried(h *outlier.Host) bool { return slices.Contains(c.tried, h) }

// unary makes a unary call: deadline, then attempts.
func (ch *channel) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	m := ch.mesh
	plan := ch.plan()
	rule, _ := plan.rule(ctx, method)
	m.counts.calls.Add(1)
	plan.budget.Deposit()

	c := &call{}
	ctx = context.WithValue(m.trace.send(ctx), callKey{}, c)
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > rule.Timeout {
		c.limited = true
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, rule.Timeout)
		defer cancel()
	}
	wholeLimited := c.limited
	for attempt := 0; ; attempt++ {
		m.counts.attempts.Add(1)
		c.host, c.trailer, c.limited = nil, nil, wholeLimited
		err, timedOut := ch.try(ctx, c, rule, func(ctx context.Context) error {
			return invoke(ctx, method, req, reply, cc, opts...)
		})
		if err == nil || attempt >= rule.Retries.Attempts || ctx.Err() != nil {
			return err
		}
		if !timedOut && !rule.Retries.On.Has(status.Code(err)) || !m.idempotent(method) {
			return err
		}
		wait, ok := pause(rule, attempt, c.trailer)
		if !ok {
			return err
		}
		event := Event{Target: ch.target, Method: method, Err: err}
		if c.host != nil {
			event.Endpoint = c.host.Address()
		}
		if !plan.budget.Withdraw() {
			m.counts.retriesRefused.Add(1)
			event.Kind = RetryRefused
			m.onEvent(event)
			return err
		}
		if deadline, ok := ctx.Deadline(); (ok && time.Until(deadline) <= wait) || !sleep(ctx, wait) {
			return err
		}
		m.counts.retries.Add(1)
		event.Kind = AttemptRetried
		m.onEvent(event)
		if c.host != nil && rule.Retries.IgnorePrevious {
			c.tried = append(c.tried, c.host)
		}
	}
}

// try makes one attempt; timedOut says that its own limit ended it.
func (ch *channel) try(ctx context.Context, c *call, rule *policy.RouteRule, invoke func(context.Context) error) (err error, timedOut bool) {
	limit := rule.Retries.PerTryTimeout
	if limit == 0 {
		return invoke(ctx), false
	}
	attempt, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c.limited = true
	err = invoke(attempt)
	return err, err != nil && attempt.Err() != nil && ctx.Err() == nil
}

// pause says how long to wait before the next attempt: what the server asks for,
// or a jittered backoff. It is false if the server asks for none.
func pause(rule *policy.RouteRule, attempt int, trailer metadata.MD) (time.Duration, bool) {
	if asked := trailer.Get("grpc-retry-pushback-ms"); len(asked) > 0 {
		ms, err := strconv.ParseInt(asked[0], 10, 32)
		if err != nil || ms < 0 || len(asked) > 1 {
			return 0, false
		}
		return time.Duration(ms) * time.Millisecond, true
	}
	wait := rule.Retries.MaxBackoff
	if attempt < 16 {
		wait = min(wait, rule.Retries.BaseBackoff<<attempt)
	}
	return time.Duration((0.8 + 0.4*rand.Float64()) * float64(wait)), true //nolint:gosec // spreads load, no secret
}

// stream opens a stream. It is balanced and its endpoint judged like a call's;
// it has no default deadline and is not retried, as messages may have been seen.
func (ch *channel) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ch.plan() // takes up a changed policy
	inner, err := open(ch.mesh.trace.send(ctx), desc, cc, method, opts...)
	if err != nil {
		return nil, err
	}
	return &clientStream{ClientStream: inner, mesh: ch.mesh, method: method}, nil
}

// clientStream tells the end of a connection's certificate from a failure.
type clientStream struct {
	grpc.ClientStream
	mesh   *Mesh
	method string
	once   sync.Once
}

// RecvMsg receives a message.
func (s *clientStream) RecvMsg(msg any) error {
	err := s.ClientStream.RecvMsg(msg)
	if err == nil || status.Code(err) != codes.Unavailable {
		return err
	}
	if st := status.Convert(err); !rotated(st) {
		info, ok := tlsInfo(s.Context())
		if !ok {
			return err
		}
		if end, ok := peerExpiry(&info); !ok || time.Until(end) > 0 {
			return err
		}
		err = errRotated()
	}
	s.once.Do(func() {
		s.mesh.counts.rotated.Add(1)
		s.mesh.onEvent(Event{Kind: StreamRotated, Method: s.method})
	})
	return err
}

// linkedIdempotency reads idempotency_level from the descriptors that are linked
// into the program, each method once.
func linkedIdempotency() func(string) bool {
	var known sync.Map // full method -> bool; as many as the program calls
	return func(method string) bool {
		if answer, ok := known.Load(method); ok {
			return answer == true
		}
		answer := declaredIdempotent(method)
		known.Store(method, answer)
		return answer
	}
}

func declaredIdempotent(fullMethod string) bool {
	name := protoreflect.FullName(methodName(fullMethod))
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return false
	}
	method, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return false
	}
	options, ok := method.Options().(*descriptorpb.MethodOptions)
	return ok && options.GetIdempotencyLevel() != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
}

// methodName turns "/pkg.Service/Method" into "pkg.Service.Method".
func methodName(fullMethod string) string {
	name := []byte(fullMethod)
	if len(name) > 0 && name[0] == '/' {
		name = name[1:]
	}
	if at := slices.Index(name, '/'); at >= 0 {
		name[at] = '.'
	}
	return string(name)
}
