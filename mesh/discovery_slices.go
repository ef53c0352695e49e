package mesh

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// sliceWatch follows the EndpointSlices of one service.
type sliceWatch struct {
	*kubernetes

	service, namespace, port string
	update                   func([]Endpoint, error)
	known                    map[string]slice // by name
}

// once lists and then watches until the server ends it. It says whether the list
// was good.
func (w *sliceWatch) once(ctx context.Context) (listed bool, err error) {
	client, err := w.client()
	if err != nil {
		return false, err
	}
	defer client.CloseIdleConnections()
	version, err := w.list(ctx, client)
	if err != nil {
		return false, err
	}
	w.tell()
	return true, w.follow(ctx, client, version)
}

// client trusts the CA file as it is now.
func (w *sliceWatch) client() (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if strings.HasPrefix(w.options.Server, "https:") {
		text, err := os.ReadFile(w.options.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the API server's CA: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("reading the API server's CA: no certificate in %s", w.options.CAFile)
		}
	}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   config,
		ForceAttemptHTTP2: true,
		// A watch may be silent for long; a server that has gone without a word must not be.
		HTTP2: &http.HTTP2Config{SendPingTimeout: clientKeepaliveTime, PingTimeout: keepaliveTimeout},
	}}, nil
}

// get asks for the service's slices; the caller closes the body.
func (w *sliceWatch) get(ctx context.Context, client *http.Client, query url.Values) (io.ReadCloser, error) {
	namespace := w.namespace
	if namespace == "" {
		namespace = w.options.Namespace
	}
	if namespace == "" {
		text, err := os.ReadFile(w.options.NamespaceFile)
		if err != nil {
			return nil, fmt.Errorf("reading the pod's namespace: %w", err)
		}
		namespace = strings.TrimSpace(string(text))
	}
	token, err := os.ReadFile(w.options.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("reading the pod's token: %w", err)
	}
	query.Set("labelSelector", "kubernetes.io/service-name="+w.service)
	address := w.options.Server + "/apis/discovery.k8s.io/v1/namespaces/" + url.PathEscape(namespace) + "/endpointslices?" + query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("asking the API server: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the API server: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("asking the API server for endpointslices of %s in %s: %s", w.service, namespace, resp.Status)
	}
	return resp.Body, nil
}

// list takes all slices as they are, and returns the version from which to watch.
func (w *sliceWatch) list(ctx context.Context, client *http.Client) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, kubernetesListTimeout)
	defer cancel()
	body, err := w.get(ctx, client, url.Values{})
	if err != nil {
		return "", err
	}
	defer func() { _ = body.Close() }()
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Items []slice `json:"items"`
	}
	if err := json.NewDecoder(io.LimitReader(body, kubernetesListBytes)).Decode(&list); err != nil {
		return "", fmt.Errorf("reading the list of endpointslices: %w", err)
	}
	w.known = make(map[string]slice, len(list.Items))
	for _, s := range list.Items {
		w.known[s.Metadata.Name] = s
	}
	return list.Metadata.ResourceVersion, nil
}

// follow takes up changes until the server ends the watch, which is no error.
func (w *sliceWatch) follow(ctx context.Context, client *http.Client, version string) error {
	ctx, cancel := context.WithTimeout(ctx, kubernetesWatch+kubernetesListTimeout)
	defer cancel()
	body, err := w.get(ctx, client, url.Values{
		"watch": {"1"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {version},
		"timeoutSeconds": {strconv.Itoa(int(kubernetesWatch.Seconds()))},
	})
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	decoder := json.NewDecoder(body)
	for {
		var event struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		switch err := decoder.Decode(&event); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("watching endpointslices: %w", err)
		}
		if event.Type == "ERROR" {
			// Mostly 410: the version is too old. Listing anew is right in any case.
			return fmt.Errorf("watching endpointslices: the API server ends the watch: %.200s", event.Object)
		}
		var s slice
		if err := json.Unmarshal(event.Object, &s); err != nil {
			return fmt.Errorf("watching endpointslices: %w", err)
		}
		switch event.Type { // a BOOKMARK only shows that the watch is alive
		case "ADDED", "MODIFIED":
			w.known[s.Metadata.Name] = s
			w.tell()
		case "DELETED":
			delete(w.known, s.Metadata.Name)
			w.tell()
		}
	}
}

// tell hands on the endpoints that are ready, in one order for all.
func (w *sliceWatch) tell() {
	byAddress := map[string]Endpoint{}
	family := w.family()
	for _, s := range w.known {
		if s.AddressType != family || len(s.Endpoints) == 0 {
			continue
		}
		port, err := s.port(w.port)
		if err != nil {
			w.update(nil, fmt.Errorf("service %s: %w", w.service, err))
			return
		}
		for _, e := range s.Endpoints {
			if e.Conditions.Ready != nil && !*e.Conditions.Ready || len(e.Addresses) == 0 {
				continue
			}
			zone := e.Zone
			if w.options.Region != "" {
				zone = w.options.Region + "/" + zone
			}
			// All addresses of an endpoint mean the same place; clients use the first.
			address := net.JoinHostPort(e.Addresses[0], strconv.Itoa(port))
			byAddress[address] = Endpoint{Address: address, Zone: zone, Labels: s.Metadata.Labels}
		}
	}
	endpoints := make([]Endpoint, 0, len(byAddress))
	for _, address := range slices.Sorted(maps.Keys(byAddress)) {
		endpoints = append(endpoints, byAddress[address])
	}
	w.update(endpoints, nil)
}

// family is the kind of addresses to use: with two stacks, every pod is listed twice.
func (w *sliceWatch) family() string {
	for _, s := range w.known {
		if s.AddressType == "IPv4" && len(s.Endpoints) > 0 {
			return "IPv4"
		}
	}
	return "IPv6"
}

// port returns the port with that name or number, or the only one.
func (s *slice) port(want string) (int, error) {
	for _, p := range s.Ports {
		if want != "" && (p.Name == want || strconv.Itoa(p.Port) == want) || want == "" && len(s.Ports) == 1 {
			return p.Port, nil
		}
	}
	if want == "" {
		return 0, fmt.Errorf("it has %d ports; name one", len(s.Ports))
	}
	return 0, fmt.Errorf("it has no port %q", want)
}
