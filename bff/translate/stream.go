package translate

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/bff/translate/urlpath"
	"github.com/portico-bff/portico/upstream"
)

// stream answers a request for a server-streaming method. Nothing is answered before the first message or the end is
// there, so an error that comes first has a status of its own.
func (rt *Router) stream(w http.ResponseWriter, r *http.Request, to *route, p *urlpath.Path) {
	if !rt.drain.enter() {
		Refuse(w, r, rt.drain.why())
		return
	}
	defer rt.drain.leave()
	asked, err := rt.understand(w, r, to, p)
	if err != nil {
		Refuse(w, r, err)
		return
	}
	form := formFor(r, to.answers.raw)
	if form == nil {
		Refuse(w, r, notAcceptable())
		return
	}
	limit, err := clientTimeout(r.Header)
	if err != nil {
		Refuse(w, r, err)
		return
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", form.contentType())
		return
	}
	ctx, cancel := within(r.Context(), limit)
	defer cancel()
	if rt.resumes(to, form) {
		rt.resume(ctx, w, r, to, asked)
		return
	}
	up, err := rt.caller.Open(ctx, to.method)
	if err != nil {
		Refuse(w, r, err)
		return
	}
	var pump pump
	defer pump.wait()
	defer cancel() // before it
	if err := sendOnly(up, asked.message); err != nil {
		Refuse(w, r, err)
		return
	}
	pump.start(ctx, up)
	out := rt.newStreamWriter(w, r, asked.answer, form)
	defer rt.buffers.put(out.buf)
	out.run(ctx, &pump, up) //nolint:contextcheck // the request carries it
}

// sendOnly sends the one request message of a server-streaming call.
func sendOnly(up upstream.Stream, message []byte) error {
	err := up.Send(message)
	if err == nil {
		err = up.CloseSend()
	}
	if errors.Is(err, io.EOF) { // the call has ended; Recv tells why
		return nil
	}
	return err
}

// received is what one call of Recv has brought.
type received struct {
	message []byte
	err     error
}

// pump receives in a goroutine of its own, one message ahead of who takes them. It ends after an error or with the
// context.
type pump struct {
	out  chan received
	done sync.WaitGroup
}

func (p *pump) start(ctx context.Context, up upstream.Stream) {
	p.out = make(chan received)
	p.done.Go(func() {
		for {
			message, err := up.Recv()
			select {
			case p.out <- received{message, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	})
}

// wait returns when the goroutine has ended. The context must be cancelled before.
func (p *pump) wait() { p.done.Wait() }

// streamWriter writes one stream of messages to a client.
type streamWriter struct {
	w       http.ResponseWriter
	r       *http.Request
	answer  *answer
	form    streamForm
	limits  StreamLimits
	control *http.ResponseController
	buf     *[]byte
	drain   *drain
	begun   bool // the head is written
	some    bool // a message is written
}

// newStreamWriter makes a writer whose buf goes back to the router's buffers.
func (rt *Router) newStreamWriter(w http.ResponseWriter, r *http.Request, a *answer, form streamForm) *streamWriter {
	return &streamWriter{
		w: w, r: r, answer: a, form: form, limits: rt.limits, drain: rt.drain,
		control: http.NewResponseController(w), buf: rt.buffers.get(),
	}
}

// lifetime is a context, as far as it tells when the client has left or its time is up. What is written to the client goes
// by the request's own.
type lifetime interface {
	Done() <-chan struct{}
	Err() error
}

// opening is how long the answer waits for a first message or an error before it begins anyway: a client wants to know
// that it is connected, and an error wants a status of its own.
const opening = time.Second

// run passes messages on until the stream, the client or its time ends.
func (s *streamWriter) run(life lifetime, p *pump, up upstream.Stream) {
	beat := s.prepare()
	defer beat.Stop()
	for {
		var err error
		select {
		case got := <-p.out:
			switch {
			case errors.Is(got.err, io.EOF):
				s.end(up)
				return
			case got.err != nil:
				s.fail(got.err, up)
				return
			}
			err = s.message(up, got.message)
			beat.Reset(s.limits.Heartbeat)
		case <-life.Done():
			s.fail(life.Err(), nil)
			return
		case <-s.drain.begun:
			s.fail(s.drain.why(), nil)
			return
		case <-beat.C:
			err = s.heartbeat()
			beat.Reset(s.limits.Heartbeat)
		}
		if err != nil {
			s.broken(err)
			return
		}
	}
}

// prepare returns the timer of the first sign of life.
func (s *streamWriter) prepare() *time.Timer {
	// What bounds reading the request must not end a stream that follows it.
	_ = s.control.SetReadDeadline(time.Time{}) // not every writer has one
	return time.NewTimer(min(opening, s.limits.Heartbeat))
}

// broken ends the answer after an error of writing it.
func (s *streamWriter) broken(err error) {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		s.fail(e, nil)
		return
	}
	// The client has left, or is too slow.
	note(s.r, fault.New(codes.Canceled, "", fault.WithCause(err)))
}

// headed knows a call's response headers, once they are there, and its trailers, once it has ended.
type headed interface {
	Header() (metadata.MD, error)
	Trailer() metadata.MD
}

// begin writes the head of the answer.
func (s *streamWriter) begin(md metadata.MD) {
	s.begun = true
	h := s.w.Header()
	passHeaders(h, md)
	h.Set("Content-Type", s.form.contentType())
	// A compressor on the way would hold messages back.
	h.Set("Cache-Control", "no-store, no-transform")
	// Proxies of the nginx kind hold answers back otherwise.
	h.Set("X-Accel-Buffering", "no")
	s.w.WriteHeader(http.StatusOK)
}

// beginWith writes the head of the answer, with what the service's headers say, which are there by now.
func (s *streamWriter) beginWith(up headed) {
	if s.begun {
		return
	}
	md, err := up.Header()
	if err != nil {
		md = nil // the end has come without any
	}
	s.begin(md)
}

// message writes a message. One that cannot be rendered comes before the head, if it is the first.
func (s *streamWriter) message(up headed, message []byte) error {
	buf, err := s.form.message((*s.buf)[:0], s.answer, message, !s.some)
	if err != nil {
		return badAnswer(err)
	}
	s.beginWith(up)
	s.some = true
	*s.buf = buf
	return s.flush()
}

// heartbeat writes a sign of life.
func (s *streamWriter) heartbeat() error {
	sign, ok := s.form.heartbeat()
	if !ok {
		return nil
	}
	if !s.begun {
		s.begin(nil)
	}
	*s.buf = append((*s.buf)[:0], sign...)
	return s.flush()
}

// end writes what follows the last message.
func (s *streamWriter) end(up headed) {
	s.beginWith(up)
	*s.buf = s.form.end((*s.buf)[:0], !s.some, s.trailers(up))
	_ = s.flush() // there is nobody to tell
}

// fail ends the answer with an error: as a problem if it has not begun, else as its last event. up is the call if it was
// that which failed, else nil.
func (s *streamWriter) fail(err error, up headed) {
	if !s.begun {
		if up != nil {
			md, _ := up.Header() // that there is none is no news
			passHeaders(s.w.Header(), md)
			passHeaders(s.w.Header(), up.Trailer())
		}
		Refuse(s.w, s.r, err)
		return
	}
	e := fault.From(err)
	note(s.r, e)
	if e.Code == codes.Canceled {
		return
	}
	p := failure{Problem: e.Localize(s.r.Header["Accept-Language"]).Problem(request.FromContext(s.r.Context()).ID)}
	if up != nil {
		p.Trailers = s.trailers(up)
	}
	buf, ok := s.form.fail((*s.buf)[:0], !s.some, p)
	if !ok {
		panic(http.ErrAbortHandler) //nolint:forbidigo // breaks the connection
	}
	*s.buf = buf
	_ = s.flush() // there is nobody to tell
}

// trailers returns the trailers that the client may see. One that says that it takes trailers gets them as such too
// (RFC 9110, section 6.5).
func (s *streamWriter) trailers(up headed) http.Header {
	trailers := http.Header{}
	passHeaders(trailers, up.Trailer())
	if request.HasToken(s.r.Header["Te"], "trailers") {
		for name, values := range trailers {
			s.w.Header()[http.TrailerPrefix+name] = values
		}
	}
	return trailers
}

// flush sends what is in buf, within the time that a client has for it.
func (s *streamWriter) flush() error {
	// Not every writer has one.
	_ = s.control.SetWriteDeadline(time.Now().Add(s.limits.Write))
	if _, err := s.w.Write(*s.buf); err != nil { //nolint:gosec // events and JSON, no HTML
		return err
	}
	if err := s.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
