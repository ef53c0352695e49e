package xds

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Whatever a server sends: nothing panics; what is no response, or has no cluster that
// gets the mesh's balancer, goes through byte for byte; in what is changed, all but the
// balancers of clusters stays as it is; and doing it again changes nothing.
func FuzzResponse(f *testing.F) {
	seed := func(resources ...proto.Message) {
		r := &discoveryv3.DiscoveryResponse{VersionInfo: "1", Nonce: "n"}
		for _, m := range resources {
			packed, err := anypb.New(m)
			if err != nil {
				f.Fatal(err)
			}
			r.TypeUrl = packed.GetTypeUrl()
			r.Resources = append(r.Resources, packed)
		}
		text, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	cluster := &clusterv3.Cluster{Name: "a", OutlierDetection: &clusterv3.OutlierDetection{Consecutive_5Xx: wrapperspb.UInt32(5)}}
	packed, err := anypb.New(cluster)
	if err != nil {
		f.Fatal(err)
	}
	seed()
	seed(cluster, &clusterv3.Cluster{Name: "b", LbPolicy: clusterv3.Cluster_RING_HASH})
	seed(&discoveryv3.Resource{Name: "a", Resource: packed})
	seed(&routev3.RouteConfiguration{Name: "r", VirtualHosts: []*routev3.VirtualHost{{Routes: []*routev3.Route{{
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{RetryPolicy: &routev3.RetryPolicy{RetryOn: "5xx"}}},
	}}}}})
	seed(&endpointv3.ClusterLoadAssignment{ClusterName: "a", Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{}}}}})
	f.Add([]byte("\xff\xff"))

	plane := &ControlPlane{honoured: honouredFields()}
	f.Fuzz(func(t *testing.T, text []byte) {
		v := newView(plane, "xds:///fuzz")
		sent := append([]byte(nil), text...)
		got := v.response("s", sent)
		v.request("s", text)
		_ = describe(v.ignored())
		var before, after discoveryv3.DiscoveryResponse
		if proto.Unmarshal(text, &before) != nil {
			if string(got) != string(text) {
				t.Fatal("what is no response was changed")
			}
			return
		}
		if err := proto.Unmarshal(got, &after); err != nil {
			t.Fatalf("not a response any more: %v", err)
		}
		changed := false
		for i, r := range before.GetResources() {
			if proto.Equal(r, after.GetResources()[i]) {
				continue
			}
			changed = true
			a, b := clusterIn(t, r), clusterIn(t, after.GetResources()[i])
			if !picksOurs(a) || b.GetLoadBalancingPolicy() == nil {
				t.Fatalf("changed: %v", a)
			}
			b.LoadBalancingPolicy = nil
			if diff := cmp.Diff(a, b, protocmp.Transform()); diff != "" {
				t.Fatal(diff)
			}
			before.Resources[i], after.Resources[i] = nil, nil
		}
		if !changed && string(got) != string(text) {
			t.Fatal("changed for nothing")
		}
		if again := v.response("s", got); string(again) != string(got) {
			t.Fatal("the second time it is changed again")
		}
	})
}

func clusterIn(t *testing.T, packed *anypb.Any) *clusterv3.Cluster {
	t.Helper()
	inner, _ := unwrap(packed)
	c := new(clusterv3.Cluster)
	if err := proto.Unmarshal(inner.GetValue(), c); err != nil {
		t.Fatal(err)
	}
	return c
}
