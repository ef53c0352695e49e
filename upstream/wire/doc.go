// Package wire turns protobuf wire format into JSON and back by programs that are compiled once per message type, and
// reads and builds single fields of messages, without unmarshalling anything into Go structs.
//
//   - [Renderer] appends JSON of a message, or of a [Selection] of its fields.
//   - [Parser] appends the canonical wire format of a JSON text; its errors point at the value.
//   - [Canonicalizer] makes one canonical encoding of a message of any encoding.
//   - [Projector] keeps selected fields of a message.
//   - [Builder] assigns texts, JSON and raw values to fields of a message to be sent.
//   - [Template] does so for fields that are known beforehand, straight in the canonical encoding.
//   - [Path] and [Table] read fields for callers that render their own shape.
//
// The canonical encoding has the fields in the order of their numbers, the pieces of a message merged, repeated scalars
// packed where their field is declared so, map entries sorted by key, fields of implicit presence left out where they
// are zero, one NaN, and no unknown fields. Two messages that mean the same have the same canonical encoding, except that
// the bytes within an Any stay as they are.
//
// A Renderer writes fields as it meets them, as long as they come in the order of the output; otherwise it locates them
// first; and only where a message is irregular (a field in pieces, or twice) it makes an index of all of it, which takes
// two to three times as long. The ways are tested against one another, and the last against the Protobuf runtime.
//
// The JSON is the one that the protobuf documentation specifies (ProtoJSON). Input is never trusted: what is truncated,
// too deep, or not UTF-8 is an error. Every compiled value is immutable and safe for concurrent use.
package wire
