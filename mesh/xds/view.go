package xds

import (
	"context"
	"maps"
	"net"
	"strconv"
	"sync"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/experimental/balancer/weight"
	"google.golang.org/grpc/resolver"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/portico-bff/portico/mesh/internal/source"
)

const adsMethod = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"

// The types of resources, as they are called on the wire.
const (
	typePrefix    = "type.googleapis.com/"
	listenerType  = typePrefix + "envoy.config.listener.v3.Listener"
	routeType     = typePrefix + "envoy.config.route.v3.RouteConfiguration"
	clusterType   = typePrefix + "envoy.config.cluster.v3.Cluster"
	endpointsType = typePrefix + "envoy.config.endpoint.v3.ClusterLoadAssignment"
	wrapperType   = typePrefix + "envoy.service.discovery.v3.Resource"
)

// view is what one client's xDS stream has brought: it stands between the stream and
// gRPC, and is read by the balancers below.
type view struct {
	plane  *ControlPlane
	target string

	mu      sync.Mutex // guards what follows
	found   map[resource][]Field
	places  map[resource]map[string]source.Place // by address
	refused map[resource]Field                   // by server and type

	byAddress atomic.Pointer[map[string]source.Place]
}

// resource names what an xDS server sends.
type resource struct{ server, kind, name string }

func newView(c *ControlPlane, target string) *view {
	return &view{
		plane: c, target: target,
		found: map[resource][]Field{}, places: map[resource]map[string]source.Place{}, refused: map[resource]Field{},
	}
}

// intercept watches the stream to an xDS server.
func (v *view) intercept(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, cc, method, opts...)
	if err != nil || method != adsMethod {
		return stream, err
	}
	return &adsStream{ClientStream: stream, view: v, server: cc.Target()}, nil
}

// adsStream is the stream to an xDS server. gRPC's codec for it hands bytes through.
type adsStream struct {
	grpc.ClientStream
	view   *view
	server string
}

// SendMsg looks at what is subscribed to and refused.
func (s *adsStream) SendMsg(msg any) error {
	if text, ok := msg.([]byte); ok {
		s.view.request(s.server, text)
	}
	return s.ClientStream.SendMsg(msg)
}

// RecvMsg looks at what is sent, and puts the mesh's balancer into it.
func (s *adsStream) RecvMsg(msg any) error {
	if err := s.ClientStream.RecvMsg(msg); err != nil {
		return err
	}
	if text, ok := msg.(*[]byte); ok {
		*text = s.view.response(s.server, *text)
	}
	return nil
}

// request forgets what is not subscribed to any more. A request names all resources
// of its type that are, of that server.
func (v *view) request(server string, text []byte) {
	var r discoveryv3.DiscoveryRequest
	if err := proto.Unmarshal(text, &r); err != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if detail := r.GetErrorDetail(); detail != nil {
		v.refused[resource{server: server, kind: r.GetTypeUrl()}] = Field{
			Kind: kindOf(r.GetTypeUrl()), Why: "gRPC has refused what was sent last, and keeps what it had: " + detail.GetMessage(),
		}
	} else if r.GetResponseNonce() != "" {
		delete(v.refused, resource{server: server, kind: r.GetTypeUrl()})
	}
	v.forget(server, r.GetTypeUrl(), r.GetResourceNames())
}

// forget drops what was known of resources of that type but for those named. The lock
// is held.
func (v *view) forget(server, typeURL string, keep []string) {
	kind, kept := kindOf(typeURL), make(map[string]bool, len(keep))
	for _, name := range keep {
		kept[name] = true
	}
	for key := range v.found {
		if key.server == server && key.kind == kind && !kept[key.name] {
			delete(v.found, key)
		}
	}
	if typeURL != endpointsType {
		return
	}
	for key := range v.places {
		if key.server == server && !kept[key.name] {
			delete(v.places, key)
		}
	}
	v.publish()
}

// response notes what a response holds. It returns the response, changed where a
// cluster gets the mesh's balancer.
func (v *view) response(server string, text []byte) []byte {
	var r discoveryv3.DiscoveryResponse
	if err := proto.Unmarshal(text, &r); err != nil {
		return text // gRPC will say what is wrong with it
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	changed := false
	var names []string
	for i, wrapped := range r.GetResources() {
		inner, wrapper := unwrap(wrapped)
		name, message := v.note(server, inner)
		names = append(names, name)
		if message == nil {
			continue
		}
		value, err := proto.Marshal(message)
		if err != nil {
			continue
		}
		inner = &anypb.Any{TypeUrl: clusterType, Value: value}
		if wrapper != nil {
			wrapper.Resource = inner
			if value, err = proto.Marshal(wrapper); err != nil {
				continue
			}
			inner = &anypb.Any{TypeUrl: wrapperType, Value: value}
		}
		r.Resources[i], changed = inner, true
	}
	if t := r.GetTypeUrl(); t == listenerType || t == clusterType {
		v.forget(server, t, names) // of these types a response holds all there are
	}
	if r.GetTypeUrl() == endpointsType {
		v.publish()
	}
	if !changed {
		return text
	}
	again, err := proto.Marshal(&r)
	if err != nil {
		return text
	}
	return again
}

// unwrap returns a resource out of the message that it may be wrapped in.
func unwrap(packed *anypb.Any) (inner *anypb.Any, wrapper *discoveryv3.Resource) {
	if packed.GetTypeUrl() != wrapperType {
		return packed, nil
	}
	var r discoveryv3.Resource
	if err := proto.Unmarshal(packed.GetValue(), &r); err != nil || r.GetResource() == nil {
		return packed, nil
	}
	return r.GetResource(), &r
}

// note takes down what is to be known of a resource. It returns what to send on in
// its stead, nil to leave it as it is. The lock is held.
func (v *view) note(server string, packed *anypb.Any) (name string, instead proto.Message) {
	message, err := packed.UnmarshalNew()
	if err != nil {
		return "", nil
	}
	fields := v.plane.look(message)
	switch m := message.(type) {
	case interface{ GetClusterName() string }: // a ClusterLoadAssignment
		name = m.GetClusterName()
	case interface{ GetName() string }:
		name = m.GetName()
	}
	kind := kindOf(packed.GetTypeUrl())
	key := resource{server: server, kind: kind, name: name}
	if assignment, ok := message.(*endpointv3.ClusterLoadAssignment); ok {
		v.places[key] = placesOf(assignment)
	}
	if cluster, ours := withBalancer(message); ours {
		instead = cluster
	}
	for i := range fields {
		fields[i].Kind, fields[i].Resource = kind, name
	}
	v.found[key] = fields
	return name, instead
}

// placesOf reads the zones and labels of endpoints. Labels are what Envoy chooses
// subsets by.
func placesOf(a *endpointv3.ClusterLoadAssignment) map[string]source.Place {
	places := map[string]source.Place{}
	for _, locality := range a.GetEndpoints() {
		zone := zoneOf(locality.GetLocality())
		for _, e := range locality.GetLbEndpoints() {
			socket := e.GetEndpoint().GetAddress().GetSocketAddress()
			address := net.JoinHostPort(socket.GetAddress(), strconv.Itoa(int(socket.GetPortValue())))
			place := source.Place{Zone: zone}
			for label, value := range e.GetMetadata().GetFilterMetadata()["envoy.lb"].GetFields() {
				if place.Labels == nil {
					place.Labels = map[string]string{}
				}
				place.Labels[label] = value.GetStringValue()
			}
			places[address] = place
		}
	}
	return places
}

// zoneOf is a locality in the mesh's words. Sub-zones are part of the zone.
func zoneOf(l *corev3.Locality) string {
	switch {
	case l.GetRegion() == "" && l.GetZone() == "":
		return ""
	case l.GetZone() == "":
		return l.GetRegion()
	case l.GetSubZone() == "":
		return l.GetRegion() + "/" + l.GetZone()
	default:
		return l.GetRegion() + "/" + l.GetZone() + "/" + l.GetSubZone()
	}
}

// publish makes the places known to balancers. The lock is held.
func (v *view) publish() {
	all := map[string]source.Place{}
	for _, places := range v.places {
		maps.Copy(all, places)
	}
	v.byAddress.Store(&all)
}

// place is what is known of an endpoint. Its weight is gRPC's: the endpoint's times
// the locality's.
func (v *view) place(endpoint resolver.Endpoint) source.Place {
	var place source.Place
	if all := v.byAddress.Load(); all != nil && len(endpoint.Addresses) > 0 {
		place = (*all)[endpoint.Addresses[0].Addr]
	}
	place.Weight = weight.FromEndpoint(endpoint).Weight
	return place
}
