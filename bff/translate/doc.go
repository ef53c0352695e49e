// Package translate serves gRPC methods as REST and WebSocket, by the rules of google.api.http, which are annotations in
// proto files or stand in the configuration.
//
// [New] compiles the rules into a [Router], an [http.Handler]. A request is turned into one canonical protobuf message
// (package wire), the method is called through an [upstream.Caller], and the answer is rendered from its wire format.
//
// # Routes
//
// Paths are matched by segments, from left to right: a literal goes before *, and * before **. A text behind the last
// colon of a path is a verb where a route has that verb, else a part of the last segment. An empty segment matches
// nothing. Two rules that match the same requests are an error of New. HEAD is served by the rule for GET, OPTIONS
// lists the methods of a path.
//
// # Requests
//
// A variable of one segment is decoded completely; in one of several segments an encoded slash stays encoded. Query
// parameters set what neither path nor body do; names are those of the proto file or of JSON, nested fields are written
// a.b, repeated ones are given more than once. What is unknown, bound already, or given twice is an error. A body may
// repeat a field of the path if it says the same. Bodies are JSON or protobuf (application/protobuf), or anything where
// the rule's body is a google.api.HttpBody. Request-Timeout (seconds) or Grpc-Timeout bounds how long the call may
// take; of a stream or a WebSocket, how long all of it may last.
//
// # Answers
//
// "fields" as a query parameter ("$fields" if the request has such a field), or the header X-Goog-FieldMask, select
// what the answer holds: items(id,title),next. Accept chooses JSON or protobuf. Errors are problem documents (RFC 9457).
// Answers to GET have an entity tag. What configuration lets through of the service's headers and trailers are headers of
// the answer, of an error too.
//
// # Streams
//
// A server-streaming method answers with a JSON array, written as its elements come, or, if Accept asks for it, with
// server-sent events or lines of JSON. Events: a message is an event without a type; "error" holds a problem document;
// "end" is the end, upon which clients should close, since they would connect again. In arrays and lines an error is a
// last element {"@error": PROBLEM}. Until a second has passed or something has come, an error has an HTTP status instead.
// The trailers that configuration lets through are a member "trailers" of these last events; who sends "TE: trailers"
// also gets them as trailers of HTTP (RFC 9110, section 6.5), the only place for them where lines or an array end well.
//
// Where [Options.Events] keeps a method's streams, events have ids, and a client that comes back with Last-Event-ID (as
// browsers do) goes on behind that event. If events may be missing, it is told by an event "gap" with a reason, unknown,
// overrun or ended (package events), and goes on with what comes. An id without an event, sent if no message
// comes at first, says from where to go on. All else, and all other methods, is bound to the client: when it leaves, the
// call is cancelled.
//
// # Uploads and downloads
//
// Where the answer is a google.api.HttpBody, the body is its data, of its type; where messages of it are streamed, one
// after the other, and a download that fails breaks off. Where a client-streaming method takes one, in its body or as all
// of its message, the parts of the upload become messages as they come, of at most 64 KiB of data each, and all with its
// type and what path and query bind; the body's limit bounds all of them. Neither direction holds more than a part or two:
// who is slow holds the other end back.
//
// # WebSockets
//
// Every streaming method can be called over a WebSocket at its path, and at /ws/{service}/{method}. A text frame is one
// message in JSON; with the subprotocol portico.proto a binary frame is one in protobuf. What the path and the query
// bind is bound in every message. {"@end": {}} from the client says that no message follows. The last frame, in
// JSON always, is {"@end": {"code": "OK"}}, with the name of another gRPC code and a "problem" if the call failed, and
// with "trailers" if there are any; the close code then is 1000, or 4000 and the number of the gRPC code. Of a method that
// streams only answers, the request comes with the path and the query if the rule has no body, else with the first
// frame.
//
// Browsers cannot send Authorization with the handshake. They can offer a subprotocol "bearer." and the token, or send
// {"@token": "TOKEN"} as the first frame. The answer to that is {"@token": {}}, and the call begins, or begins anew, in
// the name of who the token is for: what came before was for nobody. Who may not call as nobody has [StreamLimits].InitTimeout
// to send it; with a bad one or none, the last frame says UNAUTHENTICATED. A connection ends with its client's
// credentials, in the same way. [StreamLimits] bounds what a connection may do: who sends too fast is slowed down.
package translate
