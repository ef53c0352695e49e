package xds

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// filters notes optional HTTP filters that gRPC's client does not have. (It refuses
// listeners with others.)
func (l *looking) filters(listener *listenerv3.Listener) {
	var manager hcmv3.HttpConnectionManager
	if err := listener.GetApiListener().GetApiListener().UnmarshalTo(&manager); err != nil {
		return
	}
	for _, filter := range manager.GetHttpFilters() {
		switch t := filter.GetTypedConfig().GetTypeUrl(); t {
		case typePrefix + "envoy.extensions.filters.http.router.v3.Router",
			typePrefix + "envoy.extensions.filters.http.fault.v3.HTTPFault":
		default:
			if filter.GetIsOptional() {
				l.add("api_listener.api_listener.http_filters[] "+filter.GetName(), t, "gRPC's client does not have this filter, and goes without it")
			}
		}
	}
}
