package xds

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Every line of both tables speaks of fields that there are: one with a mistake in it
// would call a field ignored that is not, or would never be told.
func TestTables(t *testing.T) {
	t.Parallel()
	table := honouredFields()
	var ignored []string // that can be told
	for _, m := range []proto.Message{&listenerv3.Listener{}, &routev3.RouteConfiguration{}, &clusterv3.Cluster{}, &endpointv3.ClusterLoadAssignment{}} {
		d := m.ProtoReflect().Descriptor()
		known, ok := table[string(d.FullName())]
		if !ok {
			t.Errorf("nothing is honoured of %s", d.FullName())
		}
		delete(table, string(d.FullName()))
		ignored = append(ignored, besides(t, d, known, "")...)
	}
	for name := range table {
		t.Errorf("%s is no resource", name)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(instead), "\n") {
		end, use, ok := strings.Cut(line, " = ")
		told := false
		for _, path := range ignored {
			told = told || hint(path) == use && (path == end || strings.HasSuffix(path, "."+end))
		}
		if !ok || !told {
			t.Errorf("nobody is told: %s", line)
		}
	}
}

// besides returns the fields of a message that are ignored, and fails for those that are
// honoured and not there.
func besides(t *testing.T, d protoreflect.MessageDescriptor, known node, path string) (ignored []string) {
	t.Helper()
	if d.FullName() == "google.protobuf.Any" {
		switch path {
		case "api_listener.api_listener.":
			d = (&hcmv3.HttpConnectionManager{}).ProtoReflect().Descriptor()
		case "transport_socket.typed_config.":
			d = (&tlsv3.UpstreamTlsContext{}).ProtoReflect().Descriptor()
		default:
			t.Fatalf("%s: may hold anything", path)
		}
	}
	for name := range known {
		if d.Fields().ByName(protoreflect.Name(name)) == nil {
			t.Errorf("%s has no field %s%s", d.FullName(), path, name)
		}
	}
	for i := range d.Fields().Len() {
		field := d.Fields().Get(i)
		name := string(field.Name())
		below, ok := known[name]
		switch {
		case !ok:
			ignored = append(ignored, path+name)
		case below != nil && field.Message() == nil:
			t.Errorf("%s%s has no fields", path, name)
		case below != nil:
			ignored = append(ignored, besides(t, field.Message(), below, path+name+".")...)
		}
	}
	return ignored
}
