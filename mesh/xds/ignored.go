package xds

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/portico-bff/portico/mesh/internal/source"
)

// Field is something that an xDS server has sent and that does not have the effect
// it would have in Envoy.
type Field struct {
	// Target is the client's.
	Target string
	// Kind is the type of the resource: Listener, RouteConfiguration, Cluster or
	// ClusterLoadAssignment; and Resource its name.
	Kind, Resource string
	// Path is the field's, with [] behind lists; "" is the whole resource, or all
	// resources of the kind where there is no Resource.
	Path string
	// Value is what it was set to, at its first place, shortened; Count is in how many
	// places it is set.
	Value string
	Count int
	// Why says what happens instead, or what to use; "" if nothing does.
	Why string
}

// String tells it in a line.
func (f Field) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", f.Target, f.Kind)
	if f.Resource != "" {
		fmt.Fprintf(&b, " %q", f.Resource)
	}
	if f.Path != "" {
		fmt.Fprintf(&b, " %s", f.Path)
	}
	if f.Value != "" {
		fmt.Fprintf(&b, " = %s", f.Value)
	}
	if f.Count > 1 {
		fmt.Fprintf(&b, " (and %d more)", f.Count-1)
	}
	if f.Why != "" {
		fmt.Fprintf(&b, ": %s", f.Why)
	}
	return b.String()
}

// Ignored lists what the xDS servers have sent to the clients that are open, and to
// the servers, that is ignored: every field that is set and that gRPC does not act on.
// gRPC itself says nothing of it. A client that is idle, or closed, has nothing here.
func (c *ControlPlane) Ignored() []Field {
	c.mu.Lock()
	views := make([]*view, 0, len(c.views))
	for v := range c.views {
		views = append(views, v)
	}
	c.mu.Unlock()
	var all []Field
	for _, v := range views {
		all = append(all, v.ignored()...)
	}
	sortFields(all)
	return slices.Compact(all)
}

// ignored lists what this client's stream has brought.
func (v *view) ignored() []Field {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []Field
	for _, fields := range v.found {
		all = append(all, fields...)
	}
	for _, f := range v.refused {
		all = append(all, f)
	}
	for i := range all {
		all[i].Target = v.target
	}
	sortFields(all)
	return all
}

func sortFields(all []Field) {
	slices.SortFunc(all, func(a, b Field) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Value, b.Value))
	})
}

func describe(fields []Field) []string {
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i] = f.String()
	}
	return list
}

func kindOf(typeURL string) string {
	return typeURL[strings.LastIndexByte(typeURL, '.')+1:]
}

// look finds what is ignored of a resource.
func (c *ControlPlane) look(message proto.Message) []Field {
	known, ok := c.honoured[string(message.ProtoReflect().Descriptor().FullName())]
	if !ok {
		return nil
	}
	l := looking{fields: map[string]*Field{}}
	l.message(message.ProtoReflect(), known, "")
	switch m := message.(type) {
	case *listenerv3.Listener:
		l.filters(m)
	case *clusterv3.Cluster:
		l.cluster(m)
	case *endpointv3.ClusterLoadAssignment:
		l.assignment(m)
	}
	all := make([]Field, 0, len(l.fields))
	for _, f := range l.fields {
		all = append(all, *f)
	}
	return all
}

// looking is a walk through one resource.
type looking struct {
	fields map[string]*Field // by path
}

// add notes a field.
func (l *looking) add(path, value, why string) {
	if f := l.fields[path]; f != nil {
		f.Count++
		return
	}
	l.fields[path] = &Field{Path: path, Value: value, Count: 1, Why: why}
}

// message notes what is set in a message beside what is honoured.
func (l *looking) message(m protoreflect.Message, known node, path string) {
	if path != "" {
		path += "."
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		name := string(field.Name())
		below, ok := known[name]
		at := path + name
		if field.IsList() {
			at += "[]"
		}
		switch {
		case !ok:
			l.add(at, show(field, value), hint(at))
		case below == nil: // all of it
		case field.IsList():
			for i := range value.List().Len() {
				l.below(value.List().Get(i).Message(), below, at)
			}
		default:
			l.below(value.Message(), below, at)
		}
		return true
	})
}

// below is message, for what a google.protobuf.Any may hold.
func (l *looking) below(m protoreflect.Message, known node, path string) {
	if packed, ok := m.Interface().(*anypb.Any); ok {
		inner, err := packed.UnmarshalNew()
		if err != nil {
			return // gRPC refuses what it does not know here
		}
		m = inner.ProtoReflect()
	}
	l.message(m, known, path)
}

// mostShown is how much of a value is shown.
const mostShown = 160

// show writes a value for people.
func show(field protoreflect.FieldDescriptor, value protoreflect.Value) string {
	if field.IsList() && value.List().Len() > 0 {
		value = value.List().Get(0)
	}
	text := value.String()
	switch v := value.Interface().(type) {
	case protoreflect.Message:
		text = prototext.MarshalOptions{}.Format(v.Interface())
		text = "{" + strings.Join(strings.Fields(text), " ") + "}"
	case protoreflect.EnumNumber:
		if e := field.Enum().Values().ByNumber(v); e != nil {
			text = string(e.Name())
		}
	}
	if len(text) > mostShown {
		text = strings.ToValidUTF8(text[:mostShown], "") + "..."
	}
	return text
}

// cluster notes balancing that is not the mesh's, or not the cluster's.
func (l *looking) cluster(c *clusterv3.Cluster) {
	const notOurs = "gRPC's own balancer picks the endpoints: the mesh's loadBalancer, outlierDetection and warmup have no effect"
	switch {
	case c.GetLoadBalancingPolicy() != nil && !strings.Contains(prototext.Format(c.GetLoadBalancingPolicy()), typePrefix+source.Balancer):
		l.add("load_balancing_policy", show(fieldOf(c, "load_balancing_policy"), protoreflect.ValueOfMessage(c.GetLoadBalancingPolicy().ProtoReflect())), notOurs)
	case c.GetLoadBalancingPolicy() != nil:
	case c.GetLbPolicy() == clusterv3.Cluster_LEAST_REQUEST:
		l.add("lb_policy", c.GetLbPolicy().String(), "the mesh's balancer picks the endpoints, as the Destination's loadBalancer says")
	case c.GetLbPolicy() == clusterv3.Cluster_RING_HASH:
		l.add("lb_policy", c.GetLbPolicy().String(), notOurs)
	}
}

func fieldOf(m proto.Message, name protoreflect.Name) protoreflect.FieldDescriptor {
	return m.ProtoReflect().Descriptor().Fields().ByName(name)
}

// assignment notes localities that gRPC leaves out.
func (l *looking) assignment(a *endpointv3.ClusterLoadAssignment) {
	for _, locality := range a.GetEndpoints() {
		if locality.GetLoadBalancingWeight().GetValue() == 0 && len(locality.GetLbEndpoints()) > 0 {
			l.add("endpoints[]", "locality "+zoneOf(locality.GetLocality()), "without a load_balancing_weight, a locality gets no requests")
		}
	}
}
