// Package fault is the one kind of error that reaches a client: a gRPC code, a text meant for clients, and, kept
// apart from both, the cause and who is to blame for it. Each door has its own form of it: HTTP status and problem
// document (RFC 9457), GraphQL extensions, MQTT 3.1.1 return codes.
//
// Start with [New], [Wrap] and [From]. From is total: whatever error comes in, what goes out is fit for a client.
// [FromUpstream] does the same for the answer of a service, whose words are not always meant for our clients.
//
// The package does not log; causes are for the one who handles the error.
package fault

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
)

// Blame says whose fault an [Error] is. It decides how it is logged and counted, never what the client reads.
type Blame int

// Who can be to blame.
const (
	// Client is the client's request; the zero value.
	Client Blame = iota
	// Config is our configuration, or a request that we composed.
	Config
	// Upstream is the service's answer.
	Upstream
	// Network is the way to the service: it could not be reached, or not in time.
	Network
	// Policy is a rule or a limit that refused the request.
	Policy
)

// String names the blame as logs and metrics do.
func (b Blame) String() string {
	switch b {
	case Client:
		return "client"
	case Config:
		return "config"
	case Upstream:
		return "upstream"
	case Network:
		return "network"
	case Policy:
		return "policy"
	}
	return "unknown"
}

// Error is an error with a code and a text for clients. It is immutable once it has been returned.
type Error struct {
	// Code is the gRPC code; never OK.
	Code codes.Code
	// Blame says whose fault it is.
	Blame Blame
	// Public is the text that clients may read.
	Public string
	// Language is the language of Public (BCP 47) if a service has said so; empty otherwise.
	Language string
	// Violations are the places in the client's request that are wrong.
	Violations []Violation
	// Details are google.rpc details that clients may read.
	Details []proto.Message
	// RetryAfter is when it makes sense to try again; 0 if unknown.
	RetryAfter time.Duration
	// HTTP is the HTTP status where it says more than the code can, such as 405 or 413; 0 for the code's own.
	HTTP int
	// Cause is what happened; it is for logs and never reaches a client.
	Cause error
}

// Violation is one value in the client's request that is wrong.
type Violation struct {
	// Pointer is the JSON pointer (RFC 6901) to the value; "" is the whole document.
	Pointer string `json:"pointer"`
	// Detail says what is wrong with it.
	Detail string `json:"detail"`
}

// Option adds to an [Error] that is being made.
type Option func(*Error)

// WithBlame says who is to blame. Without it, that follows from the code.
func WithBlame(b Blame) Option { return func(e *Error) { e.Blame = b } }

// WithCause keeps the cause for logs.
func WithCause(err error) Option { return func(e *Error) { e.Cause = err } }

// WithRetryAfter says when it makes sense to try again.
func WithRetryAfter(d time.Duration) Option { return func(e *Error) { e.RetryAfter = d } }

// WithHTTPStatus gives the error an HTTP status that says more than its code can, such as 405 or 413.
func WithHTTPStatus(httpStatus int) Option { return func(e *Error) { e.HTTP = httpStatus } }

// WithViolation adds a value of the client's request that is wrong, by its JSON pointer.
func WithViolation(pointer, detail string) Option {
	return func(e *Error) { e.Violations = append(e.Violations, Violation{Pointer: pointer, Detail: detail}) }
}

// WithDetails adds google.rpc details that the client may read.
func WithDetails(details ...proto.Message) Option {
	return func(e *Error) { e.Details = append(e.Details, details...) }
}

// New makes an error of a code and a text for the client. The code OK becomes Internal: success is no error.
func New(code codes.Code, public string, opts ...Option) *Error {
	if code == codes.OK {
		code = codes.Internal
	}
	e := &Error{Code: code, Blame: blameOf(code), Public: public}
	for _, o := range opts {
		o(e)
	}
	return e
}

// Wrap makes an error of a code and a text for the client that keeps its cause for logs.
func Wrap(code codes.Code, public string, cause error) *Error {
	return New(code, public, WithCause(cause))
}

// Error tells the code, the public text and the cause. It is for logs: a client reads Public.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(Name(e.Code))
	if e.Public != "" {
		b.WriteString(": ")
		b.WriteString(e.Public)
	}
	if e.Cause != nil {
		b.WriteString(": ")
		b.WriteString(e.Cause.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// GRPCStatus is the error as a gRPC client may see it: code, public text and details, without the cause.
func (e *Error) GRPCStatus() *status.Status {
	s := status.New(e.Code, e.public())
	details := make([]protoadapt.MessageV1, 0, len(e.Details)+2)
	for _, d := range e.Details {
		details = append(details, protoadapt.MessageV1Of(d))
	}
	if len(e.Violations) > 0 {
		bad := &errdetails.BadRequest{}
		for _, v := range e.Violations {
			bad.FieldViolations = append(bad.FieldViolations,
				&errdetails.BadRequest_FieldViolation{Field: fieldPath(v.Pointer), Description: v.Detail})
		}
		details = append(details, protoadapt.MessageV1Of(bad))
	}
	if e.RetryAfter > 0 {
		details = append(details, protoadapt.MessageV1Of(retryInfo(e.RetryAfter)))
	}
	if len(details) == 0 {
		return s
	}
	if detailed, err := s.WithDetails(details...); err == nil {
		return detailed
	}
	return s
}

// Retryable reports whether the same request may succeed later, without anybody changing it.
func (e *Error) Retryable() bool {
	switch e.Code {
	case codes.Unavailable, codes.ResourceExhausted, codes.Aborted:
		return true
	default:
		return false
	}
}

// From turns any error into one for clients. An [*Error] anywhere in err is returned as it is; the end of a context
// becomes Canceled or DeadlineExceeded; an error with a gRPC status is taken for a service's answer (see
// [FromUpstream]); anything else becomes Internal with a generic text and err as its cause. A nil err gives nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, context.Canceled) {
		return New(codes.Canceled, "the request was cancelled", WithCause(err), WithBlame(Client))
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return New(codes.DeadlineExceeded, generic(codes.DeadlineExceeded), WithCause(err))
	}
	if _, ok := status.FromError(err); ok {
		return FromUpstream(err)
	}
	return New(codes.Internal, generic(codes.Internal), WithCause(err), WithBlame(Config))
}

// blameOf is who is to blame for a code that we give ourselves.
func blameOf(code codes.Code) Blame {
	switch code {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.OutOfRange,
		codes.Unauthenticated, codes.Canceled, codes.Aborted, codes.Unimplemented:
		return Client
	case codes.PermissionDenied, codes.ResourceExhausted:
		return Policy
	case codes.Unavailable, codes.DeadlineExceeded:
		return Network
	case codes.OK, codes.Unknown, codes.Internal, codes.DataLoss:
		return Config
	default:
		return Config
	}
}
