package translate_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/upstream"
)

// tapped is a connection that keeps what goes over it.
type tapped struct {
	net.Conn

	mu        sync.Mutex // guards what follows
	got, sent []byte
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, p[:n]...)
	return n, err
}

func (c *tapped) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.sent = append(c.sent, p...)
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// frame is a frame of RFC 6455, section 5.2.
type frame struct {
	compressed bool // RSV1, by RFC 7692
	opcode     byte
	size       int // of its payload
}

// frames reads the frames behind a handshake.
func frames(t *testing.T, raw []byte) []frame {
	t.Helper()
	_, rest, ok := bytes.Cut(raw, []byte("\r\n\r\n"))
	if !ok {
		t.Fatalf("no handshake in %q", raw)
	}
	var all []frame
	for len(rest) >= 2 {
		f := frame{compressed: rest[0]&0x40 != 0, opcode: rest[0] & 0x0f, size: int(rest[1] & 0x7f)}
		head := 2
		switch f.size {
		case 126:
			f.size, head = int(binary.BigEndian.Uint16(rest[2:])), 4
		case 127:
			f.size, head = int(binary.BigEndian.Uint64(rest[2:])), 10
		}
		if rest[1]&0x80 != 0 {
			head += 4 // the mask
		}
		if len(rest) < head+f.size {
			break
		}
		all, rest = append(all, f), rest[head+f.size:]
	}
	return all
}

// Long messages are compressed in both directions where the client offers it (RFC 7692), and in none where it does not.
func TestSocketCompression(t *testing.T) {
	t.Parallel()
	d := library(t)
	server := httptest.NewServer(router(t, d, echoStream(nil)))
	t.Cleanup(server.Close)
	long := strings.Repeat("all work and no play ", 200)
	text := `{"title":"` + long + `"}`
	binary := message(t, method(t, d, "Chat").Input, `{"title":"`+long+`"}`)
	for _, test := range []struct {
		name, subprotocol string
		mode              websocket.CompressionMode
		kind              websocket.MessageType
		message           []byte
	}{
		{"JSON", "portico.json", websocket.CompressionNoContextTakeover, websocket.MessageText, []byte(text)},
		{"protobuf", "portico.proto", websocket.CompressionNoContextTakeover, websocket.MessageBinary, binary},
		{"with a context that is offered", "portico.json", websocket.CompressionContextTakeover, websocket.MessageText, []byte(text)},
		{"not offered", "portico.json", websocket.CompressionDisabled, websocket.MessageText, []byte(text)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var tap *tapped
			transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
				tap = &tapped{Conn: conn}
				return tap, err
			}}
			conn, res, err := websocket.Dial(t.Context(), server.URL+"/ws/"+libraryService+"/Chat", &websocket.DialOptions{
				HTTPClient: &http.Client{Transport: transport}, CompressionMode: test.mode, Subprotocols: []string{test.subprotocol},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.CloseNow() }()
			compressed := test.mode != websocket.CompressionDisabled
			if got := strings.HasPrefix(res.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate"); got != compressed {
				t.Errorf("extensions %q", res.Header.Get("Sec-WebSocket-Extensions"))
			}
			for range 3 {
				if err := conn.Write(t.Context(), test.kind, test.message); err != nil {
					t.Fatal(err)
				}
				if kind, got, err := conn.Read(t.Context()); err != nil || kind != test.kind || !bytes.Equal(got, test.message) {
					t.Fatalf("got %d bytes of kind %v, %v", len(got), kind, err)
				}
			}
			tap.mu.Lock()
			defer tap.mu.Unlock()
			for direction, raw := range map[string][]byte{"answers": tap.got, "requests": tap.sent} {
				size, messages := 0, 0
				for _, f := range frames(t, raw) {
					size += f.size
					if f.opcode == 0 { // a continuation, which never says so (RFC 7692, section 6)
						continue
					}
					messages++
					if f.compressed != compressed {
						t.Errorf("%s: a frame of %d bytes is compressed: %t", direction, f.size, f.compressed)
					}
				}
				if messages != 3 || compressed != (size < len(test.message)/2) {
					t.Errorf("%s: %d messages of %d bytes took %d bytes", direction, messages, len(test.message), size)
				}
			}
		})
	}
}

// Which subprotocol a client offers says what its messages are; a frame of the other kind is the client's error, and so
// is a malformed one.
func TestSocketSubprotocols(t *testing.T) {
	t.Parallel()
	d := library(t)
	binary := message(t, method(t, d, "Chat").Input, `{"pages":3}`)
	for _, test := range []struct {
		name    string
		offered []string
		chosen  string
		kind    websocket.MessageType
		send    string
		want    string // in the answer
	}{
		{"JSON", []string{"portico.json"}, "portico.json", websocket.MessageText, `{"pages":3}`, `{"name":"moby","pages":3}`},
		{"nothing", nil, "", websocket.MessageText, `{"pages":3}`, `{"name":"moby","pages":3}`},
		{"something else", []string{"graphql-ws"}, "", websocket.MessageText, `{"pages":3}`, `{"name":"moby","pages":3}`},
		{"protobuf", []string{"x", "portico.proto"}, "portico.proto", websocket.MessageBinary, string(binary), "\x0a\x04moby\x18\x03"},
		{"protobuf sent as JSON", []string{"portico.json"}, "portico.json", websocket.MessageBinary, string(binary), "binary frames need the subprotocol portico.proto"},
		{"protobuf without a subprotocol", nil, "", websocket.MessageBinary, string(binary), "binary frames need the subprotocol portico.proto"},
		{"JSON sent as protobuf", []string{"portico.proto"}, "portico.proto", websocket.MessageText, `{"pages":3}`, "text frames hold JSON"},
		{"malformed protobuf", []string{"portico.proto"}, "portico.proto", websocket.MessageBinary, "\x18", "malformed"},
		{"malformed JSON", []string{"portico.json"}, "portico.json", websocket.MessageText, `{"pages":`, "malformed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, router(t, d, echoStream(nil)), "/v1/books/moby:chat", test.offered...)
			if got := conn.Subprotocol(); got != test.chosen {
				t.Errorf("subprotocol %q, want %q", got, test.chosen)
			}
			if err := conn.Write(t.Context(), test.kind, []byte(test.send)); err != nil {
				t.Fatal(err)
			}
			got := read(t, conn)
			if !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q in it", got, test.want)
			}
			if refused := strings.Contains(got, "@end"); refused {
				if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != 4003 || !strings.Contains(got, "INVALID_ARGUMENT") {
					t.Errorf("closed with %v after %s", err, got)
				}
			}
		})
	}
}

// What comes in protobuf goes on in its canonical form, from a frame as from a body that is one field.
func TestCanonicalParts(t *testing.T) {
	t.Parallel()
	d := library(t)
	const odd = "\x18\x05\x12\x04evil\x22\x02\x10\x01\x98\x06\x01\x12\x01T\x22\x03\x0a\x01A" // the title twice, the author in two, an unknown field
	const want = "\x12\x01T\x18\x05\x22\x05\x0a\x01A\x10\x01"
	conn := dial(t, router(t, d, echoStream(nil)), "/ws/"+libraryService+"/Chat", "portico.proto")
	if err := conn.Write(t.Context(), websocket.MessageBinary, []byte(odd)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, conn); got != want {
		t.Errorf("frame: got %q, want %q", got, want)
	}
	var seen string
	rt := router(t, d, stub{invoke: func(_ context.Context, _ *upstream.Method, req []byte) (upstream.Reply, error) {
		seen = string(req)
		return upstream.Reply{}, nil
	}})
	r := do(t, rt, "PATCH /v1/shelves/1/books/2?updateMask=title", odd, "Content-Type", "application/protobuf")
	const book = "\x0a\x1f\x0a\x11shelves/1/books/2" + want
	if r.StatusCode != http.StatusOK || !strings.HasPrefix(seen, book) || seen != book+"\x12\x07\x0a\x05title" {
		t.Errorf("body: status %d, got %q, want %q", r.StatusCode, seen, book)
	}
}

// The close code tells how the call ended: 1000, or 4000 and the number of the code, as clients get it.
func TestSocketCloseCodes(t *testing.T) {
	t.Parallel()
	d := library(t)
	told := map[codes.Code]codes.Code{codes.Canceled: codes.Unavailable, codes.Unauthenticated: codes.Internal} // that is between us and the service
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			conn := dial(t, router(t, d, serving(func(*call) error { return status.Error(code, "") })), "/v1/books/moby:chat")
			want := websocket.StatusNormalClosure
			if code != codes.OK {
				want = 4000 + websocket.StatusCode(code)
			}
			if other, ok := told[code]; ok {
				want = 4000 + websocket.StatusCode(other)
			}
			if last := read(t, conn); !strings.HasPrefix(last, `{"@end":{"code":"`) {
				t.Errorf("last frame %s", last)
			}
			if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != want {
				t.Errorf("closed with %v, want %v", err, want)
			}
		})
	}
}

// What frames finds is what was written.
func TestFrames(t *testing.T) {
	t.Parallel()
	raw := slices.Concat([]byte("HTTP/1.1 101 x\r\n\r\n"), []byte{0xc1, 2, 'a', 'b'}, []byte{0x82, 126, 0, 3, 'a', 'b', 'c'}, []byte{0x88, 0x80, 1, 2, 3, 4})
	want := []frame{{true, 1, 2}, {false, 2, 3}, {false, 8, 0}}
	if got := frames(t, raw); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
