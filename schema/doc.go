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
// # Execution
//
// A plan is a graph of fetches. A batch starts as soon as the fetches that feed its keys have ended; independent
// branches do not wait for one another, and there is no timer. Equal bindings at the same depth share their calls,
// keys are deduplicated, and a miss is null. Everything else is the GraphQL specification's (October 2021).
//
// The package does no I/O of its own: calls go through the Caller that it is handed. Goroutines that [Operation.Execute]
// starts have ended when it returns.
package schema
