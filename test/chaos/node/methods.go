package node

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
)

// invoke calls one method and returns the payload of its answer, if it has one. A
// stream has succeeded when one message has come back.
func (n *Node) invoke(ctx context.Context, method string) ([]byte, error) {
	if n.conn == nil {
		return nil, errors.New("the node has no target")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the streams
	client := testpb.NewTestServiceClient(n.conn)
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
		_, err := grpc_health_v1.NewHealthClient(n.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		return nil, err
	case grpc_health_v1.Health_Watch_FullMethodName:
		return nil, first(grpc_health_v1.NewHealthClient(n.conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{}))
	case grpc_reflection_v1.ServerReflection_ServerReflectionInfo_FullMethodName:
		stream, err := grpc_reflection_v1.NewServerReflectionClient(n.conn).ServerReflectionInfo(ctx)
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
