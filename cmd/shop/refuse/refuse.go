// Package refuse makes the errors that a shop service answers with: a gRPC status whose
// text is meant for the caller, with the google.rpc details that belong to its code.
// Anything that is not such a status is a fault of the service, and its text stays inside.
package refuse

import (
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
)

// Domain is the google.rpc.ErrorInfo domain of the shop's reasons.
const Domain = "shop.test"

// NotFound says that there is no such resource, or none that the caller may see.
// The kind is a resource type, such as "shop.test/Order".
func NotFound(kind, name string) error {
	return with(codes.NotFound, kind+" "+name+" does not exist", &errdetails.ResourceInfo{
		ResourceType: Domain + "/" + kind,
		ResourceName: name,
		Description:  "it does not exist, or the caller may not see it",
	})
}

// Invalid says that one field of the request is wrong.
func Invalid(field, description string) error {
	return InvalidFields([]*errdetails.BadRequest_FieldViolation{{Field: field, Description: description}})
}

// InvalidFields says that fields of the request are wrong. There must be at least one.
func InvalidFields(violations []*errdetails.BadRequest_FieldViolation) error {
	texts := make([]string, 0, len(violations))
	for _, v := range violations {
		texts = append(texts, v.GetField()+": "+v.GetDescription())
	}
	return with(codes.InvalidArgument, "invalid request: "+strings.Join(texts, "; "), &errdetails.BadRequest{FieldViolations: violations})
}

// Precondition says that the state of things does not allow the call. The reason is a
// stable word such as "OUT_OF_STOCK"; each subject is one thing that stands in the way.
func Precondition(reason, text string, subjects ...string) error {
	failure := &errdetails.PreconditionFailure{}
	for _, s := range subjects {
		failure.Violations = append(failure.Violations, &errdetails.PreconditionFailure_Violation{
			Type: reason, Subject: s, Description: text,
		})
	}
	return with(codes.FailedPrecondition, text, info(reason), failure)
}

// Unauthenticated says that the call needs a user and has none.
func Unauthenticated() error {
	return with(codes.Unauthenticated, "who is calling is not known", info("NO_USER"))
}

// Denied says that the caller may not do this.
func Denied(text string) error {
	return with(codes.PermissionDenied, text, info("ROLE_MISSING"))
}

// Exhausted says that a bound of the service is reached.
func Exhausted(text string) error {
	return with(codes.ResourceExhausted, text, info("TOO_MANY"))
}

// Stopping says that the service is going down; the caller may try elsewhere at once.
func Stopping() error {
	return with(codes.Unavailable, "the service is stopping", info("STOPPING"))
}

func info(reason string) *errdetails.ErrorInfo {
	return &errdetails.ErrorInfo{Reason: reason, Domain: Domain}
}

func with(code codes.Code, text string, details ...protoadapt.MessageV1) error {
	s, err := status.New(code, text).WithDetails(details...)
	if err != nil { // only for code OK, or for a message that cannot be encoded
		return status.Error(code, text)
	}
	return s.Err()
}
