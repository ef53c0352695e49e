package fault

// GraphQL is the error in GraphQL's form: the message, and the extensions of an entry of "errors". Their "code" is
// the one that GraphQL clients know, such as BAD_USER_INPUT or FORBIDDEN; "status" is the gRPC code's name.
func (e *Error) GraphQL() (message string, extensions map[string]any) {
	name, _, code, _ := present(e.Code)
	extensions = map[string]any{"code": code, "status": name}
	if e.Retryable() {
		extensions["retryable"] = true
	}
	if s := e.retrySeconds(); s > 0 {
		extensions["retryAfter"] = s
	}
	if len(e.Violations) > 0 {
		extensions["errors"] = e.Violations
	}
	return e.public(), extensions
}
