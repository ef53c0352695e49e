package edge_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portico-bff/portico/bff/edge"
	"github.com/portico-bff/portico/bff/request"
)

// disguised is a listener whose connections hide that they are TCP's, so that they cannot gather.
type disguised struct{ net.Listener }

func (l *disguised) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return struct{ net.Conn }{c}, err
}

// sized answers with as many bytes as the path says, in as many writes as the query says.
func sized(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(strings.Trim(r.URL.Path, "/"))
	writes, _ := strconv.Atoi(r.URL.RawQuery)
	body := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
	if writes <= 1 {
		w.Header()["Content-Length"] = []string{strconv.Itoa(n)}
		writes = 1
	}
	for part := range slices.Chunk(body, max(1, n/writes)) {
		if _, err := w.Write(part); err != nil {
			return
		}
	}
}

// listen serves sized behind the edge.
func listen(tb testing.TB, wrap func(net.Listener) net.Listener) string {
	tb.Helper()
	var h http.Handler = http.HandlerFunc(sized)
	for _, middleware := range slices.Backward(edge.Chain(edge.Config{}, edge.Options{
		Core: stub{}, Door: func(*http.Request) request.Door { return request.Mobile },
	})) {
		h = middleware(h)
	}
	server := edge.Server(edge.Config{}, h)
	server.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	lis, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(wrap(lis)) }()
	tb.Cleanup(func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			tb.Error(err)
		}
	})
	return lis.Addr().String()
}

// Answers of all sizes around those of net/http's buffers arrive whole and in order, one after the other on a connection,
// whether they are gathered or not.
func TestGather(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(net.Listener) net.Listener{
		"gathered":     edge.Gather,
		"not gathered": func(l net.Listener) net.Listener { return edge.Gather(&disguised{l}) },
	} {
		address := listen(t, wrap)
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				reader := bufio.NewReader(conn)
				for _, n := range []int{0, 1, 2047, 2048, 2049, 3500, 3800, 4095, 4096, 4097, 5000, 8192, 40_000, 300_000} {
					for writes := 1; writes <= 4; writes++ {
						fmt.Fprintf(conn, "GET /%d?%d HTTP/1.1\r\nHost: x\r\n\r\n", n+worker, writes)
						r, err := http.ReadResponse(reader, nil)
						if err != nil {
							t.Errorf("%s, %d bytes in %d writes: %v", name, n, writes, err)
							return
						}
						body, err := io.ReadAll(r.Body)
						want := bytes.Repeat([]byte("0123456789abcdef"), n/16+2)[:n+worker]
						if err != nil || !bytes.Equal(body, want) {
							t.Errorf("%s, %d bytes in %d writes: %d came, %v", name, n, writes, len(body), err)
							return
						}
					}
				}
			})
		}
		wg.Wait()
	}
}

// A client that leaves in the middle ends its own answer and nothing else.
func TestGatherForThoseWhoLeave(t *testing.T) {
	t.Parallel()
	address := listen(t, edge.Gather)
	for range 20 {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /3000000 HTTP/1.1\r\nHost: x\r\n\r\n")
		_ = conn.Close()
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/9000", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, err := io.ReadAll(r.Body); len(body) != 9000 || err != nil {
		t.Errorf("%d bytes, %v", len(body), err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func BenchmarkGather(b *testing.B) {
	for name, wrap := range map[string]func(net.Listener) net.Listener{
		"gathered":     edge.Gather,
		"not gathered": func(l net.Listener) net.Listener { return l },
	} {
		b.Run(name, func(b *testing.B) {
			conn, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", listen(b, wrap))
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			reader := bufio.NewReaderSize(conn, 64<<10)
			for b.Loop() {
				if _, err := io.WriteString(conn, "GET /9000 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
					b.Fatal(err)
				}
				r, err := http.ReadResponse(reader, nil)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, r.Body); n != 9000 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}
