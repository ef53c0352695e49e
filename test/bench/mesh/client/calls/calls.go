// Package calls is what the two smallest clients have in common: they call as fast as they are answered until their
// input ends, so that somebody can look at their memory.
package calls

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	atATime = 64
	size    = 128
)

// Run calls the method over the connection until in ends. It tells out when the first call has been answered.
func Run(conn grpc.ClientConnInterface, method string, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	call := func() error {
		return conn.Invoke(ctx, method, wrapperspb.Bytes(make([]byte, size)), new(wrapperspb.BytesValue))
	}
	if err := call(); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	errs := make([]error, atATime)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := call(); err != nil && ctx.Err() == nil {
					errs[i] = err
					return
				}
			}
		})
	}
	_, err := io.Copy(io.Discard, in)
	cancel()
	all.Wait()
	return cmp.Or(cmp.Or(errs...), err)
}
