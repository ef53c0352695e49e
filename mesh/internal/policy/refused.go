package policy

// instead says why the mesh does not honour a word that people bring from Istio, and
// what does its work; "" if nothing is to be said. What a file means to say is then
// refused by name, and never ignored.
func instead(what, word string) string {
	for _, words := range []map[string]string{documentWords(), routeWords(), destinationWords(), callerWords()} {
		if reason, ok := words[what+" "+word]; ok {
			return reason
		}
		if reason, ok := words[word]; ok {
			return reason
		}
	}
	return ""
}

// documentWords are of documents as a whole. Words stand alone, or after where they
// are found.
func documentWords() map[string]string {
	const flat = "documents are flat: a kind and its words"
	return map[string]string{
		"apiVersion": flat, "metadata": flat, "spec": flat,
		"selector":                 "workloads are known by their identities: name them in principals",
		"workloadSelector":         "workloads are known by their identities: name them in principals",
		"targetRef":                "workloads are known by their identities",
		"targetRefs":               "workloads are known by their identities",
		"exportTo":                 "a file holds for who reads it",
		"gateways":                 "there are no gateways",
		"kind VirtualService":      `it is called "Route" here`,
		"kind HTTPRoute":           `it is called "Route" here`,
		"kind GRPCRoute":           `it is called "Route" here`,
		"kind DestinationRule":     `it is called "Destination" here`,
		"kind AuthorizationPolicy": `it is called "Authorization" here`,
		"kind ServiceEntry":        `a Destination with tls mode "SIMPLE" names a server outside of the mesh, and Egress lets it be called`,
		"kind Sidecar":             "there are none; Egress says where workloads may call",
		"kind EnvoyFilter":         "there is no Envoy",
	}
}

func routeWords() map[string]string {
	const gateway = "requests leave as the caller wrote them: that is a gateway's work"
	return map[string]string{
		"rewrite": gateway, "redirect": gateway, "directResponse": gateway, "delegate": gateway, "corsPolicy": gateway,
		"http headers":           "metadata is the caller's",
		"tcp":                    "the mesh knows no TCP",
		"tls":                    "the mesh knows no TCP",
		"mirrors":                `one "mirror" is what there is`,
		"mirrorPercent":          `it is "mirrorPercentage: {value: 10}"`,
		"mirror_percent":         `it is "mirrorPercentage: {value: 10}"`,
		"perTryIdleTimeout":      `"perTryTimeout" bounds an attempt`,
		"uri regex":              "methods are matched exactly or by prefix, which cannot surprise",
		"queryParams":            "match the path (uri) and headers",
		"withoutHeaders":         "entries are tried in order: put one that has the header before",
		"ignoreUriCase":          "methods have a case",
		"sourceLabels":           "a caller is known by its identity, and each process has its own routes",
		"sourceNamespace":        "a caller is known by its identity, and each process has its own routes",
		"abort httpStatus":       `it is "grpcStatus" for HTTP, too`,
		"abort http2Error":       `"grpcStatus" ends a call`,
		"delay exponentialDelay": `"fixedDelay" is what there is`,
		"percent":                `it is "percentage: {value: 10}"`,
		"retries numRetries":     `it is "attempts"`,
	}
}

func destinationWords() map[string]string {
	const (
		idle     = "connections that nobody uses are closed as they are: HTTP's after 90s, gRPC's after 30m; keepalive finds dead ones"
		protocol = "TLS tells which protocol a server speaks (ALPN), and gRPC is HTTP/2"
		own      = "the mesh shows its own identity, or with SIMPLE none"
		local    = "lost connections and silence count as gateway errors"
	)
	return map[string]string{ //nolint:gosec // words for credentials, and none
		"maglev":                         `"ringHash" is what there is: it, too, moves no requests but those of endpoints that come or go`,
		"useSourceIp":                    "callers have no address here: hash a header",
		"httpCookie":                     "hash a header",
		"httpQueryParameterName":         "hash a header",
		"consistentHash minimumRingSize": `it belongs in "ringHash"`,
		"distribute":                     "the nearest zone has all calls, as far as its endpoints are in use",
		"failoverPriority":               "zones are region/zone, and failover is by region",
		"warmupDurationSecs":             `it is "warmup: {duration: 30s}"`,
		"simple PASSTHROUGH":             "endpoints are found, and one is chosen",
		"simple LEAST_CONN":              `it is "LEAST_REQUEST"`,
		"idleTimeout":                    idle,
		"tcpKeepalive":                   "HTTP/2 pings find dead peers within 40s",
		"http2KeepAlive":                 "HTTP/2 pings find dead peers within 40s",
		"maxConnectionDuration":          "connections end with their certificates, and servers set an age (Options.MaxConnectionAge)",
		"maxRetries":                     `"retryBudget" bounds retries by a share of the requests, and not by their number at a time`,
		"h2UpgradePolicy":                protocol, "useClientProtocol": protocol,
		"portLevelSettings":              "a Destination may have a host with its port",
		"tunnel":                         "there are no proxies between",
		"proxyProtocol":                  "there are no proxies between",
		"splitExternalLocalOriginErrors": local, "consecutiveLocalOriginFailures": local,
		"consecutiveErrors":              `it is "consecutiveGatewayErrors" or "consecutive5xxErrors"`,
		"outlierDetectionHttpErrorCodes": "which answers count is fixed: codes that speak of the request never do",
		"clientCertificate":              own, "privateKey": own, "credentialName": own, "mode MUTUAL": own,
		"subjectAltNames":       `the name is the host's, or "sni"`,
		"insecureSkipVerify":    "a server that nobody vouches for is nobody",
		"caCrl":                 "certificates live for minutes or hours, and are not revoked",
		"mode DISABLE":          "the mesh sends nothing in the clear, and takes it (PERMISSIVE) only beside TLS",
		"mode UNSET":            "without a document it is STRICT",
		"mode AUTO_PASSTHROUGH": "there are no gateways",
	}
}

func callerWords() map[string]string {
	const address = "callers are known by their identities, and addresses prove nothing"
	return map[string]string{
		"ipBlocks": address, "notIpBlocks": address, "remoteIpBlocks": address, "notRemoteIpBlocks": address,
		"namespaces":           `name identities: "spiffe://shop.test/ns/payments/*"`,
		"notNamespaces":        `name identities: "spiffe://shop.test/ns/payments/*"`,
		"serviceAccounts":      `name identities: "spiffe://shop.test/ns/payments/sa/orders"`,
		"requestPrincipals":    "the mesh reads no tokens: they are the service's to judge",
		"notRequestPrincipals": "the mesh reads no tokens: they are the service's to judge",
		"operation hosts":      "a rule is of the server that reads it",
		"operation ports":      "a rule is of the server that reads it",
		"operation methods":    "gRPC has no methods but paths: /package.Service/Method",
		"provider":             "the mesh asks nobody: rules decide",
		"action CUSTOM":        "the mesh asks nobody: rules decide",
		"action AUDIT":         `every denial is an event; "dryRun" shows what rules would do`,
	}
}
