// Package translate serves gRPC methods as REST and WebSocket.
package translate
