package fault

import "google.golang.org/grpc/codes"

// Stopping is what streams end with, and are refused with, when the server goes down.
func Stopping() *Error {
	return New(codes.Unavailable, "the server is going down, please connect again")
}

// Reconfigured is what streams end with that began by an earlier configuration of a server that stays up.
func Reconfigured() *Error {
	return New(codes.Unavailable, "the configuration has changed, please connect again")
}
