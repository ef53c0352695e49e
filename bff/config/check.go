package config

import (
	"errors"
	"strconv"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/upstream"
)

// validate finds what concerns several sections at once.
func (c *Config) validate() error {
	var errs []error
	if c.Web == nil && c.Mobile == nil && c.IoT == nil {
		errs = append(errs, mistake.At("no door is configured, expected at least one of web, mobile and iot"))
	}
	if c.Mesh != nil {
		if id := c.Mesh.Identity; (id.WorkloadAPI == "") == (id.Files == "") {
			errs = append(errs, mistake.At("expected exactly one of workload_api and files", "mesh", "identity"))
		}
	}
	for name, u := range c.Upstreams {
		if u.TLS.Mode == upstream.TLSMesh && c.Mesh == nil {
			errs = append(errs, mistake.At("needs an identity of our own: add a section mesh", "upstreams", name, "tls"))
		}
	}
	for i, j := range c.Auth.JWT {
		if j.JWKSMesh && c.Mesh == nil {
			errs = append(errs, mistake.At("needs an identity of our own: add a section mesh", "auth", "jwt", strconv.Itoa(i), "jwks_mesh"))
		}
	}
	if c.Drain < 0 {
		errs = append(errs, mistake.At("a negative duration", "drain"))
	}
	if c.Linger < 0 {
		errs = append(errs, mistake.At("a negative duration", "linger"))
	}
	return errors.Join(errs...)
}
