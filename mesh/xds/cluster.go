package xds

import (
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	wrrlocalityv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/portico-bff/portico/mesh/internal/source"
)

// withBalancer returns a cluster whose endpoints the mesh's balancer picks, below the
// weights of its localities. It does so for clusters that ask for nothing in
// particular: ROUND_ROBIN is what an empty field means, and LEAST_REQUEST is a wish
// that the mesh's own policy answers. What a cluster asks for in load_balancing_policy,
// and RING_HASH, whose hash is the route's, stay as they are.
func withBalancer(message proto.Message) (proto.Message, bool) {
	cluster, ok := message.(*clusterv3.Cluster)
	if !ok || !picksOurs(cluster) {
		return nil, false
	}
	policy, err := meshPolicy()
	if err != nil {
		return nil, false
	}
	cluster.LoadBalancingPolicy = policy
	return cluster, true
}

func picksOurs(cluster *clusterv3.Cluster) bool {
	if cluster.GetLoadBalancingPolicy() != nil {
		return false
	}
	return cluster.GetLbPolicy() == clusterv3.Cluster_ROUND_ROBIN || cluster.GetLbPolicy() == clusterv3.Cluster_LEAST_REQUEST
}

// meshPolicy picks localities by their weights, and lets the mesh's balancer pick the
// endpoint. A control plane may write the same into a cluster itself.
func meshPolicy() (*clusterv3.LoadBalancingPolicy, error) {
	picker, err := policyOf(&xdstypev3.TypedStruct{TypeUrl: typePrefix + source.Balancer, Value: &structpb.Struct{}}, "portico.mesh")
	if err != nil {
		return nil, err
	}
	return policyOf(&wrrlocalityv3.WrrLocality{EndpointPickingPolicy: picker}, "envoy.load_balancing_policies.wrr_locality")
}

func policyOf(config proto.Message, name string) (*clusterv3.LoadBalancingPolicy, error) {
	packed, err := anypb.New(config)
	if err != nil {
		return nil, err
	}
	return &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{
		TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: name, TypedConfig: packed},
	}}}, nil
}
