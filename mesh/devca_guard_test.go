package mesh_test

import (
	"strings"
	"testing"
	"time"

	"github.com/portico-bff/portico/mesh"
)

// The environment is all of the process's, so this runs alone.
func TestDevCARefusesProduction(t *testing.T) {
	for _, name := range []string{"MESH_ENV", "APP_ENV", "ENVIRONMENT"} {
		for value, want := range map[string]bool{"production": true, "PROD": true, "staging": false, "": false} {
			t.Run(name+"="+value, func(t *testing.T) {
				t.Setenv(name, value)
				ca, err := mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: "shop.test"})
				if refused := err != nil && strings.Contains(err.Error(), name+"="+value); refused != want {
					t.Errorf("error = %v, want one: %v", err, want)
				}
				if err == nil {
					_ = ca.Close()
				}
				ca, err = mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: "shop.test", TTL: time.Hour, AllowProduction: true})
				if err != nil {
					t.Fatalf("where it is allowed: %v", err)
				}
				_ = ca.Close()
			})
		}
	}
}
