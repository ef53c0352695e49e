package mesh

import (
	"cmp"
	"context"
	"math/rand/v2"
	"strings"
	"time"
)

// KubernetesOptions says how to reach a Kubernetes API server. The zero value is
// right inside a cluster; the pod's account must be allowed to list and watch
// endpointslices of the group discovery.k8s.io.
type KubernetesOptions struct {
	// Server is the API server's URL; "" means https://kubernetes.default.svc.
	Server string
	// Namespace is where services are that do not name their own; "" asks
	// NamespaceFile.
	Namespace string
	// Region stands before the zones that Kubernetes tells, with a slash; "" leaves
	// them as they are.
	Region string
	// TokenFile, CAFile and NamespaceFile are read whenever they are needed, as they
	// are renewed; "" means those that are mounted into every pod.
	TokenFile, CAFile, NamespaceFile string
}

// kubernetesAccount is where a pod finds its account.
const kubernetesAccount = "/var/run/secrets/kubernetes.io/serviceaccount/"

const (
	kubernetesListTimeout = 30 * time.Second
	// kubernetesWatch is how long one watch lasts. Then everything is listed anew,
	// whatever events may have been lost.
	kubernetesWatch        = 5 * time.Minute
	kubernetesLeastBackoff = time.Second
	kubernetesMostBackoff  = 30 * time.Second
	kubernetesListBytes    = 64 << 20
)

// KubernetesDiscovery finds endpoints in the EndpointSlices of a cluster. A target is
//
//	mesh:///orders                  the only port of the service
//	mesh:///orders.shop:grpc        in the namespace shop, by the name of the port
//	mesh:///orders.shop:7000        or by the number that the pods listen on
//
// Endpoints that are ready count. Their labels are those of the slice, which
// Kubernetes copies from the Service.
func KubernetesDiscovery(o KubernetesOptions) Discovery {
	o.Server = strings.TrimSuffix(cmp.Or(o.Server, "https://kubernetes.default.svc"), "/")
	o.TokenFile = cmp.Or(o.TokenFile, kubernetesAccount+"token")
	o.CAFile = cmp.Or(o.CAFile, kubernetesAccount+"ca.crt")
	o.NamespaceFile = cmp.Or(o.NamespaceFile, kubernetesAccount+"namespace")
	return &kubernetes{options: o}
}

type kubernetes struct{ options KubernetesOptions }

var _ Discovery = (*kubernetes)(nil)

// slice is the part of an EndpointSlice that matters here.
type slice struct {
	Metadata struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	AddressType string `json:"addressType"`
	Endpoints   []struct {
		Addresses  []string `json:"addresses"`
		Zone       string   `json:"zone"`
		Conditions struct {
			Ready *bool `json:"ready"` // nil: ready
		} `json:"conditions"`
	} `json:"endpoints"`
	Ports []struct {
		Name string `json:"name"`
		Port int    `json:"port"`
	} `json:"ports"`
}

// Watch lists the service's slices and follows their changes, again and again.
func (k *kubernetes) Watch(ctx context.Context, service string, update func([]Endpoint, error)) {
	w := &sliceWatch{kubernetes: k, update: update}
	name, port, _ := strings.Cut(service, ":")
	w.service, w.namespace, _ = strings.Cut(name, ".")
	w.port = port
	backoff := kubernetesLeastBackoff
	for {
		listed, err := w.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if listed {
			backoff = kubernetesLeastBackoff
		}
		if err == nil { // the watch has had its time
			if !sleep(ctx, kubernetesLeastBackoff) {
				return
			}
			continue
		}
		update(nil, err)
		wait := time.Duration((0.5 + rand.Float64()/2) * float64(backoff)) //nolint:gosec // spreads load, no secret
		if backoff = min(2*backoff, kubernetesMostBackoff); !sleep(ctx, wait) {
			return
		}
	}
}
