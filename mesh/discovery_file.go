package mesh

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// discoveryInterval is how often a file of endpoints is read again.
const discoveryInterval = time.Second

// FileDiscovery finds endpoints in a YAML or JSON file, which is read again whenever
// its contents change:
//
//	services:
//	  orders:
//	  - {address: "10.0.0.1:7000", zone: north/1, labels: {version: v1}}
//	  - {address: "10.0.0.2:7000", zone: north/2, labels: {version: v2}}
//
// Reading is strict; while the file is bad or does not know a service, the last good
// endpoints stay.
func FileDiscovery(path string) Discovery { return fileDiscovery{path: path} }

type fileDiscovery struct{ path string }

var _ Discovery = fileDiscovery{}

// Watch reads the file.
func (f fileDiscovery) Watch(ctx context.Context, service string, update func([]Endpoint, error)) {
	var last [sha256.Size]byte
	failure := ""
	for {
		text, err := os.ReadFile(f.path)
		if sum := sha256.Sum256(text); err == nil && sum != last {
			last, failure = sum, ""
			update(readEndpoints(f.path, text, service))
		}
		if err != nil && err.Error() != failure {
			failure, last = err.Error(), [sha256.Size]byte{}
			update(nil, err)
		}
		if !sleep(ctx, discoveryInterval) {
			return
		}
	}
}

// readEndpoints returns what a file says of a service.
func readEndpoints(path string, text []byte, service string) ([]Endpoint, error) {
	var file struct {
		Services map[string][]struct {
			Address string            `yaml:"address"`
			Zone    string            `yaml:"zone"`
			Labels  map[string]string `yaml:"labels"`
		} `yaml:"services"`
	}
	if err := yaml.UnmarshalWithOptions(text, &file, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	listed, ok := file.Services[service]
	if !ok {
		return nil, fmt.Errorf("%s: no service %q", path, service)
	}
	endpoints := make([]Endpoint, len(listed))
	for i, e := range listed {
		if _, _, err := net.SplitHostPort(e.Address); err != nil && !strings.HasPrefix(e.Address, "unix:/") {
			return nil, fmt.Errorf("%s: services.%s[%d]: address %q, want host:port or unix:/path", path, service, i, e.Address)
		}
		endpoints[i] = Endpoint{Address: e.Address, Zone: e.Zone, Labels: e.Labels}
	}
	return endpoints, nil
}
