package upstream

import (
	"encoding/json"
	"fmt"
	"time"
)

// unaryTimeout is a service config that bounds unary calls
// (https://github.com/grpc/grpc/blob/master/doc/service_config.md). With it, the context that gRPC makes of every call is
// the one with the deadline, and none is needed around it.
func unaryTimeout(services []string, d *Descriptors, timeout time.Duration) string {
	type name struct {
		Service string `json:"service"`
		Method  string `json:"method"`
	}
	type methodConfig struct {
		Names   []name `json:"name"`
		Timeout string `json:"timeout"` // google.protobuf.Duration
	}
	unary := methodConfig{Names: []name{}, Timeout: fmt.Sprintf("%d.%09ds", timeout/time.Second, timeout%time.Second)}
	for _, s := range services {
		for _, m := range d.Methods(s) {
			if m.Unary() {
				unary.Names = append(unary.Names, name{s, string(m.Desc.Name())})
			}
		}
	}
	text, _ := json.Marshal(struct { //nolint:errchkjson // strings are always marshalled
		MethodConfig []methodConfig `json:"methodConfig"`
	}{[]methodConfig{unary}})
	return string(text)
}
