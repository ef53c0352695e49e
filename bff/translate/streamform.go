package translate

import (
	"encoding/json"
	"net/http"

	"github.com/portico-bff/portico/bff/fault"
)

// streamForm is how a stream of messages is written into one answer.
type streamForm interface {
	contentType() string
	// before and after stand around a message; first tells that nothing was written before.
	before(dst []byte, first bool) []byte
	after(dst []byte) []byte
	// heartbeat is a sign of life that means nothing; empty if there is none.
	heartbeat() string
	// end follows the last message; empty tells that there was none.
	end(dst []byte, empty bool, trailers http.Header) []byte
	// fail ends a stream with an error; empty tells that there was no message.
	fail(dst []byte, empty bool, p failure) []byte
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

func (eventForm) contentType() string              { return "text/event-stream" }
func (eventForm) before(dst []byte, _ bool) []byte { return append(dst, "data: "...) }
func (eventForm) after(dst []byte) []byte          { return append(dst, "\n\n"...) }
func (eventForm) heartbeat() string                { return ": still here\n\n" }

func (eventForm) end(dst []byte, _ bool, trailers http.Header) []byte {
	dst = append(dst, "event: end\ndata: "...)
	return append(append(dst, encode(success{trailers})...), "\n\n"...)
}

func (eventForm) fail(dst []byte, _ bool, p failure) []byte {
	dst = append(dst, "event: error\ndata: "...)
	return append(append(dst, encode(p)...), "\n\n"...)
}

// lineForm is one JSON text a line. An error is a last line with the one member "@error", a problem document.
type lineForm struct{}

func (lineForm) contentType() string              { return "application/x-ndjson" }
func (lineForm) before(dst []byte, _ bool) []byte { return dst }
func (lineForm) after(dst []byte) []byte          { return append(dst, '\n') }
func (lineForm) heartbeat() string                { return "" }

func (lineForm) end(dst []byte, _ bool, _ http.Header) []byte { return dst }
func (lineForm) fail(dst []byte, _ bool, p failure) []byte {
	return append(append(append(dst, `{"@error":`...), encode(p)...), "}\n"...)
}

// arrayForm is one JSON array, written as its elements come. An error is a last element with the one member
// "@error", a problem document.
type arrayForm struct{}

func (arrayForm) contentType() string { return "application/json" }

func (arrayForm) before(dst []byte, first bool) []byte {
	if first {
		return append(dst, '[')
	}
	return append(dst, ',')
}

func (arrayForm) after(dst []byte) []byte { return append(dst, '\n') }
func (arrayForm) heartbeat() string       { return "\n" }

func (arrayForm) end(dst []byte, empty bool, _ http.Header) []byte {
	if empty {
		dst = append(dst, '[')
	}
	return append(dst, "]\n"...)
}

func (f arrayForm) fail(dst []byte, empty bool, p failure) []byte {
	return append(append(append(f.before(dst, empty), `{"@error":`...), encode(p)...), "}]\n"...)
}

// rawForm is the data of google.api.HttpBody messages, one after the other.
type rawForm struct{ media string }

func (f *rawForm) contentType() string {
	if f.media == "" {
		return "application/octet-stream"
	}
	return f.media
}
func (*rawForm) before(dst []byte, _ bool) []byte             { return dst }
func (*rawForm) after(dst []byte) []byte                      { return dst }
func (*rawForm) heartbeat() string                            { return "" }
func (*rawForm) end(dst []byte, _ bool, _ http.Header) []byte { return dst }
func (*rawForm) fail(dst []byte, _ bool, _ failure) []byte    { return dst }

// encode encodes a last event, which has nothing that cannot be.
func encode(event any) []byte {
	b, err := json.Marshal(event)
	if err != nil {
		return []byte("{}")
	}
	return b
}
