package edge

import (
	"errors"
	"io"
	"net/http"
)

// responseWriter notes what is answered.
type responseWriter struct {
	http.ResponseWriter
	status int // 0 until the answer begins
	bytes  int64
	conn   *conn // nil if nothing is gathered
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader begins the answer.
func (w *responseWriter) WriteHeader(status int) {
	if w.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

// begin notes the status, and completes the head.
func (w *responseWriter) begin(status int) {
	w.status = status
	guardDocument(w.Header())
}

// Write writes a part of the body.
func (w *responseWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.begin(http.StatusOK)
	}
	n, err := w.write(p)
	w.bytes += int64(n)
	return n, err
}

// write writes what may not fit net/http's buffer in one piece.
func (w *responseWriter) write(p []byte) (int, error) {
	if w.conn == nil || len(p) < firstPiece/2 {
		return w.ResponseWriter.Write(p)
	}
	w.conn.hold()
	n, err := w.ResponseWriter.Write(p)
	return n, errors.Join(err, w.conn.release())
}

// Flush sends what was written so far, for handlers that look for an [http.Flusher].
func (w *responseWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// countingBody counts what is read of a request's body.
type countingBody struct {
	io.ReadCloser
	bytes int64
}

// Read reads and counts.
func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes += int64(n)
	return n, err
}
