package translate

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/translate/urlpath"
	"github.com/portico-bff/portico/upstream/wire"
)

// composed is what a client asks for.
type composed struct {
	message []byte // canonical
	system  systemParameters
}

// compose makes the request message out of path, query and body. Its errors are for the client.
func (rt *route) compose(r *http.Request, p *urlpath.Path, body []byte, f format) (composed, error) {
	if rt.body == wholeBody && len(rt.vars) == 0 && r.URL.RawQuery == "" {
		message, err := rt.parse(r, body, f)
		return composed{message: message}, err
	}
	m := rt.builder.New()
	if err := rt.setBody(m, r, body, f); err != nil {
		return composed{}, err
	}
	system, err := rt.setURL(m, r, p)
	if err != nil {
		return composed{}, err
	}
	message, err := m.Append(nil)
	if err != nil {
		return composed{}, fault.New(codes.InvalidArgument, "the request lacks a required field", fault.WithCause(err))
	}
	return composed{message: message, system: system}, nil
}

// parse returns the canonical message of a body that is the whole message.
func (rt *route) parse(r *http.Request, body []byte, f format) ([]byte, error) {
	if f == rawFormat {
		return wrapHTTPBody(r, body)
	}
	if f == protoFormat {
		message, err := rt.canonical.Append(nil, body)
		if err != nil {
			return nil, protoError(err)
		}
		return message, nil
	}
	if blank(body) {
		body = []byte("{}")
	}
	message, err := rt.parser.Append(nil, body)
	if err != nil {
		return nil, bodyError(err)
	}
	return message, nil
}

// setBody puts the body where the rule wants it.
func (rt *route) setBody(m *wire.Message, r *http.Request, body []byte, f format) error {
	switch rt.body {
	case noBody:
		if len(body) > 0 {
			return fault.New(codes.InvalidArgument, "this method takes no body")
		}
	case wholeBody:
		message, err := rt.parse(r, body, f)
		if err != nil {
			return err
		}
		if err := m.Merge(message); err != nil {
			return fmt.Errorf("merging the parsed body: %w", err)
		}
	case fieldBody:
		return rt.setBodyField(m, r, body, f)
	}
	return nil
}

// setBodyField makes the body the value of one field. No body leaves the field unset.
func (rt *route) setBodyField(m *wire.Message, r *http.Request, body []byte, f format) error {
	if f == rawFormat {
		message, err := wrapHTTPBody(r, body)
		if err != nil {
			return err
		}
		if err := m.SetRaw(rt.slot, message); err != nil {
			return protoError(err)
		}
		return nil
	}
	if f == protoFormat {
		if rt.canonical == nil {
			return fault.New(codes.InvalidArgument, "the body is no message here, send JSON",
				fault.WithHTTPStatus(http.StatusUnsupportedMediaType))
		}
		message, err := rt.canonical.Append(nil, body)
		if err == nil {
			err = m.SetRaw(rt.slot, message)
		}
		if err != nil {
			return protoError(err)
		}
		return nil
	}
	if blank(body) {
		return nil
	}
	if err := m.SetJSON(rt.slot, body); err != nil {
		return bodyError(err)
	}
	return nil
}

// blank reports whether a body has nothing but white space.
func blank(body []byte) bool { return len(bytes.TrimSpace(body)) == 0 }

// setURL assigns what path and query bind. A body may repeat what the path says, but not contradict it.
func (rt *route) setURL(m *wire.Message, r *http.Request, p *urlpath.Path) (systemParameters, error) {
	if len(rt.vars) > 0 {
		var spare [4]string
		values := rt.template.values(spare[:0], p)
		for i := range rt.vars {
			if err := rt.setVar(m, &rt.vars[i], values[i]); err != nil {
				return systemParameters{}, err
			}
		}
	}
	system, err := rt.query.apply(m, r.URL.RawQuery)
	if err != nil {
		return system, requestError(err)
	}
	return system, nil
}

func (rt *route) setVar(m *wire.Message, v *boundVar, text string) error {
	if v.inBody != nil {
		message, err := m.Append(nil)
		if err != nil {
			message = nil // something required is still to come
		}
		if given, ok := v.inBody.First(message); ok {
			return rt.agree(v, text, given)
		}
		for _, rival := range v.rivals {
			if _, ok := rival.First(message); ok {
				what := fmt.Sprintf("the path gives %s, which excludes %s", v.path, rival.Field().Name())
				return fault.New(codes.InvalidArgument, what, fault.WithViolation(pointer(string(rival.Field().Name())), what))
			}
		}
	}
	if err := m.SetText(v.slot, text); err != nil {
		return fault.New(codes.InvalidArgument, fmt.Sprintf("the path's %s: %s", v.path, valueText(err)),
			fault.WithViolation(pointer(v.path), valueText(err)), fault.WithCause(err))
	}
	return nil
}

// agree checks that the path says the same as the body.
func (rt *route) agree(v *boundVar, text string, given wire.Value) error {
	m := rt.builder.New()
	if err := m.SetText(v.slot, text); err == nil {
		if message, err := m.Append(nil); err == nil {
			if own, ok := v.inBody.First(message); ok && bytes.Equal(own.Raw(), given.Raw()) {
				return nil
			}
		}
	}
	return fault.New(codes.InvalidArgument, v.path+" differs between path and body",
		fault.WithViolation(pointer(v.path), "differs from the path"))
}

// requestError turns an error about a request's parts into the client's.
func requestError(err error) error {
	if p, ok := errors.AsType[*parameterError](err); ok {
		opts := []fault.Option{fault.WithCause(err)}
		if p.field != "" {
			opts = append(opts, fault.WithViolation(pointer(p.field), p.what))
		}
		return fault.New(codes.InvalidArgument, p.Error(), opts...)
	}
	return fault.New(codes.InvalidArgument, err.Error(), fault.WithCause(err))
}

// protoError turns an error about a message in wire format into the client's.
func protoError(err error) error {
	return fault.New(codes.InvalidArgument, "the message is malformed", fault.WithCause(err), fault.WithViolation("", "malformed"))
}

// bodyError turns an error about a JSON text into the client's.
func bodyError(err error) error {
	if s, ok := errors.AsType[*wire.SyntaxError](err); ok {
		return fault.New(codes.InvalidArgument, "the body is malformed: "+s.Error(), fault.WithCause(err),
			fault.WithViolation(s.Pointer, valueText(&wire.ValueError{Found: s.Found, Expected: s.Expected, Nearest: s.Nearest})))
	}
	if v, ok := errors.AsType[*wire.ValueError](err); ok {
		return fault.New(codes.InvalidArgument, "the body is malformed: "+v.Error(), fault.WithCause(err),
			fault.WithViolation(pointer(v.Field), valueText(err)))
	}
	return fault.New(codes.InvalidArgument, "the body is malformed", fault.WithCause(err))
}

// valueText says what is wrong with a value, without its field.
func valueText(err error) string {
	v, ok := errors.AsType[*wire.ValueError](err)
	if !ok {
		return err.Error()
	}
	text := v.Found
	if v.Expected != "" {
		text += ", expected " + v.Expected
	}
	if v.Nearest != "" {
		text += fmt.Sprintf(", did you mean %q?", v.Nearest)
	}
	return text
}

// pointer turns a field path into a JSON pointer.
func pointer(path string) string {
	out := make([]byte, 0, len(path)+1)
	out = append(out, '/')
	for _, c := range []byte(path) {
		if c == '.' {
			c = '/'
		}
		out = append(out, c)
	}
	return string(out)
}
