package front

import (
	"net/http"
	"net/http/httputil"
	"net/url"

	"connectrpc.com/vanguard"

	benchv1 "github.com/portico-bff/portico/test/bench/gen/bench/v1"
)

// Vanguard makes vanguard's transcoder in front of a reverse proxy, as its documentation has it for services that run
// elsewhere.
func Vanguard(target string) (http.Handler, func() error, error) {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: target})
		},
		Transport:     transport,
		FlushInterval: -1,
	}
	service := vanguard.NewService(
		benchv1.OrderService_ServiceDesc.ServiceName, proxy,
		vanguard.WithTargetProtocols(vanguard.ProtocolGRPC), vanguard.WithTargetCodecs(vanguard.CodecProto), vanguard.WithNoTargetCompression(),
	)
	h, err := vanguard.NewTranscoder([]*vanguard.Service{service})
	if err != nil {
		return nil, nil, err
	}
	return h, func() error { transport.CloseIdleConnections(); return nil }, nil
}
