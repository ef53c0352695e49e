// Package xds makes clients and servers of the mesh that an xDS server configures: a
// control plane built on go-control-plane, Google's, Istio's, or another that speaks to
// proxyless gRPC. It is a package of its own because of its weight (below); package mesh
// does not need it.
//
//	plane, err := xds.New(xds.Options{})          // GRPC_XDS_BOOTSTRAP says where it is
//	conn, err := plane.NewClient(m, "xds:///orders")
//
// The connection is a client of the mesh like any other. The policy's Destination,
// Route and Egress for "orders" hold, its identities pin the servers, and
// [mesh.Mesh.Stats] has its endpoints.
//
// # Who does what
//
// gRPC's own resolver and balancers speak xDS: listeners, routes, weighted clusters,
// priorities, localities. Above them are the mesh's interceptors, and below them its
// balancer, one for each locality of each cluster, with one record of every endpoint:
//
//	mesh: egress, deadline, fault, mirror, budgeted retries, hedges, breakers, pools
//	  gRPC: route (path, headers, fraction) -> weighted clusters, xDS fault filter
//	    gRPC: outlier_detection, max_requests, drops, priorities, locality weights
//	      mesh: which endpoint (loadBalancer, warmup, ejection, subsets, weights)
//	        TLS: the control plane's certificate providers, or the mesh's mTLS
//
// A cluster that asks for no balancer in particular gets the mesh's: lb_policy
// ROUND_ROBIN, which is what an empty field means, or LEAST_REQUEST. A control plane may
// also ask for it by name, in load_balancing_policy, with a TypedStruct (xds.type.v3 or
// udpa.type.v1) of type_url "type.googleapis.com/portico_mesh": inside a WrrLocality, where
// localities have their weights; or without it, where one balancer sees all endpoints
// of a priority and prefers those of the process's zone ([mesh.Options].Zone) as it
// does elsewhere. Another load_balancing_policy, or RING_HASH, is the control plane's to
// choose: then gRPC picks, and the mesh neither ejects nor warms up. [ControlPlane.Ignored]
// tells.
//
// Retries are made in one place, by the mesh, as its policy says: four attempts are
// four. What a control plane says of retries is not looked at. Each attempt is routed
// anew, so that a retry may reach another of several weighted clusters, and the xDS
// fault filter and max_stream_duration count for each attempt.
//
// The mesh knows an endpoint by its address, whichever clusters have it: it has one
// record, and maxEjectionPercent is of all endpoints of the client. maxConnections is for
// each locality of each cluster. After a reload of the policy, it and localityLbSetting
// hold from the control plane's next update on; all else does at once.
//
// Without its control plane a client goes on with what it has been told last, for as
// long as it takes.
//
// # What is honoured
//
//	listener, routes   path, prefix, regex, headers, fraction, weighted clusters,
//	                   max_stream_duration, hash_policy for RING_HASH, cluster specifiers;
//	                   filters: router, fault                      gRFC A27 A28 A31 A33 A42
//	cluster            EDS, LOGICAL_DNS, aggregate; max_requests; outlier_detection by
//	                   success rate and failure percentage; LRS  gRFC A32 A37 A50 A52 A85
//	endpoints          weights of endpoints and localities, priorities, health, drops,
//	                   locality (a zone here), metadata "envoy.lb" (labels here)
//	transport_socket   certificate_provider_instance and its roots, SAN matchers   gRFC A29
//	not at all         mirroring, timeout and per_try_timeout, retry_policy, hedging,
//	                   max_connections, max_pending_requests, retry budgets,
//	                   consecutive_5xx and _gateway_failure, slow start, panic threshold,
//	                   overprovisioning, active health checks, SDS, local rate limits,
//	                   adaptive concurrency, other filters
//
// gRPC ignores what it does not support without a word. Here [ControlPlane.Ignored] and
// [mesh.Mesh.Explain] list each field that is set in vain, by a list of those that are
// honoured: a field that is newer than this package is told, too. Most have their
// counterpart in the mesh's policy, which is named with them. Features of gRPC that wait
// behind an experimental environment variable count as ignored.
//
// # Security
//
// Where a cluster has a transport_socket with certificate providers of the bootstrap
// configuration, these make the TLS connection; elsewhere the mesh's identity does. In
// either case the server must be one of the Destination's identities (or of
// [mesh.ExpectIdentity]), and Egress is asked before anything is dialled: a control plane
// can send calls anywhere, but nobody there can answer who is not pinned. So the
// certificates must be SPIFFE's. A connection by the control plane's certificates closes
// at the end of the server's, not of the client's, which gRPC keeps to itself.
//
// # The bootstrap configuration
//
// gRPC takes it from the environment once, while the program initialises, or as bytes
// through functions whose names end in ForTesting. This package reads the same
// environment variables when [New] is called, and uses the functions: a program can then
// have more than one control plane, set the variables itself, or do without them. The
// price is that gRPC's own CSDS service does not see these clients, and that
// every client has a stream of its own to the server (gRPC would share it among those
// of the same target). Istio's agent takes one stream at a time; such programs need
// istiod's own address.
//
// To see what a server sends, the package puts its own channel credentials around those
// of the configuration: gRPC asks credentials for options of the connection, and for
// nothing else. These parts of gRPC are experimental; the tests here fail if they
// change.
//
// # Servers
//
// [ControlPlane.NewServer] makes a server that serves once its listener has come, with
// the listener's routes and RBAC before the mesh's authorization: both must allow a
// call. It keeps the mesh's mTLS; a listener's own transport_socket is ignored.
// [Server.Drain] ends it.
//
// # What it weighs
//
// This package links 553 packages ("go list -deps"); package mesh 383, and gRPC's own
// package xds 495.
package xds
