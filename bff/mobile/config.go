package mobile

// Config is the mobile section of the configuration: what the REST door serves.
type Config struct {
	// Services lists the gRPC services whose methods are served at the routes of their google.api.http rules. Methods
	// without a rule are not served.
	Services []string `yaml:"services" json:"services,omitempty" jsonschema_description:"gRPC services whose methods are served at the routes of their google.api.http rules"`
	// Operations lists files of stored operations, as patterns; those with @rest are served at its path.
	Operations []string `yaml:"operations" json:"operations,omitempty" jsonschema_description:"files of stored operations, as patterns; those with @rest are served"`
}
