package schema_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/upstream"
)

// lending is a Caller whose answers lie in lent memory: upstream's own, before a service in this process. It keeps
// everything that it has lent from the garbage collector, and so from being lent as new memory.
type lending struct {
	*upstream.Clients

	mu    sync.Mutex
	lent  map[*byte]bool
	again int // how often memory was lent that had been lent before
}

func newLending(t *testing.T, f *fake) *lending {
	t.Helper()
	d := library(t)
	clients, err := upstream.NewClients(map[string]upstream.Config{"library": {
		Target: "passthrough:///nowhere", Services: []string{"library.v1.Library"}, TLS: upstream.TLS{Mode: upstream.TLSNone},
	}}, d, nil, grpc.WithUnaryInterceptor(
		func(ctx context.Context, path string, req, reply any, _ *grpc.ClientConn, _ grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			m, _ := d.Method(strings.TrimPrefix(path, "/"))
			request, _ := req.(*[]byte)
			answer, err := f.Invoke(ctx, m, *request)
			if err != nil {
				return err
			}
			for _, o := range opts {
				if codec, ok := o.(grpc.ForceCodecV2CallOption); ok {
					return codec.CodecV2.Unmarshal(mem.BufferSlice{mem.SliceBuffer(answer.Message)}, reply)
				}
			}
			return errors.New("no codec")
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = clients.Close() })
	return &lending{Clients: clients, lent: map[*byte]bool{}}
}

func (l *lending) Invoke(ctx context.Context, m *upstream.Method, req []byte) (upstream.Reply, error) {
	r, err := l.Clients.Invoke(ctx, m, req)
	if len(r.Message) > 0 {
		l.mu.Lock()
		defer l.mu.Unlock()
		if at := &r.Message[0]; l.lent[at] {
			l.again++
		} else {
			l.lent[at] = true
		}
	}
	return r, err
}

// The memory of answers is given back when the response has been written, and not before: responses that others' answers
// are written over while they are made would be wrong.
func TestAnswersAreReleased(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	l := newLending(t, newFake(t, map[string]handler{
		"GetBook": func(_ context.Context, req map[string]any) (string, error) {
			id := fmt.Sprint(req["book_id"])
			return `{"book_id": "` + id + `", "title": "` + strings.Repeat(id, 50) + `", "author_id": "a-` + id + `"}`, nil
		},
		"BatchGetAuthors": authors(),
		"Touch":           answer(`{}`),
	}))
	query := compile(t, s, `query($id: ID!) { book(id: $id) { id title author { name } } }`)
	mutation := compile(t, s, `mutation($id: ID!) { touch(id: $id) book: touchBook(id: $id) { id title author { name } } }`)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 100 {
				id := fmt.Sprintf("%d-%d", worker, i)
				vars := map[string]any{"id": id}
				book := `"book":{"id":"` + id + `","title":"` + strings.Repeat(id, 50) + `","author":{"name":"Name of a-` + id + `"}}}`
				if got, want := execute(t, query, l, vars), `{`+book; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				if got, want := execute(t, mutation, l, vars), `{"touch":true,`+book; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
		})
	}
	wg.Wait()
	if l.again == 0 {
		t.Errorf("none of %d pieces of memory was lent again", len(l.lent))
	}
}
