package fault

import "google.golang.org/grpc/codes"

// Return codes of CONNACK (MQTT 3.1.1, section 3.2.2.3).
const (
	connackIdentifierRejected = 2
	connackUnavailable        = 3
	connackBadCredentials     = 4
	connackNotAuthorized      = 5
)

// Connack is the CONNACK return code that refuses a connection because of the error: bad credentials, not
// authorized, identifier rejected for a bad request, and server unavailable for everything else.
func (e *Error) Connack() byte {
	switch e.Code {
	case codes.Unauthenticated:
		return connackBadCredentials
	case codes.PermissionDenied:
		return connackNotAuthorized
	case codes.InvalidArgument:
		return connackIdentifierRejected
	default:
		return connackUnavailable
	}
}
