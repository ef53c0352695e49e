package translate

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/edge/record"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/translate/urlpath"
	"github.com/portico-bff/portico/upstream"
)

// unary answers a request for a unary method.
func (rt *Router) unary(w http.ResponseWriter, r *http.Request, to *route, p *urlpath.Path) {
	asked, err := rt.understand(w, r, to, p)
	if err == nil {
		asked.format, err = to.answerFormat(r, asked.format)
	}
	if err != nil {
		Refuse(w, r, err)
		return
	}
	limit, err := clientTimeout(r.Header)
	if err != nil {
		Refuse(w, r, err)
		return
	}
	ctx := r.Context()
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	reply, err := rt.caller.Invoke(ctx, to.method, asked.message)
	rt.reply(w, r, asked, reply, err)
}

// reply answers with what the service has answered, be it an error.
func (rt *Router) reply(w http.ResponseWriter, r *http.Request, asked asked, reply upstream.Reply, err error) {
	if err != nil {
		passHeaders(w.Header(), reply.Header)
		passHeaders(w.Header(), reply.Trailer)
		Refuse(w, r, err)
		return
	}
	record.FromContext(r.Context()).Source = reply.Freshness.Source
	buf := rt.buffers.get()
	defer rt.buffers.put(buf)
	contentType := jsonType
	switch asked.format {
	case rawFormat:
		var data []byte
		contentType, data, err = asked.answer.httpBody(reply.Message)
		*buf = append((*buf)[:0], data...)
	case protoFormat:
		contentType = protoType
		*buf, err = asked.answer.appendProto((*buf)[:0], reply.Message)
	case jsonFormat:
		*buf, err = asked.answer.append((*buf)[:0], reply.Message)
	}
	reply.Release() // all of it is in buf
	if err != nil {
		Refuse(w, r, badAnswer(err))
		return
	}
	passHeaders(w.Header(), reply.Header)
	passHeaders(w.Header(), reply.Trailer)
	write(w, r, *buf, contentType, reply.Freshness)
}

// WriteJSON answers a request with a JSON body. To GET and HEAD it gives the body's entity tag, and no body to a client
// that has it already (RFC 9110, section 13.1.2). What caches may do with it follows from its freshness.
func WriteJSON(w http.ResponseWriter, r *http.Request, body []byte, f upstream.Freshness) {
	write(w, r, body, jsonType, f)
}

func write(w http.ResponseWriter, r *http.Request, body []byte, contentType string, f upstream.Freshness) {
	h := w.Header()
	values := newValues()
	setCaching(h, values, r, f)
	if safe(r) {
		tag := entityTag(body)
		h["Etag"] = values.of(tag)
		if matches(r.Header["If-None-Match"], tag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h["Content-Type"] = values.of(contentType)
	if len(body) > counted || r.Method == http.MethodHead {
		h["Content-Length"] = values.of(strconv.Itoa(len(body)))
	}
	_, _ = w.Write(body) // a client that has left is nobody's error
}

// counted is how long a body can be that net/http counts itself, if it comes in one piece. Go's map of an answer's usual
// headers is a small one without Content-Length, and twice as large with it.
const counted = 2 << 10

// asked is what a client asks for: the canonical request, and how the answer is wanted.
type asked struct {
	message []byte
	answer  *answer
	format  format // of the request's body
}

// understand reads all of a request. Its errors are for the client.
func (rt *Router) understand(w http.ResponseWriter, r *http.Request, to *route, p *urlpath.Path) (asked, error) {
	body, err := readBody(w, r, rt.maxBody)
	if err != nil {
		return asked{}, err
	}
	f := jsonFormat
	if to.rawBody {
		f = rawFormat
	} else if len(body) > 0 {
		if f, err = bodyFormat(r); err != nil {
			return asked{}, err
		}
	}
	request, err := to.compose(r, p, body, f)
	if err != nil {
		return asked{}, err
	}
	answer, err := to.selectAnswer(r, request.system)
	return asked{request.message, answer, f}, err
}

// answerFormat chooses how the answer is written.
func (rt *route) answerFormat(r *http.Request, sent format) (format, error) {
	if rt.answers.raw {
		return rawFormat, nil
	}
	if sent == rawFormat {
		sent = jsonFormat
	}
	f, err := answerFormat(r, sent)
	if err == nil && f == protoFormat && !rt.answers.message {
		err = notAcceptable()
	}
	return f, err
}

// selectAnswer finds how to render what the client wants of the answer.
func (rt *route) selectAnswer(r *http.Request, system systemParameters) (*answer, error) {
	fields := system.fields
	if header := r.Header["X-Goog-Fieldmask"]; !system.hasFields && len(header) > 0 {
		fields = header[0]
	} else if system.hasFields && fields == "" {
		return nil, fault.New(codes.InvalidArgument, "fields: nothing is selected")
	}
	found, err := rt.answers.get(fields)
	if err != nil {
		return nil, fault.New(codes.InvalidArgument, err.Error(), fault.WithCause(err))
	}
	return found, nil
}

// badAnswer is a service's message that cannot be rendered.
func badAnswer(err error) error {
	return fault.New(codes.Internal, "", fault.WithCause(err), fault.WithBlame(fault.Upstream))
}

// values makes the values of the headers of one answer, with one allocation for the usual ones. Their names are written as
// [http.Header] spells them.
type values struct{ room []string }

// newValues makes room for the headers that every answer has from here.
func newValues() *values { return &values{make([]string, 0, 5)} }

func (v *values) of(value string) []string {
	v.room = append(v.room, value)
	n := len(v.room)
	return v.room[n-1 : n : n]
}

// setCaching says how long the answer may be kept, and where it came from (RFC 9111, RFC 9211).
func setCaching(h http.Header, v *values, r *http.Request, f upstream.Freshness) {
	switch {
	case !safe(r):
		h["Cache-Control"] = v.of("no-store")
	case f.MaxAge <= 0:
		// May be kept for If-None-Match, but asked about each time.
		h["Cache-Control"] = v.of("private, no-cache")
	default:
		scope := "private"
		if f.Public {
			scope = "public"
		}
		// Age counts against max-age, and MaxAge is what is left.
		h["Cache-Control"] = v.of(scope + ", max-age=" + seconds(f.MaxAge+f.Age))
		if f.Age > 0 {
			h["Age"] = v.of(seconds(f.Age))
		}
	}
	setVary(h, v, safe(r) && (f.MaxAge <= 0 || !f.Public))
	switch f.Source {
	case upstream.Hit:
		h["Cache-Status"] = v.of("portico; hit; ttl=" + seconds(f.MaxAge))
	case upstream.Stale:
		h["Cache-Status"] = v.of("portico; hit; detail=stale")
	case upstream.Coalesced:
		h["Cache-Status"] = v.of("portico; fwd=miss; collapsed")
	case upstream.Fetched:
	}
}

// setVary says which headers of the request the answer depends on, besides those that are named already: the edge's
// Accept-Encoding as a rule.
func setVary(h http.Header, v *values, personal bool) {
	const (
		coding = "Accept-Encoding"
		form   = "Accept, X-Goog-FieldMask"
		who    = ", Authorization"
	)
	before := h["Vary"]
	alone := len(before) == 1 && before[0] == coding
	switch {
	case alone && personal:
		h["Vary"] = v.of(coding + ", " + form + who)
	case alone:
		h["Vary"] = v.of(coding + ", " + form)
	case personal:
		h["Vary"] = append(slices.Clip(before), form+who)
	default:
		h["Vary"] = append(slices.Clip(before), form)
	}
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

// entityTag is a weak tag of an answer: compression further out changes the bytes, not the meaning.
func entityTag(body []byte) string {
	const digits = "0123456789abcdef"
	sum := xxhash.Sum64(body)
	tag := []byte(`W/"0000000000000000"`)
	for i := range 16 {
		tag[18-i] = digits[sum&15]
		sum >>= 4
	}
	return string(tag)
}

// matches reports whether a tag is among those of If-None-Match, which compares weakly (RFC 9110, section 13.1.2).
func matches(fields []string, tag string) bool {
	for _, field := range fields {
		for field != "" {
			var candidate string
			candidate, field = nextTag(field)
			if candidate == "*" || candidate == tag || candidate != "" && "W/"+candidate == tag {
				return true
			}
		}
	}
	return false
}

// nextTag takes one entity tag, or *, off a list.
func nextTag(field string) (tag, rest string) {
	for field != "" && (field[0] == ' ' || field[0] == '\t' || field[0] == ',') {
		field = field[1:]
	}
	quotes := 0
	for i := range len(field) {
		if field[i] == '"' {
			quotes++
		}
		if quotes == 2 {
			return field[:i+1], field[i+1:]
		}
		if quotes == 0 && field[i] == ',' {
			return field[:i], field[i+1:]
		}
	}
	return field, ""
}
