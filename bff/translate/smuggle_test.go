package translate_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/edge"
	"github.com/portico-bff/portico/bff/limit"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/upstream"
)

// everybody lets all in.
type everybody struct{}

func (everybody) Identify(context.Context, auth.Credentials) (*auth.Principal, error) {
	return &auth.Principal{Kind: auth.Anonymous}, nil
}

func (everybody) Admit(context.Context, core.Operation, int) (limit.Result, error) {
	return limit.Result{Allowed: true}, nil
}

// exposed is the library behind the edge, on a port, with the calls that its requests lead to.
type exposed struct {
	address string

	// mu guards calls, and the path that rules have seen with the last one.
	mu    sync.Mutex
	calls []string
	path  string
}

func expose(t *testing.T) *exposed {
	t.Helper()
	d := library(t)
	e := &exposed{}
	var h http.Handler = router(t, d, stub{invoke: func(ctx context.Context, m *upstream.Method, req []byte) (upstream.Reply, error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.path = request.FromContext(ctx).Path
		e.calls = append(e.calls, string(m.Desc.Name())+" "+jsonOf(t, m.Input, req))
		return upstream.Reply{}, nil
	}})
	cfg := edge.Config{Body: 1 << 10, Header: 8 << 10, ReadTimeout: time.Second}
	chain := edge.Chain(cfg, edge.Options{Core: everybody{}, Door: func(*http.Request) request.Door { return request.Mobile }})
	for _, middleware := range slices.Backward(chain) {
		h = middleware(h)
	}
	server := edge.Server(cfg, h)
	server.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.address = listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil { // connections linger after a refusal
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return e
}

// send sends bytes on a connection of their own, and returns the statuses of all answers that come before the server
// closes it, and the calls that have been made.
func (e *exposed) send(t *testing.T, bytes string) (statuses []int, calls []string) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", e.address)
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
	reader := bufio.NewReader(conn)
	for {
		r, err := http.ReadResponse(reader, nil)
		if err != nil {
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				t.Errorf("the connection stays open: %.100q", bytes)
			}
			break
		}
		statuses = append(statuses, r.StatusCode)
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Errorf("%.100q: reading an answer: %v", bytes, err)
		}
		_ = r.Body.Close()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	calls, e.calls = e.calls, nil
	return statuses, calls
}

// Every odd request is read in exactly one way, and none is ever served out of another one's body.
//
// What net/http lets through is this. A Transfer-Encoding beside a Content-Length: the coding counts, the length is dropped
// without a trace, so that package edge closes the connection after every request with a coding (RFC 9112, section 6.3:
// "the server MUST close"). The same under HTTP/1.0, where there is no coding (section 6.1). Equal lengths, given more than
// once, are one (section 6.3). A folded header is one with spaces (section 5.2), which is one of the two things
// that a server may do. A line may end with LF alone (section 2.2), but not in a chunked body. All else is refused.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	const (
		head    = "POST /v1/books HTTP/1.1\r\nHost: x\r\n"
		hidden  = "GET /v1/books/hidden HTTP/1.1\r\nHost: x\r\n\r\n"
		chunked = head + "Transfer-Encoding: chunked\r\n\r\n"
		bookA   = `{"title":"A"}` // 13 bytes
		made    = `CreateBook {"title":"A"}`
	)
	withLength := func(length string) string { return head + "Content-Length: " + length + "\r\n\r\n" + bookA + hidden }
	withCoding := func(coding string) string { return head + coding + "\r\n\r\nd\r\n" + bookA + "\r\n0\r\n\r\n" + hidden }
	withSize := func(size string) string { return chunked + size + "\r\n" + bookA + "\r\n0\r\n\r\n" + hidden }
	refused := func(status int) []int { return []int{status} }
	taken := []int{http.StatusOK}
	e := expose(t)
	for _, test := range []struct {
		name, bytes string
		statuses    []int
		calls       []string
	}{
		{"a length, then a coding", withCoding("Content-Length: 4\r\nTransfer-Encoding: chunked"), taken, []string{made}},
		{"a coding, then a length", withCoding("Transfer-Encoding: chunked\r\nContent-Length: 4"), taken, []string{made}},
		{
			"a length that hides a request behind the last chunk",
			head + fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 5+len(hidden)) + hidden, taken,
			[]string{"CreateBook {}"},
		},
		{"a malformed length beside a coding", withCoding("Transfer-Encoding: chunked\r\nContent-Length: x"), refused(400), nil},
		{"two lengths beside a coding", withCoding("Content-Length: 4\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"), refused(400), nil},
		{"a coding alone", withCoding("Transfer-Encoding: chunked"), taken, []string{made}},
		{"a coding in capitals", withCoding("TRANSFER-ENCODING: CHUNKED"), taken, []string{made}},
		{"a coding with a tab before it", withCoding("Transfer-Encoding:\tchunked"), taken, []string{made}},
		{"a folded coding", withCoding("Transfer-Encoding:\r\n chunked"), taken, []string{made}},
		{"the coding twice", withCoding("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), refused(501), nil},
		{"the coding twice in a list", withCoding("Transfer-Encoding: chunked, chunked"), refused(501), nil},
		{"two codings", withCoding("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"), refused(501), nil},
		{"chunked before another", withCoding("Transfer-Encoding: chunked, identity"), refused(501), nil},
		{"chunked after another", withCoding("Transfer-Encoding: gzip, chunked"), refused(501), nil},
		{"identity beside a length", withCoding("Transfer-Encoding: identity\r\nContent-Length: 13"), refused(501), nil},
		{"an unknown coding", withCoding("Transfer-Encoding: xchunked"), refused(501), nil},
		{"an empty coding", withCoding("Transfer-Encoding:"), refused(501), nil},
		{"a coding with a parameter", withCoding("Transfer-Encoding: chunked;q=1"), refused(501), nil},
		{"a quoted coding", withCoding(`Transfer-Encoding: "chunked"`), refused(501), nil},
		{"a vertical tab before the coding", withCoding("Transfer-Encoding: \x0bchunked"), refused(400), nil},
		{"a space before the colon of the coding", withCoding("Transfer-Encoding : chunked"), refused(400), nil},
		{"a space before the coding's name", withCoding("X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\nConnection: close"), taken, []string{"CreateBook {}"}},
		{"a fold in the first header", "POST /v1/books HTTP/1.1\r\n Content-Length: 60\r\nHost: x\r\n\r\n" + hidden, refused(400), nil},
		{"a coding under HTTP/1.0", "POST /v1/books HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, taken, []string{"CreateBook {}"}},

		{"equal lengths", head + "Content-Length: 13\r\nContent-Length: 13\r\nConnection: close\r\n\r\n" + bookA + hidden, taken, []string{made}},
		{"different lengths", head + "Content-Length: 13\r\nContent-Length: 14\r\n\r\n" + bookA + hidden, refused(400), nil},
		{"lengths equal in number only", head + "Content-Length: 13\r\nContent-Length: 013\r\n\r\n" + bookA + hidden, refused(400), nil},
		{"a list of lengths", withLength("13, 13"), refused(400), nil},
		{"a signed length", withLength("+13"), refused(400), nil},
		{"a negative length", withLength("-13"), refused(400), nil},
		{"a hexadecimal length", withLength("0xd"), refused(400), nil},
		{"a broken length", withLength("13.0"), refused(400), nil},
		{"a length with a space in it", withLength("1 3"), refused(400), nil},
		{"a length of no number", withLength("13;"), refused(400), nil},
		{"no length where one should be", withLength(""), refused(400), nil},
		{"a length that overflows", withLength("18446744073709551629"), refused(400), nil},
		{"a length in other digits", withLength("١٣"), refused(400), nil},
		{"a claimed GiB", withLength("1073741824"), refused(413), nil},

		{"a bare CR in a header", head + "X: a\rTransfer-Encoding: chunked\r\n\r\n" + hidden, refused(400), nil},
		{"a bare CR in the request line", "POST /v1/books HTTP/1.1\rHost: x\r\n\r\n" + hidden, refused(400), nil},
		{"a bare CR before the end of the head", head + "\r\r\n" + hidden, refused(400), nil},
		{"NUL in a header", head + "X: a\x00b\r\n\r\n" + hidden, refused(400), nil},
		{"NUL in a header's name", head + "X\x00: a\r\n\r\n" + hidden, refused(400), nil},
		{"lines that end with LF alone", strings.ReplaceAll(head, "\r\n", "\n") + "Content-Length: 13\nConnection: close\n\n" + bookA + hidden, taken, []string{made}},
		{"a header hidden by LF alone", head + "X: a\nContent-Length: 0\r\nContent-Length: 60\r\n\r\n" + hidden, refused(400), nil},

		{"an extension of a chunk", withSize("d;a=b"), taken, []string{made}},
		{"a quoted extension of a chunk", withSize(`d;a="b"`), taken, []string{made}},
		{"an extension with LF alone", chunked + "2;\nxx\r\n4c\r\n0\r\n\r\n" + hidden, refused(400), nil},
		{"an extension with a bare CR", chunked + "d;a=\rb\r\n" + bookA + "\r\n0\r\n\r\n" + hidden, refused(400), nil},
		{"an endless extension", withSize("d;" + strings.Repeat("a", 5000)), refused(400), nil},
		{"much ado about single bytes", chunked + strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nx\r\n", 40) + "0\r\n\r\n" + hidden, refused(400), nil},
		{"a size with a prefix", withSize("0xd"), refused(400), nil},
		{"a signed size", withSize("+d"), refused(400), nil},
		{"a negative size", withSize("-d"), refused(400), nil},
		{"a size after a space", withSize(" d"), refused(400), nil},
		{"no size", withSize(""), refused(400), nil},
		{"a size that overflows", withSize("1000000000000000d"), refused(400), nil},
		{"the largest size, and too much", chunked + "7fffffffffffffff\r\n" + strings.Repeat(hidden, 50), refused(413), nil},
		{"the largest size, and nothing more", withSize("7fffffffffffffff"), refused(408), nil},
		{"a size that is too small", withSize("c"), refused(400), nil},
		{"a chunk's end of LF alone", chunked + "d\r\n" + bookA + "\n0\r\n\r\n" + hidden, refused(400), nil},
		{"a last chunk's end of LF alone", chunked + "0\n\n" + hidden, refused(400), nil},
		{"a field behind the last chunk", chunked + "d\r\n" + bookA + "\r\n0\r\nContent-Length: 60\r\n\r\n" + hidden, taken, []string{made}},
		{"a malformed field behind the last chunk", chunked + "d\r\n" + bookA + "\r\n0\r\nx\r\n\r\n" + hidden, refused(400), nil},

		{"a request as the body of a GET", fmt.Sprintf("GET /v1/books/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", len(hidden)) + hidden, refused(400), nil},
		{"a body that does not come and nobody wants", "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", refused(404), nil},
		{"a body that does not come", withLength("200"), refused(408), nil},
		{"a body nobody reads", fmt.Sprintf("POST /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", len(hidden)) + hidden, refused(404), nil},
		{"two requests that are two", "GET /v1/books/1 HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/books/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", []int{200, 200}, []string{`GetBook {"name":"1"}`, `GetBook {"name":"2"}`}},

		{"another host in the target", "GET http://y/v1/books/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", taken, []string{`GetBook {"name":"2"}`}},
		{"a user in the target", "GET http://u:p@x/v1/books/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", taken, []string{`GetBook {"name":"2"}`}},
		{"a path of two slashes", "GET //y/v1/books/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", refused(404), nil},
		{"a target without a path", "GET http://x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", refused(400), nil},
		{"a target that is no path", "GET v1/books/2 HTTP/1.1\r\nHost: x\r\n\r\n" + hidden, refused(400), nil},
		{"a target with a fragment", "GET /v1/books/2#/../hidden HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", refused(400), nil},
		{"an opaque target", "GET mailto:x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", refused(400), nil},
		{"a proxy's request", "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\nConnection: close\r\n\r\n" + hidden, refused(400), nil},
		{"no host", "GET /v1/books/2 HTTP/1.1\r\n\r\n" + hidden, refused(400), nil},
		{"two hosts", "GET /v1/books/2 HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + hidden, refused(400), nil},
		{"a malformed host", "GET /v1/books/2 HTTP/1.1\r\nHost: x y\r\n\r\n" + hidden, refused(400), nil},
		{"no version", "GET /v1/books/2\r\nHost: x\r\n\r\n" + hidden, refused(400), nil},
		{"an unknown version", "GET /v1/books/2 HTTP/1.1.1\r\nHost: x\r\n\r\n" + hidden, refused(400), nil},
		{"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hidden, refused(400), nil},
		{"a header without a name", head + ": 5\r\n\r\n" + hidden, refused(400), nil},
		{"a header without a colon", head + "Content-Length\r\n\r\n" + hidden, refused(400), nil},
		{"an unknown expectation", head + "Expect: 200-maybe\r\nContent-Length: 0\r\n\r\n" + hidden, refused(417), nil},
		{"a long path", "GET /" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", refused(431), nil},
		{"many headers", "GET /v1/books/2 HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-Y: z\r\n", 5000) + "\r\n", refused(431), nil},
	} {
		statuses, calls := e.send(t, test.bytes)
		if diff := cmp.Diff(test.statuses, statuses) + cmp.Diff(test.calls, calls); diff != "" {
			t.Errorf("%s (-want +got)\n%s", test.name, diff)
		}
	}
}

// The path that access rules see is the one that was routed, decoded but for slashes within segments and percent signs,
// however it was written. What is routed or bound differently does not look the same.
func TestRulesSeeTheRoutedPath(t *testing.T) {
	t.Parallel()
	e := expose(t)
	for target, want := range map[string]struct{ path, call string }{
		"/v1/books/2":                      {"/v1/books/2", `GetBook {"name":"2"}`},
		"/v1/b%6F%6fks/%32":                {"/v1/books/2", `GetBook {"name":"2"}`},
		"/%76%31/books/2?revision=3":       {"/v1/books/2", `GetBook {"name":"2","revision":3}`},
		"http://elsewhere/v1/books/2":      {"/v1/books/2", `GetBook {"name":"2"}`},
		"/v1/books/a%2Fb":                  {"/v1/books/a%2Fb", `GetBook {"name":"a/b"}`},
		"/v1/books/a%2fb":                  {"/v1/books/a%2Fb", `GetBook {"name":"a/b"}`},
		"/v1/books/..%2F..%2Fv1%2Fadmin":   {"/v1/books/..%2F..%2Fv1%2Fadmin", `GetBook {"name":"../../v1/admin"}`},
		"/v1/books/%25%32%46":              {"/v1/books/%252F", `GetBook {"name":"%2F"}`},
		"/v1/books/a%252Fb":                {"/v1/books/a%252Fb", `GetBook {"name":"a%2Fb"}`},
		"/v1/books/100%25":                 {"/v1/books/100%25", `GetBook {"name":"100%"}`},
		"/v1/shelves/a%252Fb/books/%2F":    {"/v1/shelves/a%252Fb/books/%2F", `GetBook {"name":"shelves/a%2Fb/books/%2F"}`},
		"/v1/books/2%3Awatch":              {"/v1/books/2:watch", `GetBook {"name":"2:watch"}`},
		"/v1/shelves/1/books/%C3%A9":       {"/v1/shelves/1/books/é", `GetBook {"name":"shelves/1/books/é"}`},
		"/v1/shelves/%2e%2e%2Fx/books/%20": {"/v1/shelves/..%2Fx/books/ ", `GetBook {"name":"shelves/..%2Fx/books/ "}`},
	} {
		statuses, calls := e.send(t, "GET "+target+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if diff := cmp.Diff([]int{200}, statuses) + cmp.Diff([]string{want.call}, calls); diff != "" || e.path != want.path {
			t.Errorf("%s: path %q, want %q; %s", target, e.path, want.path, diff)
		}
	}
}
