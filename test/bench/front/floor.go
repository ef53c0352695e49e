package front

import (
	"fmt"
	"net/http"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	benchv1 "github.com/portico-bff/portico/test/bench/gen/bench/v1"
)

// raw is a codec that hands bytes through.
type raw struct{}

// Marshal implements [encoding.CodecV2].
func (raw) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("cannot send %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

// Unmarshal implements [encoding.CodecV2].
func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	into, ok := v.(*mem.BufferSlice)
	if !ok {
		return fmt.Errorf("cannot receive into %T", v)
	}
	data.Ref()
	*into = data
	return nil
}

// Name implements [encoding.CodecV2].
func (raw) Name() string { return "proto" }

// Floor makes what no front on net/http and grpc-go can be faster than: it makes the service's requests of paths and
// queries by hand, and answers with the bytes that the service answered with. It knows no identity, rule, limit or log,
// and writes no JSON.
func Floor(target string) (http.Handler, func() error, error) {
	conn, err := dial(target)
	if err != nil {
		return nil, nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/orders/{order_id}", func(w http.ResponseWriter, r *http.Request) {
		request := protowire.AppendTag(nil, 1, protowire.BytesType)
		pass(w, r, conn, benchv1.OrderService_GetOrder_FullMethodName, protowire.AppendString(request, r.PathValue("order_id")))
	})
	mux.HandleFunc("GET /v1/orders", func(w http.ResponseWriter, r *http.Request) {
		size, err := strconv.ParseInt(r.URL.Query().Get("page_size"), 10, 32)
		if err != nil {
			http.Error(w, "page_size", http.StatusBadRequest)
			return
		}
		request := protowire.AppendTag(nil, 1, protowire.VarintType)
		pass(w, r, conn, benchv1.OrderService_ListOrders_FullMethodName, protowire.AppendVarint(request, uint64(size)))
	})
	return mux, conn.Close, nil
}

// pass calls a method and hands its answer on.
func pass(w http.ResponseWriter, r *http.Request, conn *grpc.ClientConn, method string, request []byte) {
	var answer mem.BufferSlice
	if err := conn.Invoke(r.Context(), method, request, &answer, grpc.ForceCodecV2(raw{})); err != nil {
		http.Error(w, "the service failed", http.StatusBadGateway)
		return
	}
	defer answer.Free()
	w.Header()["Content-Type"] = []string{"application/protobuf"}
	w.Header()["Content-Length"] = []string{strconv.Itoa(answer.Len())}
	for _, part := range answer {
		if _, err := w.Write(part.ReadOnlyData()); err != nil {
			return
		}
	}
}
