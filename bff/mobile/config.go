package mobile

import (
	"github.com/portico-bff/portico/bff/events"
	"github.com/portico-bff/portico/bff/translate"
)

// Config is the mobile section of the configuration: what the REST door serves.
type Config struct {
	// Services lists the gRPC services whose methods are served at the routes of their google.api.http rules. Methods
	// without a rule are not served.
	Services []string `yaml:"services" json:"services,omitempty" jsonschema_description:"gRPC services whose methods are served at the routes of their google.api.http rules"`
	// Operations lists files of stored operations, as patterns; those with @rest are served at its path.
	Operations []string `yaml:"operations" json:"operations,omitempty" jsonschema_description:"files of stored operations, as patterns; those with @rest are served"`
	// Streams says which event streams clients can come back to, by the method's name as "package.Service/Method". A
	// client that asks for server-sent events of such a method goes on where its Last-Event-ID says, and shares the call
	// with others that ask the same with the same identity. All other calls end when their client leaves.
	Streams map[string]events.Config `yaml:"streams" json:"streams,omitempty" jsonschema_description:"event streams that clients can come back to with Last-Event-ID, by the method's name as package.Service/Method"`
	// StreamLimits bounds what streams and WebSockets may do.
	StreamLimits translate.StreamLimits `yaml:"stream_limits" json:"stream_limits,omitzero" jsonschema_description:"bounds on what streams and WebSockets may do"`
}
