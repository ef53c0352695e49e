package edge_test

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portico-bff/portico/bff/edge"
	"github.com/portico-bff/portico/bff/request"
)

// raw sends bytes to a server and returns all that it answers before it closes.
func raw(t *testing.T, address, bytes string) string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, bytes); err != nil {
		t.Logf("writing: %v", err) // the server may have answered and closed already
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Logf("reading: %v", err)
	}
	return string(answer)
}

// What two servers could read differently is refused, so that no request hides in another one: CL/TE pairs, bare line
// ends, folded headers (RFC 9112, sections 5.2, 6.1 and 6.3).
func TestSmuggling(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var paths []string
	h := behind(edge.Config{Body: 1 << 10, Header: 8 << 10, ReadTimeout: 2 * time.Second}, stub{}, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		paths = append(paths, request.FromContext(r.Context()).Path)
	})
	server := edge.Server(edge.Config{Body: 1 << 10, Header: 8 << 10, ReadTimeout: 2 * time.Second}, h)
	server.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	address := listener.Addr().String()

	const head = "POST /outer HTTP/1.1\r\nHost: x\r\n"
	const hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, test := range []struct{ name, bytes, status string }{
		{"a length and chunks", head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, "200"},
		{"chunks and a length", head + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + hidden, "200"},
		{"two lengths", head + "Content-Length: 5\r\nContent-Length: 6\r\nConnection: close\r\n\r\n" + hidden, "400"},
		{"a list of lengths", head + "Content-Length: 5, 6\r\n\r\n" + hidden, "400"},
		{"a signed length", head + "Content-Length: +5\r\n\r\n" + hidden, "400"},
		{"a negative length", head + "Content-Length: -1\r\n\r\n" + hidden, "400"},
		{"a hexadecimal length", head + "Content-Length: 0x5\r\n\r\n" + hidden, "400"},
		{"an unknown coding", head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden, "501"},
		{"two codings", head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden, "501"},
		{"a coding with a tab", head + "Transfer-Encoding:\tchunked, identity\r\n\r\n0\r\n\r\n" + hidden, "501"},
		{"a space before the colon", head + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden, "400"},
		{"a folded header", head + "X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "200"},
		{"a bare CR in a header", head + "X: a\rTransfer-Encoding: chunked\r\n\r\n" + hidden, "400"},
		{"a bare CR after the request line", "POST /outer HTTP/1.1\rHost: x\r\n\r\n" + hidden, "400"},
		{"a bare CR as the end of the head", head + "\r\r\n" + hidden, "400"},
		{"a bare LF in a header, before a length", head + "X: a\nContent-Length: 0\r\nContent-Length: 60\r\n\r\n" + hidden, "400"},
		{"a bare LF as the end of a chunk", head + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\n\n" + hidden, "200"},
		{"an extension that hides a chunk's end", head + "Transfer-Encoding: chunked\r\n\r\n2;\nxx\r\n0\r\n\r\n" + hidden, "200"},
		{"a length and a coding of no chunks", head + "Content-Length: 4\r\nTransfer-Encoding: identity\r\n\r\nabcd" + hidden, "501"},
		{"a coding under HTTP/1.0", "POST /outer HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n" + hidden, "200"},
		{"a version that there is not", "POST /outer HTTP/1.1.1\r\nHost: x\r\n\r\n" + hidden, "400"},
		{"a folded first header", "POST /outer HTTP/1.1\r\n Content-Length: 60\r\nHost: x\r\n\r\n" + hidden, "400"},
		{"a header without a name", head + ": 5\r\n\r\n" + hidden, "400"},
		{"a header without a colon", head + "Content-Length\r\n\r\n" + hidden, "400"},
		{"NUL in a header", head + "X: a\x00b\r\n\r\n" + hidden, "400"},
		{"no host", "GET /x HTTP/1.1\r\n\r\n", "400"},
		{"two hosts", "GET /x HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400"},
		{"a space in the path", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		{"a control character in the path", "GET /a\x01b HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		{"a malformed escape in the path", "GET /a%zz HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		{"NUL in the path", "GET /a%00b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "400"},
		{"dots in the path", "GET /a/%2e%2e/hidden HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "400"},
		{"a long path", "GET /" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", "431"},
		{"many headers", "GET /x HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-Y: z\r\n", 5000) + "\r\n", "431"},
		{"a claimed GiB", head + "Content-Length: 1073741824\r\n\r\n", "413"},
		{"a chunk larger than the limit", head + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n7fffffffffffffff\r\n" + hidden, "200"},
		{"a malformed chunk", head + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n" + hidden, "200"},
	} {
		answer := strings.ReplaceAll(raw(t, address, test.bytes), "HTTP/1.0 ", "HTTP/1.1 ")
		status, _, _ := strings.Cut(strings.TrimPrefix(answer, "HTTP/1.1 "), " ")
		if status != test.status {
			t.Errorf("%s: status %s, want %s; answer %.200q", test.name, status, test.status, answer)
		}
		if n := strings.Count(answer, "HTTP/1.1 "); n != 1 {
			t.Errorf("%s: %d answers: %q", test.name, n, answer)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, path := range paths {
		if path == "/hidden" {
			t.Error("a hidden request was served")
		}
	}
}
