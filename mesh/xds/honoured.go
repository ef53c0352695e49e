package xds

import "strings"

// honoured lists the fields that gRPC acts on, by the message of the resource: what is
// set besides is ignored without a word. A name stands for all below it, unless more
// names with it as their beginning follow. The sources are gRFCs A27 to A113 and
// what grpc-go 1.85 decodes; a field that only acts while an experimental environment
// variable is set is not here.
const honoured = `
envoy.config.listener.v3.Listener
	name
	api_listener.api_listener.stat_prefix
	api_listener.api_listener.rds.route_config_name
	api_listener.api_listener.rds.config_source.ads
	api_listener.api_listener.rds.config_source.self
	api_listener.api_listener.rds.config_source.resource_api_version
	api_listener.api_listener.route_config = envoy.config.route.v3.RouteConfiguration
	api_listener.api_listener.common_http_protocol_options.max_stream_duration
	api_listener.api_listener.http_filters.name
	api_listener.api_listener.http_filters.typed_config
	api_listener.api_listener.http_filters.is_optional
	address.socket_address.address
	address.socket_address.port_value
	filter_chains.name
	filter_chains.filter_chain_match
	filter_chains.filters
	default_filter_chain.name
	default_filter_chain.filters
envoy.config.route.v3.RouteConfiguration
	name
	cluster_specifier_plugins
	virtual_hosts.name
	virtual_hosts.domains
	virtual_hosts.typed_per_filter_config
	virtual_hosts.routes.name
	virtual_hosts.routes.match.prefix
	virtual_hosts.routes.match.path
	virtual_hosts.routes.match.safe_regex.regex
	virtual_hosts.routes.match.case_sensitive
	virtual_hosts.routes.match.headers
	virtual_hosts.routes.match.runtime_fraction.default_value
	virtual_hosts.routes.typed_per_filter_config
	virtual_hosts.routes.non_forwarding_action
	virtual_hosts.routes.route.cluster
	virtual_hosts.routes.route.weighted_clusters.clusters.name
	virtual_hosts.routes.route.weighted_clusters.clusters.weight
	virtual_hosts.routes.route.weighted_clusters.clusters.typed_per_filter_config
	virtual_hosts.routes.route.weighted_clusters.total_weight
	virtual_hosts.routes.route.cluster_specifier_plugin
	virtual_hosts.routes.route.hash_policy.header
	virtual_hosts.routes.route.hash_policy.filter_state
	virtual_hosts.routes.route.hash_policy.terminal
	virtual_hosts.routes.route.max_stream_duration.max_stream_duration
	virtual_hosts.routes.route.max_stream_duration.grpc_timeout_header_max
envoy.config.cluster.v3.Cluster
	name
	type
	cluster_type
	eds_cluster_config.service_name
	eds_cluster_config.eds_config.ads
	eds_cluster_config.eds_config.self
	eds_cluster_config.eds_config.resource_api_version
	load_assignment
	lb_policy
	load_balancing_policy
	ring_hash_lb_config
	lrs_server
	lrs_report_endpoint_metrics
	metadata.filter_metadata
	circuit_breakers.thresholds.priority
	circuit_breakers.thresholds.max_requests
	outlier_detection.interval
	outlier_detection.base_ejection_time
	outlier_detection.max_ejection_time
	outlier_detection.max_ejection_percent
	outlier_detection.enforcing_success_rate
	outlier_detection.success_rate_minimum_hosts
	outlier_detection.success_rate_request_volume
	outlier_detection.success_rate_stdev_factor
	outlier_detection.failure_percentage_threshold
	outlier_detection.enforcing_failure_percentage
	outlier_detection.failure_percentage_minimum_hosts
	outlier_detection.failure_percentage_request_volume
	transport_socket.name
	transport_socket.typed_config.common_tls_context.tls_certificate_provider_instance
	transport_socket.typed_config.common_tls_context.tls_certificate_certificate_provider_instance
	transport_socket.typed_config.common_tls_context.validation_context_certificate_provider_instance
	transport_socket.typed_config.common_tls_context.combined_validation_context.validation_context_certificate_provider_instance
	transport_socket.typed_config.common_tls_context.combined_validation_context.default_validation_context.ca_certificate_provider_instance
	transport_socket.typed_config.common_tls_context.combined_validation_context.default_validation_context.match_subject_alt_names
	transport_socket.typed_config.common_tls_context.validation_context.ca_certificate_provider_instance
	transport_socket.typed_config.common_tls_context.validation_context.match_subject_alt_names
envoy.config.endpoint.v3.ClusterLoadAssignment
	cluster_name
	policy.drop_overloads
	endpoints.locality
	endpoints.load_balancing_weight
	endpoints.priority
	endpoints.lb_endpoints.endpoint.address.socket_address.address
	endpoints.lb_endpoints.endpoint.address.socket_address.port_value
	endpoints.lb_endpoints.endpoint.additional_addresses
	endpoints.lb_endpoints.endpoint.hostname
	endpoints.lb_endpoints.health_status
	endpoints.lb_endpoints.load_balancing_weight
	endpoints.lb_endpoints.metadata.filter_metadata
`

// instead says what to use for some fields that are ignored, by the end of their path.
const instead = `
match.query_parameters = the whole route is left out
routes.redirect = calls that match fail
routes.direct_response = calls that match fail
retry_policy = retries are the mesh's: the Route's retries
retry_policy_typed_config = retries are the mesh's: the Route's retries
hedge_policy = the Route's hedging
request_mirror_policies = the Route's mirror, where both are endpoints of one target
route.timeout = max_stream_duration, or the Route's timeout
idle_timeout = the Route's timeout
thresholds.max_connections = the Destination's connectionPool.tcp.maxConnections
thresholds.max_pending_requests = the Destination's connectionPool.http.http1MaxPendingRequests
thresholds.max_retries = the Destination's retryBudget
thresholds.retry_budget = the Destination's retryBudget
max_requests_per_connection = the Destination's connectionPool.http.maxRequestsPerConnection
outlier_detection.consecutive_5xx = the Destination's outlierDetection.consecutive5xxErrors
outlier_detection.consecutive_gateway_failure = the Destination's outlierDetection.consecutiveGatewayErrors
policy.overprovisioning_factor = zones spill over by Envoy's factor of 1.4
common_lb_config = localities are always weighted; a panic threshold is the Destination's outlierDetection.minHealthPercent
round_robin_lb_config = slow start is the Destination's loadBalancer.warmup
least_request_lb_config = the Destination's loadBalancer
filter_chains.transport_socket = the server keeps the mesh's mTLS
default_filter_chain.transport_socket = the server keeps the mesh's mTLS
sni = servers are known by their SPIFFE ids
`

// node is a part of the table: nil below what is honoured whole.
type node map[string]node

// honouredFields reads the table.
func honouredFields() map[string]node {
	all := map[string]node{}
	var current node
	type link struct {
		in         node
		name, root string
	}
	var links []link
	for line := range strings.SplitSeq(strings.TrimSpace(honoured), "\n") {
		path, indented := strings.CutPrefix(line, "\t")
		if !indented {
			current = node{}
			all[line] = current
			continue
		}
		path, root, linked := strings.Cut(path, " = ")
		at := current
		names := strings.Split(path, ".")
		for _, name := range names[:len(names)-1] {
			if at[name] == nil {
				at[name] = node{}
			}
			at = at[name]
		}
		last := names[len(names)-1]
		at[last] = nil
		if linked {
			links = append(links, link{in: at, name: last, root: root})
		}
	}
	for _, l := range links {
		l.in[l.name] = all[l.root]
	}
	return all
}

// hint returns what to use for a field that is ignored, "" if nothing comes to mind.
func hint(path string) string {
	path = strings.ReplaceAll(path, "[]", "")
	for line := range strings.SplitSeq(strings.TrimSpace(instead), "\n") {
		end, use, _ := strings.Cut(line, " = ")
		if path == end || strings.HasSuffix(path, "."+end) {
			return use
		}
	}
	return ""
}
