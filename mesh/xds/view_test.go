package xds_test

import (
	"testing"

	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/portico-bff/portico/mesh"
)

// typed names the mesh's balancer in a control plane's words.
func typed(config *structpb.Struct) *xdstypev3.TypedStruct {
	return &xdstypev3.TypedStruct{TypeUrl: "type.googleapis.com/portico_mesh", Value: config}
}

// A control plane that names the mesh's balancer without weights for localities leaves
// zones to the mesh: the nearest one has the calls. Labels choose subsets.
func TestZonesAndLabels(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	const near, far = "10.0.0.1:7000", "10.0.0.2:7000"
	f.serve(t, near, nil)
	f.serve(t, far, nil)
	resources := service()
	cluster, _ := resources[2].(*clusterv3.Cluster)
	cluster.LoadBalancingPolicy = &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{
		TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: "portico", TypedConfig: pack(typed(&structpb.Struct{}))},
	}}}
	assignment := assign("orders", endpoint{address: near, zone: "north/a"}, endpoint{address: far, zone: "south/a"})
	label(assignment.GetEndpoints()[0].GetLbEndpoints()[0], "v1")
	label(assignment.GetEndpoints()[1].GetLbEndpoints()[0], "v2")
	resources[3] = assignment
	c.send(t, resources...)

	identity, err := f.ca.Identity("portico")
	if err != nil {
		t.Fatal(err)
	}
	policy, err := mesh.ParsePolicy("mesh.yaml", []byte(destination+`subsets:
- {name: v2, labels: {version: v2}}
---
kind: Route
hosts: [orders]
http:
- match: [{headers: {x-canary: {}}}]
  route: [{destination: {host: orders, subset: v2}}]
- timeout: 5s
`))
	if err != nil {
		t.Fatal(err)
	}
	m, err := mesh.New(t.Context(), mesh.Options{Identity: identity, Policy: policy, Zone: "north/a"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	conn := f.connect(t, c.plane(t), m)
	ready(t, m, conn, 2)
	must(t, conn, 50)
	if n := f.count(far); n != 0 {
		t.Errorf("%d calls went to another zone", n)
	}
	for range 50 {
		if err := call(canary(t.Context()), conn); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.count(far); n != 50 {
		t.Errorf("%d of 50 calls went to the subset", n)
	}
	for _, e := range m.Stats().Endpoints {
		if want := map[string]string{near: "north/a", far: "south/a"}[e.Address]; e.Zone != want {
			t.Errorf("%s is in zone %q", e.Address, e.Zone)
		}
	}
}

func label(e *endpointv3.LbEndpoint, version string) {
	e.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		"envoy.lb": {Fields: map[string]*structpb.Value{"version": structpb.NewStringValue(version)}},
	}}
}
