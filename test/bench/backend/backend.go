// Package backend is the gRPC service behind every contender. Its answers are encoded once, when it starts, so that it
// leaves as much of the machine as possible to the contenders.
package backend

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	// The codec that requests are read with.
	_ "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	benchv1 "github.com/portico-bff/portico/test/bench/gen/bench/v1"
	"github.com/portico-bff/portico/test/bench/sample"
)

// Number is the number of the order that the service has.
const Number = 7

// encoded is an answer in wire format.
type encoded []byte

// codec writes encoded answers as they are, and reads requests like everybody.
type codec struct{ encoding.CodecV2 }

// Marshal implements [encoding.CodecV2].
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if answer, ok := v.(encoded); ok {
		return mem.BufferSlice{mem.SliceBuffer(answer)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// New makes the server.
func New() (*grpc.Server, error) {
	order, err := proto.Marshal(sample.Order(Number))
	if err != nil {
		return nil, err
	}
	page, err := proto.Marshal(sample.Page())
	if err != nil {
		return nil, err
	}
	s := grpc.NewServer(grpc.ForceServerCodecV2(codec{encoding.GetCodecV2("proto")}))
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: benchv1.OrderService_ServiceDesc.ServiceName,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			method("GetOrder", func(r *benchv1.GetOrderRequest) (encoded, error) {
				if r.GetOrderId() != sample.ID(Number) {
					return nil, status.Error(codes.NotFound, "there is no such order")
				}
				return order, nil
			}),
			method("ListOrders", func(r *benchv1.ListOrdersRequest) (encoded, error) {
				if r.GetPageSize() != sample.PageSize {
					return nil, status.Error(codes.InvalidArgument, "pages of this size were not prepared")
				}
				return page, nil
			}),
		},
	}, nil)
	return s, nil
}

// method makes a unary method of a function from requests to answers.
func method[T any](name string, answer func(*T) (encoded, error)) grpc.MethodDesc {
	return grpc.MethodDesc{
		MethodName: name,
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			request := new(T)
			if err := decode(request); err != nil {
				return nil, err
			}
			return answer(request)
		},
	}
}

// Serve answers calls at a listener until ctx ends.
func Serve(ctx context.Context, lis net.Listener) error {
	s, err := New()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, s.Stop)()
	return s.Serve(lis)
}
