package bff_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestAdminIsNotHeld wants the admin port to part with who never sends what it has announced.
func TestAdminIsNotHeld(t *testing.T) {
	t.Parallel()
	r := run(t, (&shop{}).start(t))
	for name, request := range map[string]string{
		"no body": "POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
		"a token, and no body": "POST /reload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + adminToken +
			"\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", r.Addresses().Admin.String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 ") {
				t.Errorf("answered %q, then %v", text, err)
			}
		})
	}
}
