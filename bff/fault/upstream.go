package fault

import (
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// FromUpstream turns a service's answer to a request that the client has composed into an error for that client:
//
//   - InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, Aborted, OutOfRange and ResourceExhausted are
//     about the client's request: text and google.rpc details pass.
//   - PermissionDenied passes as a code; its text does not, for it may name the rules between services. A
//     LocalizedMessage detail is text meant for users and does.
//   - Unauthenticated means that the service refused our credentials, which is no fault of the client's: Internal.
//   - Canceled by the service, although nobody asked for it, is Unavailable.
//   - All others keep their code and get a generic text.
//
// The cause is err. An err without a gRPC status is Unknown. A nil err, or one whose status is OK, gives nil.
func FromUpstream(err error) *Error {
	if err == nil {
		return nil
	}
	s := statusOf(err)
	if s.Code() == codes.OK {
		return nil
	}
	e := &Error{Code: s.Code(), Blame: Upstream, Public: generic(s.Code()), Cause: err}
	switch s.Code() {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.Aborted,
		codes.OutOfRange, codes.ResourceExhausted:
		e.Blame = Client
		if s.Message() != "" {
			e.Public = s.Message()
		}
		e.Details = details(s, true)
	case codes.PermissionDenied:
		e.Blame = Policy
		e.Details = details(s, false)
	case codes.Unauthenticated:
		e.Code, e.Blame, e.Public = codes.Internal, Config, generic(codes.Internal)
	case codes.Canceled:
		e.Code, e.Public = codes.Unavailable, generic(codes.Unavailable)
	case codes.Unavailable:
		e.Blame = Network
		e.Details = details(s, false)
	case codes.DeadlineExceeded:
		e.Blame = Network
	case codes.Unimplemented:
		e.Blame = Config
	case codes.OK, codes.Unknown, codes.Internal, codes.DataLoss:
	default:
		e.Code, e.Public = codes.Unknown, generic(codes.Unknown)
	}
	e.adopt()
	return e.Localize(nil)
}

// FromComposed is [FromUpstream] for a request that we composed, such as a batch of keys: if the service finds it
// invalid, the plan or the configuration is wrong, not the client's request.
func FromComposed(err error) *Error {
	e := FromUpstream(err)
	if e == nil {
		return nil
	}
	switch e.Code {
	case codes.InvalidArgument, codes.OutOfRange:
		return New(codes.Internal, generic(codes.Internal), WithCause(err), WithBlame(Config))
	default:
		return e
	}
}

// statusOf is the status that the service sent, without the words that wrappers of err have added for logs; Unknown if
// err has none. status.FromError would put the wrappers' words into the message.
func statusOf(err error) *status.Status {
	if s, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok {
		return s.GRPCStatus()
	}
	return status.New(codes.Unknown, "")
}

// adopt takes what the details say into the fields that the doors present.
func (e *Error) adopt() {
	kept := e.Details[:0]
	for _, d := range e.Details {
		switch d := d.(type) {
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				e.Violations = append(e.Violations, Violation{Pointer: pointer(v.GetField()), Detail: v.GetDescription()})
			}
		case *errdetails.RetryInfo:
			e.RetryAfter = max(e.RetryAfter, d.GetRetryDelay().AsDuration())
		default:
			kept = append(kept, d)
		}
	}
	e.Details = kept
}

// details returns the google.rpc details that are meant for clients: all but DebugInfo if the request is theirs,
// else those that say when to come back and what to tell the user.
func details(s *status.Status, all bool) []proto.Message {
	var out []proto.Message
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.RetryInfo:
			out = append(out, d)
		case *errdetails.LocalizedMessage:
			out = append(out, d)
		case *errdetails.BadRequest, *errdetails.ErrorInfo, *errdetails.PreconditionFailure, *errdetails.QuotaFailure,
			*errdetails.ResourceInfo, *errdetails.Help:
			if m, ok := d.(proto.Message); ok && all {
				out = append(out, m)
			}
		}
	}
	return out
}

func retryInfo(d time.Duration) *errdetails.RetryInfo {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(d)}
}
