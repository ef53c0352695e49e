package node

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh"
)

// Behaviour is what a server does with a call; its zero value answers at once.
type Behaviour struct {
	// Slots is how many calls are worked on at a time, and Work how long each of them
	// takes: the server's capacity is Slots/Work. Others wait. Zero is no bound.
	Slots int
	Work  time.Duration
	// DelayPercent of the calls are answered late by Delay.
	Delay        time.Duration
	DelayPercent float64
	// FailPercent of the calls end with the code Fail.
	Fail        codes.Code
	FailPercent float64
	// Hang never answers.
	Hang bool
}

// Served is what a server saw.
type Served struct {
	// Calls came to the service, streams included; Mirrored of them were copies.
	Calls, Mirrored int64
	// Expired came over a connection whose certificate had ended.
	Expired int64
	// Callers are the calls by who made them.
	Callers map[string]int
	// Certificates is how many the callers have shown.
	Certificates int
	// Connections were accepted.
	Connections int64
	// IDs are the values of x-id, one for each call that had it.
	IDs []string
	// Ended is when the callers of hanging calls gave up.
	Ended []time.Time
}

// Hop is a server on a call's way, and the time that the call had left there.
type Hop struct {
	Server string
	Left   time.Duration
}

// service is gRPC's interop test service with faults: CacheableUnaryCall may be
// repeated, UnaryCall may not.
type service struct {
	testpb.UnimplementedTestServiceServer
	name string
	next testpb.TestServiceClient // nil at the last one

	calls, mirrored, expired atomic.Int64
	behaviour                atomic.Pointer[behaving]

	mu           sync.Mutex // guards what follows
	callers      map[string]int
	certificates map[string]bool
	ids          []string
	ended        []time.Time
}

type behaving struct {
	Behaviour
	slots chan struct{}
}

// Behave sets what the server does from now on.
func (n *Node) Behave(b Behaviour, _ *None) error {
	next := &behaving{Behaviour: b}
	if b.Slots > 0 {
		next.slots = make(chan struct{}, b.Slots)
	}
	n.service.behaviour.Store(next)
	return nil
}

// Served tells what the server has seen so far.
func (n *Node) Served(_ None, out *Served) error {
	s := &n.service
	s.mu.Lock()
	defer s.mu.Unlock()
	*out = Served{
		Calls: s.calls.Load(), Mirrored: s.mirrored.Load(), Expired: s.expired.Load(),
		Callers: maps.Clone(s.callers), Certificates: len(s.certificates), Connections: n.listener.accepted.Load(),
		IDs: slices.Clone(s.ids), Ended: slices.Clone(s.ended),
	}
	return nil
}

// UnaryCall is a call that must not be repeated.
func (s *service) UnaryCall(ctx context.Context, req *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return s.answer(ctx, req)
}

// CacheableUnaryCall is a call that may be repeated.
func (s *service) CacheableUnaryCall(ctx context.Context, req *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return s.answer(ctx, req)
}

// StreamingOutputCall sends one answer.
func (s *service) StreamingOutputCall(_ *testpb.StreamingOutputCallRequest, stream testpb.TestService_StreamingOutputCallServer) error {
	s.look(stream.Context())
	return stream.Send(&testpb.StreamingOutputCallResponse{})
}

// FullDuplexCall answers each message.
func (s *service) FullDuplexCall(stream testpb.TestService_FullDuplexCallServer) error {
	s.look(stream.Context())
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{}); err != nil {
			return err
		}
	}
}

// answer serves a call: it waits or fails as the behaviour says, then asks the next
// server, if there is one. The answer's payload are the hops from here on.
func (s *service) answer(ctx context.Context, req *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	deadline, _ := ctx.Deadline()
	hops := []Hop{{Server: s.name, Left: time.Until(deadline)}}
	s.look(ctx)
	if b := s.behaviour.Load(); b != nil {
		if err := s.behave(ctx, b); err != nil {
			return nil, err
		}
	}
	if s.next != nil {
		reply, err := s.next.CacheableUnaryCall(ctx, req)
		if err != nil {
			return nil, err
		}
		var further []Hop
		if err := json.Unmarshal(reply.GetPayload().GetBody(), &further); err != nil {
			return nil, status.Error(codes.Internal, "the next server's answer cannot be read")
		}
		hops = append(hops, further...)
	}
	body, err := json.Marshal(hops)
	if err != nil {
		return nil, err
	}
	return &testpb.SimpleResponse{ServerId: s.name, Payload: &testpb.Payload{Body: body}}, nil
}

func (s *service) behave(ctx context.Context, b *behaving) error {
	if b.Hang {
		<-ctx.Done()
		s.gaveUp()
		return status.FromContextError(ctx.Err()).Err()
	}
	if b.slots != nil {
		select {
		case b.slots <- struct{}{}:
			defer func() { <-b.slots }()
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
		time.Sleep(b.Work) // work does not stop because nobody waits for it
	}
	if chance(b.DelayPercent) {
		timer := time.NewTimer(b.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			s.gaveUp()
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	if chance(b.FailPercent) {
		return status.Error(b.Fail, "as told")
	}
	return nil
}

func chance(percent float64) bool {
	return percent > 0 && rand.Float64()*100 < percent //nolint:gosec // a fault, no secret
}

func (s *service) gaveUp() {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, now)
}

// look notes who calls, over what.
func (s *service) look(ctx context.Context) {
	s.calls.Add(1)
	if len(metadata.ValueFromIncomingContext(ctx, "x-mesh-mirror")) > 0 {
		s.mirrored.Add(1)
	}
	serial := ""
	if p, ok := peer.FromContext(ctx); ok {
		var end time.Time
		if serial, end = certificate(p.AuthInfo); !time.Now().Before(end) {
			s.expired.Add(1)
		}
	}
	caller, _ := mesh.Peer(ctx)
	id := metadata.ValueFromIncomingContext(ctx, "x-id")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.callers == nil {
		s.callers, s.certificates = map[string]int{}, map[string]bool{}
	}
	s.callers[caller.String()]++
	s.certificates[serial] = true
	s.ids = append(s.ids, id...)
}
