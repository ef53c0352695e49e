package fault

import (
	"net/http"

	"google.golang.org/grpc/codes"
)

// StatusClientClosed is the status that logs give a request whose client went away. No client ever reads it.
const StatusClientClosed = 499

// Name is the name of a code as google.rpc.Code spells it, such as NOT_FOUND.
func Name(code codes.Code) string {
	name, _, _, _ := present(code)
	return name
}

// HTTPStatus is the HTTP status of the error: its own, or that of its code, as google.rpc.Code pairs them.
func (e *Error) HTTPStatus() int {
	if e.HTTP != 0 {
		return e.HTTP
	}
	_, httpStatus, _, _ := present(e.Code)
	return httpStatus
}

// generic is a text for clients that tells no more than the code does.
func generic(code codes.Code) string {
	_, _, _, text := present(code)
	return text
}

// present is the one table of how a code looks at each door: its name, its HTTP status, its GraphQL code, and a
// generic text. It is total; codes that gRPC does not know are UNKNOWN.
func present(code codes.Code) (name string, httpStatus int, graphQL, text string) {
	switch code {
	case codes.OK:
		return "OK", http.StatusOK, "OK", ""
	case codes.Canceled:
		return "CANCELLED", StatusClientClosed, "CANCELLED", "the request was cancelled"
	case codes.Unknown:
		return "UNKNOWN", http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", "something went wrong on our side"
	case codes.InvalidArgument:
		return "INVALID_ARGUMENT", http.StatusBadRequest, "BAD_USER_INPUT", "the request is invalid"
	case codes.DeadlineExceeded:
		return "DEADLINE_EXCEEDED", http.StatusGatewayTimeout, "DEADLINE_EXCEEDED", "the answer did not come in time"
	case codes.NotFound:
		return "NOT_FOUND", http.StatusNotFound, "NOT_FOUND", "not found"
	case codes.AlreadyExists:
		return "ALREADY_EXISTS", http.StatusConflict, "ALREADY_EXISTS", "it exists already"
	case codes.PermissionDenied:
		return "PERMISSION_DENIED", http.StatusForbidden, "FORBIDDEN", "not allowed"
	case codes.ResourceExhausted:
		return "RESOURCE_EXHAUSTED", http.StatusTooManyRequests, "RATE_LIMITED", "too many requests"
	case codes.FailedPrecondition:
		return "FAILED_PRECONDITION", http.StatusBadRequest, "FAILED_PRECONDITION", "not possible in the present state"
	case codes.Aborted:
		return "ABORTED", http.StatusConflict, "ABORTED", "aborted by a concurrent change"
	case codes.OutOfRange:
		return "OUT_OF_RANGE", http.StatusBadRequest, "BAD_USER_INPUT", "a value is out of range"
	case codes.Unimplemented:
		return "UNIMPLEMENTED", http.StatusNotImplemented, "UNIMPLEMENTED", "not implemented"
	case codes.Internal:
		return "INTERNAL", http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", "something went wrong on our side"
	case codes.Unavailable:
		return "UNAVAILABLE", http.StatusServiceUnavailable, "UNAVAILABLE", "temporarily unavailable, please try again"
	case codes.DataLoss:
		return "DATA_LOSS", http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", "something went wrong on our side"
	case codes.Unauthenticated:
		return "UNAUTHENTICATED", http.StatusUnauthorized, "UNAUTHENTICATED", "authentication is required"
	default:
		return "UNKNOWN", http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", "something went wrong on our side"
	}
}
