package translate

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/portico-bff/portico/bff/events"
)

// resumes reports whether clients of a route can come back to a stream of this form.
func (rt *Router) resumes(to *route, form streamForm) bool {
	_, isEvents := form.(eventForm)
	return isEvents && rt.events != nil && rt.events.Resumes(to.method)
}

// resume answers a request for an event stream that clients can come back to.
func (rt *Router) resume(ctx context.Context, w http.ResponseWriter, r *http.Request, to *route, asked asked) {
	reader, err := rt.events.Attach(ctx, to.method, asked.message, r.Header.Get("Last-Event-ID"))
	if err != nil {
		Refuse(w, r, err)
		return
	}
	defer reader.Close()
	form := &numberedForm{at: reader.Position()}
	out := rt.newStreamWriter(w, r, asked.answer, form)
	defer rt.buffers.put(out.buf)
	out.follow(ctx, reader, form) //nolint:contextcheck // the request carries it
}

// follow writes what a reader gets until the stream, the client or its time ends.
func (s *streamWriter) follow(life lifetime, reader events.Reader, form *numberedForm) {
	beat := s.prepare()
	defer beat.Stop()
	for {
		select {
		case <-life.Done():
			s.fail(life.Err(), nil)
			return
		case <-s.drain.begun:
			s.fail(s.drain.why(), nil)
			return
		default:
		}
		e, more, err := reader.Next()
		if more != nil {
			err = s.await(more, life.Done(), beat)
		} else {
			form.at = e.Position
			switch {
			case errors.Is(err, io.EOF):
				s.end(reader)
				return
			case err != nil:
				s.fail(err, reader)
				return
			case e.Gap != "":
				err = s.gap(reader, form, e.Gap)
			default:
				err = s.message(reader, e.Message)
			}
			beat.Reset(s.limits.Heartbeat)
		}
		if err != nil {
			s.broken(err)
			return
		}
	}
}

// await returns when it is worth looking again. Meanwhile it gives signs of life.
func (s *streamWriter) await(more, gone <-chan struct{}, beat *time.Timer) error {
	for {
		select {
		case <-more:
			return nil
		case <-gone:
			return nil
		case <-s.drain.begun:
			return nil
		case <-beat.C:
			if err := s.heartbeat(); err != nil {
				return err
			}
			beat.Reset(s.limits.Heartbeat)
		}
	}
}

// gap tells that events may be missing.
func (s *streamWriter) gap(reader events.Reader, form *numberedForm, reason events.Gap) error {
	s.beginWith(reader)
	*s.buf = form.gap((*s.buf)[:0], reason)
	return s.flush()
}

// numberedForm is server-sent events with the ids of their positions.
type numberedForm struct {
	eventForm
	at     events.Position // of what is written next
	opened bool            // a sign of life was given
	told   bool            // the client has got an id
}

// id appends the field "id" of the event that follows.
func (f *numberedForm) id(dst []byte) []byte {
	f.told = true
	return append(f.at.Append(append(dst, "id: "...)), '\n')
}

func (f *numberedForm) message(dst []byte, a *answer, msg []byte, first bool) ([]byte, error) {
	return f.eventForm.message(f.id(dst), a, msg, first)
}

// heartbeat brings an id with the second sign of life, if the client has got none by then. There is no event with it,
// but clients take it over nevertheless (HTML, section "Interpreting an event stream"), and miss nothing if they come
// back before the first event. The first sign of life only opens the answer: events mostly come soon after it, and some
// simple clients take an id alone for an empty event.
func (f *numberedForm) heartbeat() (string, bool) {
	sign, _ := f.eventForm.heartbeat()
	switch {
	case f.told:
	case f.opened:
		sign = strings.TrimSuffix(sign, "\n") + string(append(f.id(nil), '\n'))
	default:
		f.opened = true
	}
	return sign, true
}

func (f *numberedForm) end(dst []byte, empty bool, trailers http.Header) []byte {
	return f.eventForm.end(f.id(dst), empty, trailers)
}

func (f *numberedForm) fail(dst []byte, empty bool, p failure) ([]byte, bool) {
	return f.eventForm.fail(f.id(dst), empty, p)
}

// gap is an event of the type "gap" that tells its reason.
func (f *numberedForm) gap(dst []byte, reason events.Gap) []byte {
	return append(append(append(f.id(dst), "event: gap\ndata: {\"reason\":\""...), reason...), "\"}\n\n"...)
}
