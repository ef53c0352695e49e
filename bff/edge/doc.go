// Package edge is the HTTP around the web and the mobile door: request ids, traces, the access log and metrics, panic
// recovery, size and time limits, compression both ways, CORS and protection against cross-site requests, and the
// client's credentials and limits.
//
// [Chain] is the middleware in the right order and [Server] the server under it. What handlers find out about a
// request they put into package record, for the log.
//
// Every request gets its [request.Info]: handlers, rules and services see the same id, path and address.
package edge
