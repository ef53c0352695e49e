package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh"
)

// Call is one call.
type Call struct {
	// Method is a full method of the test, health or reflection service.
	Method  string
	Headers map[string]string
	// Address is the server to call instead of the node's target, if it is Expect.
	Address, Expect string
	// Timeout is its deadline, zero none; after Cancel, if not zero, it is given up.
	Timeout, Cancel time.Duration
}

// Answer is what became of it.
type Answer struct {
	Code, Message string
	Hops          []Hop
	Began, Ended  time.Time
	// Cancelled is when it was given up.
	Cancelled time.Time
}

// Ask makes one call.
func (n *Node) Ask(in Call, out *Answer) error {
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(context.Background(), metadata.New(in.Headers)))
	defer cancel()
	if in.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, in.Timeout)
		defer cancel()
	}
	var cancelled atomic.Pointer[time.Time]
	if in.Cancel > 0 {
		timer := time.AfterFunc(in.Cancel, func() {
			now := time.Now()
			cancelled.Store(&now)
			cancel()
		})
		defer timer.Stop()
	}
	conn := n.conn
	if in.Address != "" {
		other, err := n.mesh.NewClient("static:///"+in.Address, mesh.ExpectIdentity(in.Expect))
		if err != nil {
			return err
		}
		defer func() { _ = other.Close() }()
		conn = other
	}
	out.Began = time.Now()
	body, err := invoke(ctx, conn, in.Method)
	out.Ended = time.Now()
	if at := cancelled.Load(); at != nil {
		out.Cancelled = *at
	}
	s := status.Convert(err)
	out.Code, out.Message = s.Code().String(), s.Message()
	if len(body) == 0 {
		return nil
	}
	return json.Unmarshal(body, &out.Hops)
}

// invoke calls one method and returns the payload of its answer, if it has one. A
// stream has succeeded when one message has come back.
func invoke(ctx context.Context, conn *grpc.ClientConn, method string) ([]byte, error) {
	if conn == nil {
		return nil, errors.New("the node has no target")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the streams
	client := testpb.NewTestServiceClient(conn)
	switch method {
	case testpb.TestService_UnaryCall_FullMethodName:
		reply, err := client.UnaryCall(ctx, payload())
		return reply.GetPayload().GetBody(), err
	case testpb.TestService_CacheableUnaryCall_FullMethodName:
		reply, err := client.CacheableUnaryCall(ctx, payload())
		return reply.GetPayload().GetBody(), err
	case testpb.TestService_StreamingOutputCall_FullMethodName:
		return nil, first(client.StreamingOutputCall(ctx, &testpb.StreamingOutputCallRequest{}))
	case testpb.TestService_FullDuplexCall_FullMethodName:
		return nil, exchange(client.FullDuplexCall(ctx))(&testpb.StreamingOutputCallRequest{})
	case grpc_health_v1.Health_Check_FullMethodName:
		_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		return nil, err
	case grpc_health_v1.Health_Watch_FullMethodName:
		return nil, first(grpc_health_v1.NewHealthClient(conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{}))
	case grpc_reflection_v1.ServerReflection_ServerReflectionInfo_FullMethodName:
		stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
		return nil, exchange(stream, err)(&grpc_reflection_v1.ServerReflectionRequest{
			MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
		})
	default:
		return nil, fmt.Errorf("method %q: nobody has taught the node to call it", method)
	}
}

// first receives one message.
func first[Out any](stream grpc.ServerStreamingClient[Out], err error) error {
	if err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

// exchange sends one message and receives one.
func exchange[In, Out any](stream grpc.BidiStreamingClient[In, Out], err error) func(*In) error {
	return func(message *In) error {
		if err != nil {
			return err
		}
		// What ends the stream is Recv's to tell.
		_ = stream.Send(message)
		_, err := stream.Recv()
		return err
	}
}
