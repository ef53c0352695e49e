package fault

import (
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/request"
)

// Problem is a problem document (RFC 9457) with Portico's extensions.
type Problem struct {
	// Type is about:blank: the status and the code say what kind of problem it is.
	Type string `json:"type"`
	// Title is the status phrase.
	Title string `json:"title"`
	// Status is the HTTP status.
	Status int `json:"status"`
	// Detail is the text for the client.
	Detail string `json:"detail,omitempty"`
	// Instance is urn:request: followed by the request id, by which logs know this request.
	Instance string `json:"instance,omitempty"`
	// Code is the gRPC code's name, such as NOT_FOUND.
	Code string `json:"code"`
	// Retryable reports that the same request may succeed later.
	Retryable bool `json:"retryable"`
	// Errors are the values of the request that are wrong.
	Errors []Violation `json:"errors,omitempty"`
	// Reason and Domain name the kind of error, and Metadata says more about it, where a service has sent a
	// google.rpc.ErrorInfo: for programs, which should not read Detail.
	Reason   string            `json:"reason,omitempty"`
	Domain   string            `json:"domain,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	// Help are pages that say what to do, where a service has sent a google.rpc.Help.
	Help []Link `json:"help,omitempty"`
}

// Link is a page that helps with a problem.
type Link struct {
	// Description says what is there.
	Description string `json:"description,omitempty"`
	// URL is where it is, by HTTP.
	URL string `json:"url"`
}

// Problem is the error as a problem document. requestID may be empty.
func (e *Error) Problem(requestID string) Problem {
	p := Problem{
		Type:      "about:blank",
		Title:     http.StatusText(e.HTTPStatus()),
		Status:    e.HTTPStatus(),
		Detail:    e.public(),
		Code:      Name(e.Code),
		Retryable: e.Retryable(),
		Errors:    e.Violations,
	}
	if requestID != "" {
		p.Instance = "urn:request:" + requestID
	}
	for _, d := range e.Details {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if p.Reason == "" {
				p.Reason, p.Domain, p.Metadata = d.GetReason(), d.GetDomain(), d.GetMetadata()
			}
		case *errdetails.Help:
			for _, link := range d.GetLinks() {
				if u, err := url.Parse(link.GetUrl()); err == nil && (u.Scheme == "https" || u.Scheme == "http") {
					p.Help = append(p.Help, Link{Description: link.GetDescription(), URL: link.GetUrl()})
				}
			}
		}
	}
	return p
}

// WriteProblem answers r with err as a problem document; err goes through [From], and its text is in the language that
// r asks for, if the service has sent it. It sets Retry-After where the time
// is known, and WWW-Authenticate on 401 unless it is set already. A client that went away gets no body, only the
// status [StatusClientClosed] for the access log. It must not be called once the response has begun.
func WriteProblem(w http.ResponseWriter, r *http.Request, err error) {
	e := From(err)
	if e == nil {
		e = New(codes.Internal, generic(codes.Internal), WithBlame(Config))
	}
	e = e.Localize(r.Header["Accept-Language"])
	h := w.Header()
	// What a handler has prepared for its own body does not fit this one.
	for _, name := range []string{"Content-Length", "Content-Encoding", "Etag", "Last-Modified", "Content-Disposition"} {
		h.Del(name)
	}
	if e.Code == codes.Canceled {
		w.WriteHeader(StatusClientClosed)
		return
	}
	if s := e.retrySeconds(); s > 0 {
		h.Set("Retry-After", strconv.FormatInt(s, 10))
	}
	if e.Code == codes.Unauthenticated && h.Get("WWW-Authenticate") == "" {
		h.Set("WWW-Authenticate", "Bearer")
	}
	body, err := json.Marshal(e.Problem(request.FromContext(r.Context()).ID))
	if err != nil { // strings, ints and bools always encode
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	h.Set("Content-Type", "application/problem+json")
	if e.Language != "" {
		h.Set("Content-Language", e.Language)
		h.Add("Vary", "Accept-Language")
	} else {
		h.Del("Content-Language")
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(e.HTTPStatus())
	_, _ = w.Write(body) // a client that has left is nobody's error
}

// retrySeconds is RetryAfter in whole seconds, rounded up; 0 if unknown.
func (e *Error) retrySeconds() int64 {
	if e.RetryAfter <= 0 {
		return 0
	}
	return int64(math.Ceil(float64(e.RetryAfter) / float64(time.Second)))
}

// public is the text for the client, a generic one if there is none.
func (e *Error) public() string {
	if e.Public != "" {
		return e.Public
	}
	return generic(e.Code)
}
