package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// Resources is what the process holds.
type Resources struct {
	Goroutines, Descriptors int
	Heap                    int64 // bytes in use, after a collection
}

// Resources tells what the process holds at the moment.
func (n *Node) Resources(_ None, out *Resources) error {
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	// What finalizers let go of is collected the second time.
	runtime.GC()
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	*out = Resources{
		Goroutines: runtime.NumGoroutine(), Descriptors: len(descriptors),
		Heap: int64(memory.HeapAlloc),
	}
	return nil
}

// Cycle opens a client of the target, makes a call and closes it, again and again.
func (n *Node) Cycle(times int, _ *None) error {
	for i := range times {
		conn, err := n.newClient()
		if err != nil {
			return err
		}
		_, err = testpb.NewTestServiceClient(conn).UnaryCall(context.Background(), payload(), grpc.WaitForReady(true))
		if closing := conn.Close(); err != nil || closing != nil {
			return fmt.Errorf("client %d: %w", i, errors.Join(err, closing))
		}
	}
	return nil
}
