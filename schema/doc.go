// Package schema is GraphQL over gRPC: it turns SDL with bindings into a [Schema], operations into immutable plans,
// and runs a plan against an [upstream.Caller], rendering the answer straight from protobuf wire bytes.
//
// Start with [New], [Schema.Compile] and [Operation.Execute]; [Schema.Stored] loads stored operations. Everything that
// can be wrong is found by New, Stored and Compile: SDL mistakes are reported all at once, each a [Mistake] with its
// file, line and column.
//
// # Bindings
//
// A root field names its method with @grpc, and so does a field that is joined from another service. All other fields
// are read from the message of the method that returned their type. Names that match need no binding: customerName is
// customer_name, and an argument named as a field of the request goes there.
//
//	type Query {
//	  order(id: ID!): Order @grpc(method: "shop.orders.v1.OrderService/GetOrder", input: {order_id: "{args.id}"})
//	}
//	type Order {
//	  id: ID! @proto(field: "order_id")
//	  customer: User @grpc(method: "shop.users.v1.UserService/BatchGetUsers",
//	    batch: {key: "{parent.customer_id}", into: "user_ids", results: "users", match: "user_id", max: 100})
//	}
//
// @grpc(method:, input:, select:, batch:) on a field:
//
//   - method is "package.Service/Method": unary for fields of queries, mutations and objects, server-streaming for
//     subscriptions.
//   - input sets fields of the request to constants or templates: "{args.id}", "{parent.customer_id}" and, through
//     [Options.Lookup], "{principal.subject}" or "{request.id}". A template that is one reference keeps its value's type.
//     Arguments that no template names go to the request field of their name.
//   - select is the path in the answer, or in a batch's row, that the field's value is read from.
//   - batch fetches for many objects at once. key is a template, or an object of templates for keys that are messages;
//     into the repeated request field that takes the keys; results the path of the rows. match is the path of the key in
//     a row (an object of paths for message keys); without it rows are matched by position, or by map key if results is a
//     map. A list field takes all rows of its key; a key that is itself a list gives one row, or null, for each. max bounds
//     the keys of a call (100). get names the method that answers for one key, so that a cache can share rows with it.
//     A key that is unset gives no call and null.
//
// @proto(field:) binds a field, an argument or an input field to a path or a name other than its own, @proto(message:) a
// type to a message of another name, @proto(value:) an enum value; @proto(nullIfEmpty: true) makes an empty string, zero
// or an empty list null, as for page tokens.
//
// # Types
//
//   - Int is for 32-bit integers; unsigned ones beyond 2^31-1 are errors of their field. 64-bit integers are Int64 (a
//     string), ID or String. NaN and infinities are errors of a Float, and texts of a String.
//   - Timestamp is DateTime, Duration is Duration, bytes is Base64, FieldMask is String; Struct, Value, ListValue, Any and
//     any other message or list can be JSON. Wrappers are nullable scalars.
//   - Enum values lose the prefix of their enum; an unspecified zero that has no value in GraphQL is null.
//   - A oneof is a union or an interface, or nullable fields. A map is a list of a type with key and value, or JSON.
//   - Fields without presence have their defaults, never null; all others are null if they are not set.
//
// # Execution
//
// A plan is a graph of fetches. A batch starts as soon as the fetches that feed its keys have ended; independent
// branches do not wait for one another, and there is no timer. Equal bindings at the same depth share their calls,
// keys are deduplicated, and a miss is null. Everything else is the GraphQL specification's (October 2021).
//
// The package does no I/O of its own: calls go through the Caller that it is handed. Goroutines that [Operation.Execute]
// starts have ended when it returns.
package schema
