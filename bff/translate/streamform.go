package translate

import (
	"encoding/json"
	"net/http"

	"github.com/portico-bff/portico/bff/fault"
)

// streamForm is how a stream of messages is written into one answer.
type streamForm interface {
	contentType() string
	// message appends a message; first tells that nothing was written before.
	message(dst []byte, a *answer, msg []byte, first bool) ([]byte, error)
	// heartbeat is a sign of life that means nothing, and may begin the answer; false if it has to wait for a message.
	heartbeat() (sign string, ok bool)
	// end follows the last message; empty tells that there was none.
	end(dst []byte, empty bool, trailers http.Header) []byte
	// fail ends a stream with an error; empty tells that there was no message. It is false if nothing but a broken
	// connection tells that the answer is not whole.
	fail(dst []byte, empty bool, p failure) (out []byte, ok bool)
}

// failure is what the last event of a stream that fails tells.
type failure struct {
	fault.Problem
	// Trailers are the service's that the client may see.
	Trailers http.Header `json:"trailers,omitempty"`
}

// success is what the last event of a stream that ends well tells.
type success struct {
	// Trailers are the service's that the client may see.
	Trailers http.Header `json:"trailers,omitempty"`
}

// formFor chooses the form that a request accepts, a JSON array if it does not care; nil if none fits. raw tells that the
// messages are parts of one download.
func formFor(r *http.Request, raw bool) streamForm {
	if raw {
		return &rawForm{}
	}
	accept := r.Header["Accept"]
	if len(accept) == 0 {
		return arrayForm{}
	}
	switch negotiate(accept, jsonType, "text/event-stream", "application/x-ndjson", "application/jsonl") {
	case -1:
		return nil
	case 0:
		return arrayForm{}
	case 1:
		return eventForm{}
	default:
		return lineForm{}
	}
}

// eventForm is server-sent events: a message is the data of an event without a type. An error is an event "error"
// with a problem document, the end an event "end", upon which clients should close: they would connect again.
type eventForm struct{}

func (eventForm) contentType() string       { return "text/event-stream" }
func (eventForm) heartbeat() (string, bool) { return ": still here\n\n", true }

func (eventForm) message(dst []byte, a *answer, msg []byte, _ bool) ([]byte, error) {
	dst, err := a.append(append(dst, "data: "...), msg)
	return append(dst, "\n\n"...), err
}

func (eventForm) end(dst []byte, _ bool, trailers http.Header) []byte {
	dst = append(dst, "event: end\ndata: "...)
	return append(append(dst, encode(success{trailers})...), "\n\n"...)
}

func (eventForm) fail(dst []byte, _ bool, p failure) ([]byte, bool) {
	dst = append(dst, "event: error\ndata: "...)
	return append(append(dst, encode(p)...), "\n\n"...), true
}

// lineForm is one JSON text a line. An error is a last line with the one member "@error", a problem document.
type lineForm struct{}

func (lineForm) contentType() string       { return "application/x-ndjson" }
func (lineForm) heartbeat() (string, bool) { return "", true }

func (lineForm) message(dst []byte, a *answer, msg []byte, _ bool) ([]byte, error) {
	dst, err := a.append(dst, msg)
	return append(dst, '\n'), err
}

func (lineForm) end(dst []byte, _ bool, _ http.Header) []byte { return dst }

func (lineForm) fail(dst []byte, _ bool, p failure) ([]byte, bool) {
	return append(append(append(dst, `{"@error":`...), encode(p)...), "}\n"...), true
}

// arrayForm is one JSON array, written as its elements come. An error is a last element with the one member
// "@error", a problem document.
type arrayForm struct{}

func (arrayForm) contentType() string       { return "application/json" }
func (arrayForm) heartbeat() (string, bool) { return "\n", true }

func (f arrayForm) message(dst []byte, a *answer, msg []byte, first bool) ([]byte, error) {
	dst, err := a.append(f.before(dst, first), msg)
	return append(dst, '\n'), err
}

// before appends what stands before an element.
func (arrayForm) before(dst []byte, first bool) []byte {
	if first {
		return append(dst, '[')
	}
	return append(dst, ',')
}

func (arrayForm) end(dst []byte, empty bool, _ http.Header) []byte {
	if empty {
		dst = append(dst, '[')
	}
	return append(dst, "]\n"...)
}

func (f arrayForm) fail(dst []byte, empty bool, p failure) ([]byte, bool) {
	return append(append(append(f.before(dst, empty), `{"@error":`...), encode(p)...), "}]\n"...), true
}

// rawForm is the data of google.api.HttpBody messages, one after the other.
type rawForm struct{ media string } // of the first message

func (f *rawForm) contentType() string {
	if f.media == "" {
		return "application/octet-stream"
	}
	return f.media
}

func (f *rawForm) message(dst []byte, a *answer, msg []byte, first bool) ([]byte, error) {
	media, data, err := a.httpBody(msg)
	if first {
		f.media = media
	}
	return append(dst, data...), err
}

func (*rawForm) heartbeat() (string, bool)                              { return "", false }
func (*rawForm) end(dst []byte, _ bool, _ http.Header) []byte           { return dst }
func (*rawForm) fail(dst []byte, _ bool, _ failure) (_ []byte, ok bool) { return dst, false }

// encode encodes a last event, which has nothing that cannot be.
func encode(event any) []byte {
	b, err := json.Marshal(event)
	if err != nil {
		return []byte("{}")
	}
	return b
}
