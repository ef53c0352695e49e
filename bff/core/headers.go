package core

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/cache"
	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/upstream"
)

// requestIDHeader carries the request id to services.
const requestIDHeader = "x-request-id"

// headerPolicy is what one upstream gets to know: the client's headers that are passed on, and those that we set; and
// what clients get to know of its answers. It is immutable.
type headerPolicy struct {
	forward []forwarded
	set     []setHeader
	respond []string // as in metadata: lower case
	// taken is what set and forward name; nil unless all of the client's Grpc-Metadata-* is passed on, but for these.
	taken map[string]string
}

// metadataPrefix marks headers that are metadata for the service under the name that follows, as grpc-gateway has it.
const metadataPrefix = "grpc-metadata-"

// forwarded is a header of the client that is passed on.
type forwarded struct {
	name      string // as in metadata: lower case
	canonical string // as in http.Header
	identity  bool
}

// setHeader is a header that we set.
type setHeader struct {
	name  string
	value *template
}

// newHeaderPolicy compiles h. The error holds a [mistake.Mistake] for everything that is wrong, at paths such as
// ["forward", "0"].
func newHeaderPolicy(h upstream.Headers) (*headerPolicy, error) {
	p := &headerPolicy{}
	var all []error
	taken := map[string]string{}
	for _, written := range slices.Sorted(maps.Keys(h.Set)) {
		name := strings.ToLower(written)
		if err := checkName(name, taken); err != nil {
			all = append(all, &mistake.Mistake{Path: []string{"set", written}, What: err.Error(), Key: true})
			continue
		}
		taken[name] = "set"
		t, err := parseTemplate(h.Set[written])
		if err != nil {
			all = append(all, mistake.In(err, "set", written))
			continue
		}
		p.set = append(p.set, setHeader{name: name, value: t})
	}
	for i, written := range h.Forward {
		source := strings.ToLower(written)
		name := strings.TrimPrefix(source, metadataPrefix)
		if source == metadataPrefix+"*" {
			p.taken = taken
			continue
		}
		if err := checkName(name, taken); err != nil {
			all = append(all, mistake.At(err.Error(), "forward", strconv.Itoa(i)))
			continue
		}
		taken[name] = "forwarded"
		p.forward = append(p.forward, forwarded{name: name, canonical: http.CanonicalHeaderKey(source), identity: credential(name)})
	}
	answered := map[string]string{}
	for i, written := range h.Respond {
		name := strings.ToLower(written)
		err := checkName(name, answered)
		if err == nil && reservedInAnswers(name) {
			err = fmt.Errorf("the header %s of answers belongs to HTTP or to Portico and cannot be configured", name)
		}
		if err != nil {
			all = append(all, mistake.At(err.Error(), "respond", strconv.Itoa(i)))
			continue
		}
		answered[name] = "listed"
		p.respond = append(p.respond, name)
	}
	return p, errors.Join(all...)
}

// visible returns what clients may see of an answer's metadata; nil if nothing.
func (p *headerPolicy) visible(md metadata.MD) metadata.MD {
	var out metadata.MD
	for _, name := range p.respond {
		if values := md[name]; len(values) > 0 {
			if out == nil {
				out = make(metadata.MD, len(p.respond))
			}
			out[name] = values
		}
	}
	return out
}

// reservedInAnswers reports whether a header of an answer is made by Portico or would do what only Portico may: say who
// the client is, what pages of other origins may do, what may be kept.
func reservedInAnswers(name string) bool {
	switch name {
	case "age", "alt-svc", "cache-control", "cache-status", "clear-site-data", "content-disposition", "content-language",
		"content-location", "content-range", "content-security-policy", "date", "etag", "expires", "last-modified", "location",
		"ratelimit", "ratelimit-policy", "referrer-policy", "refresh", "retry-after", "server", "set-cookie",
		"strict-transport-security", "vary", "www-authenticate", "x-content-type-options", "x-frame-options":
		return true
	default:
		return strings.HasPrefix(name, "access-control-") || strings.HasPrefix(name, "sec-")
	}
}

// checkName says why a header of a name cannot go to a service.
func checkName(name string, taken map[string]string) error {
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return fmt.Errorf("%q is no name of a header", name)
	}
	if how, ok := taken[name]; ok {
		return fmt.Errorf("the header %s is %s already", name, how)
	}
	if reserved(name) {
		return fmt.Errorf("the header %s belongs to the transport or to Portico and cannot be configured", name)
	}
	return nil
}

// reserved reports whether a header belongs to HTTP's framing and hops (RFC 9110, section 7.6.1), to gRPC, or to us.
func reserved(name string) bool {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
		"transfer-encoding", "upgrade", "http2-settings", "host", "content-length", "content-type", "content-encoding",
		"accept-encoding", "expect", "user-agent", requestIDHeader, "traceparent", "tracestate":
		return true
	default:
		return strings.HasPrefix(name, "grpc-")
	}
}

// credential reports whether a header of a client says who the client is.
func credential(name string) bool {
	switch name {
	case "authorization", "cookie", "x-api-key", "x-forwarded-for", "forwarded", "x-real-ip":
		return true
	default:
		return false
	}
}

// sentHeader is a header of a call.
type sentHeader struct {
	name   string
	values []string
	// volatile headers only carry the request id: they are no part of a cache key.
	volatile bool
}

// compose makes the headers that a call sends, always in the same order. A public one carries nothing that depends on
// who is calling. A name that we set is never forwarded: newHeaderPolicy has seen to that.
func (p *headerPolicy) compose(info *request.Info, who *auth.Principal, public bool) ([]sentHeader, error) {
	out := make([]sentHeader, 0, len(p.set)+len(p.forward))
	texts := make([]string, 0, len(p.set)) // one allocation for the values of all
	for _, h := range p.set {
		if public && h.value.identity {
			continue
		}
		v := h.value.expand(info, who)
		if v == "" {
			continue
		}
		if !sendable(h.name, v) {
			return nil, fault.New(codes.Internal, "", fault.WithBlame(fault.Config),
				fault.WithCause(fmt.Errorf("the value %q of the header %s cannot be sent as text; name it %s-bin to send any bytes", v, h.name, h.name)))
		}
		texts = append(texts, v)
		out = append(out, sentHeader{h.name, texts[len(texts)-1 : len(texts) : len(texts)], h.value.volatile})
	}
	hop := hopByHop(info.Header)
	for _, h := range p.forward {
		if (public && h.identity) || slices.Contains(hop, h.canonical) {
			continue
		}
		values, err := forwardable(h.name, info.Header[h.canonical])
		if err != nil {
			return nil, fault.Wrap(codes.InvalidArgument, "the header "+h.name+" is malformed", err)
		}
		if len(values) > 0 {
			out = append(out, sentHeader{name: h.name, values: values})
		}
	}
	if p.taken != nil && !public { // anything may say who is calling
		return p.addMetadata(out, info.Header, hop)
	}
	return out, nil
}

// addMetadata adds the client's Grpc-Metadata-* headers in the order of their names, but for those that are of
// somebody else's making, or that only a name of their own in the configuration would let pass.
func (p *headerPolicy) addMetadata(out []sentHeader, h http.Header, hop []string) ([]sentHeader, error) {
	start := len(out)
	for canonical, written := range h {
		source := strings.ToLower(canonical)
		name, ok := strings.CutPrefix(source, metadataPrefix)
		if !ok || checkName(name, p.taken) != nil || credential(name) || slices.Contains(hop, canonical) {
			continue
		}
		values, err := forwardable(name, written)
		if err != nil {
			return nil, fault.Wrap(codes.InvalidArgument, "the header "+source+" is malformed", err)
		}
		out = append(out, sentHeader{name: name, values: values})
	}
	slices.SortFunc(out[start:], func(a, b sentHeader) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// addHeaders adds the headers of a call to a key, but for the volatile ones.
func addHeaders(b *cache.KeyBuilder, headers []sentHeader) {
	for _, h := range headers {
		if h.volatile {
			continue
		}
		b.AddString(h.name)
		b.AddString(strconv.Itoa(len(h.values)))
		for _, v := range h.values {
			b.AddString(v)
		}
	}
	b.AddString("") // no header has this name: they end here
}

// hopByHop returns the names, as in [http.Header], that a Connection header declares to be for us alone.
func hopByHop(h http.Header) []string {
	var out []string
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			out = append(out, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	return out
}

// forwardable returns the values of a client's header as metadata takes them: those of a name that ends in -bin are
// bytes, which the client has written in base64 (gRPC over HTTP/2, "Custom-Metadata").
func forwardable(name string, values []string) ([]string, error) {
	if !strings.HasSuffix(name, "-bin") {
		for _, v := range values {
			if !sendable(name, v) {
				return nil, fmt.Errorf("the value %q has characters other than printable ASCII", v)
			}
		}
		return values, nil
	}
	var out []string
	for _, line := range values {
		for v := range strings.SplitSeq(line, ",") {
			decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(v), "="))
			if err != nil {
				return nil, fmt.Errorf("the value %q is not base64: %w", v, err)
			}
			out = append(out, string(decoded))
		}
	}
	return out, nil
}

// sendable reports whether a value can stand in a header: printable ASCII, or anything if the name ends in -bin.
func sendable(name, value string) bool {
	if strings.HasSuffix(name, "-bin") {
		return true
	}
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return false
		}
	}
	return true
}
