package xds_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh/xds"
)

// Where the control plane says nothing of security, the mesh's own holds, with the
// server pinned: nobody else of the trust domain will do.
func TestPinnedWithoutTLSOfTheControlPlane(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	f.serveAs(t, "payments", "10.0.0.1:7000", nil)
	c.send(t, service("10.0.0.1:7000")...)
	conn := f.connect(t, c.plane(t), f.join(t, "portico", destination))
	if err := call(t.Context(), conn); status.Code(err) != codes.Unavailable {
		t.Errorf("call to an impostor: %v", err)
	}
	if n := f.count("10.0.0.1:7000"); n != 0 {
		t.Errorf("the impostor got %d calls", n)
	}
}

// Where it sends certificate providers, their certificates and roots are used, and the
// server is pinned all the same.
func TestTLSOfTheControlPlane(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	f.serve(t, "10.0.0.1:7000", nil)
	f.serveAs(t, "payments", "10.0.0.2:7000", nil)
	dir := t.TempDir()
	if err := f.ca.WriteFiles(t.Context(), dir, "bystander"); err != nil {
		t.Fatal(err)
	}
	files, err := json.Marshal(map[string]string{
		"certificate_file":    filepath.Join(dir, "bystander", "tls.crt"),
		"private_key_file":    filepath.Join(dir, "bystander", "tls.key"),
		"ca_certificate_file": filepath.Join(dir, "bystander", "ca.crt"),
	})
	if err != nil {
		t.Fatal(err)
	}
	plane, err := xds.New(xds.Options{Bootstrap: c.bootstrap(`,
		"certificate_providers": {"files": {"plugin_name": "file_watcher", "config": ` + string(files) + `}}`)})
	if err != nil {
		t.Fatal(err)
	}
	provider := &tlsv3.CertificateProviderPluginInstance{InstanceName: "files"}
	secured := func(address string) {
		resources := service(address)
		cluster, _ := resources[2].(*clusterv3.Cluster)
		cluster.TransportSocket = &corev3.TransportSocket{
			Name: "envoy.transport_sockets.tls",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsCertificateProviderInstance: provider,
				ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
					CaCertificateProviderInstance: provider,
				}},
			}})},
		}
		c.send(t, resources...)
	}

	secured("10.0.0.1:7000")
	conn := f.connect(t, plane, f.join(t, "portico", destination))
	must(t, conn, 10)
	if got := f.peer("10.0.0.1:7000"); got != "spiffe://shop.test/bystander" {
		t.Errorf("the server saw %s: that is not the control plane's certificate", got)
	}

	secured("10.0.0.2:7000")
	eventually(t, "the impostor refused", func() bool { return status.Code(call(t.Context(), conn)) == codes.Unavailable })
	if n := f.count("10.0.0.2:7000"); n != 0 {
		t.Errorf("the impostor got %d calls", n)
	}
}
