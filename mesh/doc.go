// Package mesh gives a gRPC service what a sidecar proxy would give it, in its own
// process: mutual TLS with SPIFFE identities that rotate, authorization by caller
// and method, balancing with ejection of failing endpoints, deadlines, and retries
// that a budget bounds. It works with plain gRPC peers; there is no control plane
// to run, and nothing to install beside the program.
//
// # Joining
//
// A process joins the mesh once, with an identity and a policy, and makes its
// servers and clients from that:
//
//	identity, err := mesh.WorkloadAPI(ctx, "unix:///run/spire/agent.sock")
//	m, err := mesh.New(ctx, mesh.Options{Identity: identity, PolicyFile: "mesh.yaml"})
//
//	server := m.NewServer()
//	ordersv1.RegisterOrderServiceServer(server, orders)
//	err = server.Serve(listener)
//
//	conn, err := m.NewClient("dns:///payments:7000")
//	payments := paymentsv1.NewPaymentServiceClient(conn)
//
// Close in this order: clients, servers ([Server.Drain]), the [Mesh], the
// [Identity].
//
// # Identity
//
// A workload is a SPIFFE id, spiffe://{trust domain}/{path}, in an X.509
// certificate that lives for minutes or hours. It comes from
//
//   - the SPIFFE Workload API, that is SPIRE's agent ([WorkloadAPI]);
//   - files that something else renews, such as cert-manager, csi-driver-spiffe or
//     a Kubernetes secret ([FileIdentity]);
//   - a certificate authority for development and tests ([DevCA]), in process,
//     over the Workload API or as files, so that the program under test is the
//     program that runs.
//
// Workloads of other trust domains are believed who they are if the identity has their
// domain's authorities: federated bundles of the Workload API, or files
// ([FileOptions].ForeignDir). Such authorities vouch for their own domain alone. What
// a foreign workload may do, and whether it may be called, the policy says like of any
// other; a principal "*" is all of them.
//
// The identity is asked at every handshake. Nothing restarts when it is renewed,
// and nothing of it is ever logged or put into an error.
//
// # Transport
//
// All connections use TLS 1.3 with certificates on both sides, but for those that the
// policy names (PeerAuthentication, and tls mode SIMPLE, below). A client knows whom it expects: the identities of the policy's
// Destination, or of [ExpectIdentity]. That a server's certificate belongs to the
// trust domain is never enough, so one service cannot pose as another.
//
// TLS looks at certificates during the handshake and never again; a connection
// would outlive them. Here it does not:
//
//   - Servers ask clients to reconnect (GOAWAY) at about a third of the
//     certificate's life, which loses no call. Since certificates are renewed at
//     half their life, a new connection always starts with enough of it left.
//   - A call on a connection whose certificate has ended is refused, and the
//     connection is closed at that moment by both sides.
//   - A stream may run until its certificate's end. Then it ends UNAVAILABLE, with
//     a google.rpc.ErrorInfo of reason "rotated" and domain "mesh"; [Stats].Rotated
//     counts these apart from errors. A handler learns it from its context a
//     moment before; one that sits in Recv is cut off with the connection, and the
//     mesh client says the same in its stead.
//
// When an authority or a foreign bundle is gone, or the policy pins another server, the
// connections that could not be made any more are closed within about a second, with what
// is on them ([Stats].Revoked, [ConnectionRevoked]); all others stay.
//
// Handlers ask [Peer] who calls. The connection's AuthInfo is gRPC's own
// credentials.TLSInfo, so other libraries find what they look for.
//
// # The policy file
//
// A policy is a YAML file of documents, in Istio's words where Istio has one. One
// file may serve a whole system: a document about somebody else does no harm.
// Reading is strict. An unknown key, a word that the mesh does not honour, a wrong
// type: each is refused with its file, line and column, all in one error.
//
// The file named in [Options].PolicyFile is read again when its contents change.
// New rules hold from the next call on, over the same connections. A bad change is
// reported ([PolicyRefused]) and the last good policy stays.
//
// Who may call what:
//
//	kind: Authorization
//	name: orders-callers
//	action: ALLOW                       # or DENY
//	dryRun: false                       # true decides nothing, and tells where it would
//	rules:
//	- from:
//	  - source: {principals: [spiffe://shop.test/portico]}    # or spiffe://shop.test/ns/*, or "*"
//	  to:
//	  - operation: {paths: [/shop.orders.v1.OrderService/*]}  # a method, a prefix*, or "*"
//	  when:
//	  - {key: "request.headers[x-env]", values: [prod, "canary-*"]}
//
// A rule matches when its from, its to and all of its when match; a list matches
// when one entry does; notPrincipals, notPaths and notValues exclude. A DENY rule
// that matches denies, then an ALLOW rule that matches allows, and what no rule
// allows is denied. (Istio allows everything until the first policy. The mesh does
// not.) The rules hold for unary calls and streams alike, and for the health and
// reflection services, which need rules of their own. The check takes about 100 ns
// and does not allocate. An entry of values may also be {regex: "v[0-9]+"}, for the
// whole value. [Options].Audit hears of decisions.
//
// How a service is reached:
//
//	kind: Destination
//	host: orders:7000                   # or orders, or a whole target
//	identities: [spiffe://shop.test/orders]
//	trafficPolicy:
//	  loadBalancer:
//	    simple: ROUND_ROBIN             # or LEAST_REQUEST, RANDOM, PEAK_EWMA; or instead
//	#   consistentHash: {httpHeaderName: x-user, ringHash: {minimumRingSize: 1024}}
//	    localityLbSetting: {enabled: true, failover: [{from: north, to: south}]}   # none
//	    warmup: {duration: 30s, minimumPercent: 10, aggression: 1}                 # off if absent
//	  connectionPool:                   # no bounds if absent
//	    tcp: {maxConnections: 100, connectTimeout: 10s}   # the number to all endpoints together
//	    http:
//	      http2MaxRequests: 1000        # attempts and streams at a time, to all endpoints
//	      http1MaxPendingRequests: 1024 # that wait for that
//	      maxConcurrentStreams: 100     # at a time, to one endpoint
//	      maxRequestsPerConnection: 10  # then there is a new connection
//	  outlierDetection:
//	    consecutiveGatewayErrors: 5     # in a row; 0 never ejects
//	    consecutive5xxErrors: 0
//	    interval: 10s                   # of successRateEjection
//	    successRateEjection: {stdevFactor: 1900, minimumHosts: 5, requestVolume: 100}   # gRFC A50's; off if absent
//	    baseEjectionTime: 30s           # the n-th ejection lasts n times as long
//	    maxEjectionTime: 300s
//	    maxEjectionPercent: 50
//	    minHealthPercent: 0
//	  retryBudget: {retryRatio: 0.2, minRetriesPerSecond: 10, ttl: 10s}   # Linkerd's words
//	  tls: {mode: ISTIO_MUTUAL}         # or SIMPLE: see HTTP
//	subsets:                            # by the labels that a Discovery tells
//	- {name: v1, labels: {version: v1}}
//	- {name: v2, labels: {version: v2}}
//
// How calls to it are made; the first entry that matches counts:
//
//	kind: Route
//	hosts: [orders]
//	http:
//	- name: reads
//	  match:
//	  - uri: {prefix: /shop.orders.v1.OrderService/Get}       # or exact
//	    headers: {x-env: {exact: canary}}                     # or prefix, regex, {} for any
//	  timeout: 2s                                             # and at most the caller's
//	  timeoutMargin: 10ms                                     # less than the caller's; none
//	  minRemainingTime: 20ms                                  # for a call to be made; none
//	  retries: {attempts: 3, perTryTimeout: 500ms, retryOn: unavailable, backoff: 25ms}
//	- timeout: 10s
//	  route:                                                  # any endpoint, if absent
//	  - {destination: {host: orders, subset: v1}, weight: 90} # in proportion
//	  - {destination: {host: orders, subset: v2}, weight: 10}
//	  splitBy: {httpHeaderName: x-user}                       # by chance, if absent
//
// All attempts of a call go to one subset. With splitBy the value of the header
// decides, in every process alike, and who has the growing one of two versions keeps
// it; calls without the header go by chance. A subset without endpoints fails its
// calls; it is not made up for by others.
//
// A breaker stops the calls and streams of an entry, whichever endpoint they go to:
//
//	circuitBreaker:
//	  consecutive5xxErrors: 5           # in a row, of calls with all their retries; 0 never opens it
//	  consecutiveGatewayErrors: 0
//	  baseEjectionTime: 30s             # the n-th opening in a row lasts n times as long
//	  maxEjectionTime: 300s
//	  maxRequests: 100                  # calls and streams at a time; no bound, if absent
//	  maxPendingRequests: 0             # that wait for that
//
// Once open, calls end UNAVAILABLE without being sent, and are not retried; after its
// time one goes out as a probe, whose success closes it. Each client has its own;
// [Stats].Breakers shows them. The entry's name, or else its place, is what a breaker is
// known by when the policy changes.
//
// For trials, an entry may hold calls up or end them before they are sent (a part
// may be left out; without a percentage it is all calls of the entry, whose match
// chooses them by header), and may send copies to a subset:
//
//	fault:
//	  delay: {fixedDelay: 2s, percentage: {value: 10}}
//	  abort: {grpcStatus: UNAVAILABLE, percentage: {value: 5}}
//	mirror: {host: orders, subset: v2}
//	mirrorPercentage: {value: 10}
//
// A fault is a call's, not an attempt's: what it ends is not retried, and its delay
// counts against the timeout. A copy is a unary call with x-mesh-mirror: true in its
// metadata, which the service may look at before it writes anything. The mesh
// forgets it once sent: it has a deadline of its own (the entry's timeout, or 15 s),
// is not retried, and no endpoint is ejected over it; of a hundred under way at a
// time in one client, further ones are dropped and counted. Copied are requests that
// are a proto.Message or bytes, with a reply that can be hedged (below).
//
// The values shown are the defaults, but for timeout and perTryTimeout (none) and
// attempts (2). "attempts" are retries, as in Istio: three of them make
// four attempts. Istio's conditions mean, in gRPC codes:
//
//	unavailable, gateway-error, connect-failure, refused-stream   UNAVAILABLE
//	5xx                  UNKNOWN, INTERNAL, UNAVAILABLE, DATA_LOSS (never UNIMPLEMENTED)
//	cancelled, deadline-exceeded, internal, resource-exhausted    that code
//
// Where a workload may call:
//
//	kind: Egress
//	name: portico
//	principals: [spiffe://shop.test/portico]    # every workload, if absent
//	hosts:
//	- {host: orders, ports: [7000]}             # a Destination's host; any port, if absent
//	- {host: payments, sniHosts: [payments.shop]}   # what TLS may ask for; anything, if absent
//
// Once a policy has an Egress, clients may call nothing that none names for them.
// Other calls end PERMISSION_DENIED before anything is dialled, and the error has the
// entry to add. Without an Egress clients may call anything whose identity is pinned.
//
// How often a server may be called:
//
//	kind: RateLimit
//	name: callers
//	rules:                              # from and to as above; every call, if absent
//	- to: [{operation: {paths: [/shop.orders.v1.OrderService/*]}}]
//	  tokenBucket: {maxTokens: 100, tokensPerFill: 50, fillInterval: 1s}   # Envoy's words
//
// Each caller has a bucket of its own for each method, by the first rule of the
// document that matches; of several documents all must have a token. A call without
// one ends RESOURCE_EXHAUSTED, and grpc-retry-pushback-ms says when there will be one.
// Buckets are each process's own, and last over reloads. They are ten thousand at
// most: when more callers are under way, the newest of a rule share one.
//
// How much a server takes on:
//
//	kind: Overload
//	name: orders
//	criticalityFrom: [spiffe://shop.test/portico]   # nobody, if absent
//	rules:                              # from and to as above; every call, if absent
//	- to: [{operation: {paths: [/shop.orders.v1.OrderService/*]}}]
//	  gradientControllerConfig:         # Envoy's words; {} has these values
//	    sampleAggregatePercentile: {value: 50}
//	    concurrencyLimitParams: {maxConcurrencyLimit: 1000, concurrencyUpdateInterval: 100ms}
//	    minRttCalcParams: {interval: 60s, requestCount: 50, minConcurrency: 3, jitter: {value: 15}, buffer: {value: 25}}
//	  maxPendingRequests: 100           # as many as run, if absent
//	  maxPendingDuration: 1s
//	  minRemainingTime: 5ms             # none, if absent
//
// All calls that a rule is the first to match, of all callers, share a limit on how
// many run at a time. The server finds it by itself: where calls take longer than they
// do when it has little to do, the limit is cut. Calls beyond it wait, the most
// critical first, and of equals the callers with the fewest; further ones end
// RESOURCE_EXHAUSTED at once, and grpc-retry-pushback-ms says when to come again.
// Three times the load that a server can bear leaves it doing what it can, and the
// slowest of the calls that it takes on last some five times as long as otherwise. Unlike Envoy, which lets
// minConcurrency calls in and refuses the rest to see what a call takes otherwise, the
// mesh halves the limit for a moment while calls wait.
//
// [WithCriticality] says how critical calls are, and goes on from server to server. More than
// [Critical] is believed of the callers in criticalityFrom. Retries and hedges (which
// the mesh marks with gRFC A6's grpc-previous-rpc-attempts) count for a step less, and
// copies for [Sheddable]. Streams wait like calls, and then take up no place. Health
// checks are never refused. Calls with less than minRemainingTime left when they come
// or when it is their turn end DEADLINE_EXCEEDED without being begun. What a server
// has learned lasts over reloads. [Stats].Overloads shows it.
//
// Servers that take callers without TLS beside those of the mesh, while those move over:
//
//	kind: PeerAuthentication
//	principals: [spiffe://shop.test/orders]     # the servers, each by its whole name
//	mtls: {mode: PERMISSIVE}                    # or STRICT, which all others are
//	portLevelMtls: {7001: {mode: STRICT}}       # where a port differs
//
// Such a caller is nobody: [Peer] is false, no rule with a from allows it, and every DENY
// rule with a from denies it, since it may be whom the rule means. It counts as one
// caller for rate limits. Its calls and connections are counted and told
// ([Stats].Plaintext, [PlaintextAccepted]), and [Policy.Explain] says so of the server.
// Who connects has five seconds to say the first byte, which tells the two apart. When
// the mode is STRICT again, calls on plaintext connections are refused. Istio's DISABLE,
// no TLS at all, is not to be had.
//
// # Calls
//
// A unary call ends with its route's timeout or its own deadline, whichever is
// earlier; with neither, after 15 s. What is left of a deadline goes along with the
// call, and so from service to service. A route's timeoutMargin ends it so much earlier
// than the caller's deadline, which leaves the caller time to do something about it;
// with minRemainingTime a call or stream that has less left is not even made, and ends
// DEADLINE_EXCEEDED ([Stats].TooLate). A failed attempt is made again if
//
//   - its code is one of the route's (or it ran into perTryTimeout),
//   - the method is idempotent: by idempotency_level in its linked descriptor, or
//     as [Options].Idempotent says,
//   - attempts are left, and the deadline is,
//   - the server did not ask for none (grpc-retry-pushback-ms), and
//   - the budget of the destination has one left: retries are a fifth of the calls
//     of the last ten seconds, plus a reserve for quiet services. When everything
//     fails, the load grows by that fifth and no more.
//
// It goes to another endpoint if there is one, after a jittered backoff that
// doubles. A route's
//
//	hedging: {maxAttempts: 2, hedgingDelay: 50ms}             # gRFC A6's words
//
// makes another attempt beside one that takes longer than the delay, of idempotent
// methods and out of the same budget; the first answer counts and the rest is
// cancelled. With hedgingPercentile: {value: 95} the delay is what 95 in a hundred of the
// entry's calls have taken of late, so that five are hedged, whatever the service's pace;
// hedgingDelay is for the first hundred calls of a client. The attempts have replies of their own, so the reply must be a
// proto.Message or a [HedgedReply]; other calls are not hedged.
//
// gRPC's own retries are off, except for calls that a server has surely
// not seen. Streams are balanced and judged like calls, and have no default timeout.
// One that fails is opened again, on the same conditions, as long as its caller has
// seen nothing of it: neither a header nor a message has come. What was sent is sent
// again; of that 256 KiB are kept (grpc.MaxRetryRPCBufferSize changes it), and who sends
// more is committed to the attempt, as gRFC A6 says. perTryTimeout is for the header.
//
// # Endpoints
//
// A target's endpoints are all addresses of a DNS name, looked up every few seconds
// (gRPC's own resolver asks again only when a connection is lost, and so misses
// what is added), those of its SRV records, a fixed list, or what a [Discovery] says:
// [FileDiscovery], [KubernetesDiscovery], or one's own. A Discovery tells zones and
// labels, too. Empty and failing answers take nothing away. (Package mesh/xds has
// endpoints and routes from an xDS server.)
//
// Endpoints are chosen among those that are connected. ROUND_ROBIN takes them in turn
// and RANDOM by chance. LEAST_REQUEST draws two and takes the less busy one, PEAK_EWMA
// (Linkerd's way) the one that is cheaper by what it has taken to answer lately, by
// how often it has failed, and by how busy it is: a slow endpoint gets a small share,
// and one that fails fast does not look like the fastest. consistentHash sends calls
// with the same value of a header to the same endpoint, as long as it is in use.
//
// If [Options].Zone says where the process is, the endpoints of its zone have its
// calls; when less than 1/1.4 of them are in use (Envoy's factor) other zones of the
// region take the rest, then the region of failover, then all others. Retries and
// hedges avoid endpoints, not zones; a route's retries: {retryRemoteLocalities: true}
// sends them to other zones. consistentHash looks at no zones.
//
// A new endpoint, one that comes back, and one that is connected again get their full
// share after warmup's duration. Below minHealthPercent endpoints in use, ejections and
// zones are disregarded: those that are left could not bear the load.
//
// An attempt beyond http2MaxRequests waits, in order, until its deadline; one beyond
// http1MaxPendingRequests, or for which each endpoint has maxConcurrentStreams, fails
// UNAVAILABLE at once and is not tried again ([Stats].Overflows). With maxConnections,
// a client connects to so many endpoints, one of every set of labels, then the nearest,
// otherwise by chance, and keeps to them; there is one connection to each. One that has had
// maxRequestsPerConnection is replaced without losing a call: the next is made first.
//
// An endpoint that fails with UNAVAILABLE (or does not answer within a limit that the
// mesh has set, the route's timeout or perTryTimeout) five times in a row gets no
// calls for a while, then one to prove itself; consecutive5xxErrors counts UNKNOWN,
// INTERNAL and DATA_LOSS too, and successRateEjection compares endpoints with each
// other. Codes that speak of the request (NOT_FOUND, say) never count, nor does
// DEADLINE_EXCEEDED where the caller's own deadline is the earlier one, or where the
// server says so while there is time left. The last endpoint
// in use is never ejected, and an endpoint keeps its record while its address
// stays, whatever else is resolved anew.
//
// # HTTP
//
// [Mesh.Transport] is to net/http what [Mesh.NewClient] is to gRPC: HTTP/1.1 and HTTP/2
// with the same endpoints, identities, routes (uri matches the path), deadlines,
// budgets, hedges and bounds. What is different for HTTP:
//
//   - 502, 503, 504 and lost connections are gateway errors; 5xx are the rest too, but
//     for 501, and 500 is "internal"; 429 is "resource-exhausted".
//   - Methods that RFC 9110 calls idempotent are tried again, and requests with an
//     Idempotency-Key, if the body can be had again (GetBody). When no connection could
//     be made, any request is.
//   - Retry-After is waited for if the deadline allows it, and a 429 that has it is
//     tried again. When no attempts are left the last answer is the answer.
//   - Endpoints are judged by the header of an answer. The body streams; perTryTimeout
//     ends with the header, and the timeout (or the 15 s) with the body.
//   - HTTP/1.1 has a connection for each request at a time: maxConnections is shared
//     out among the endpoints, and requests wait for one. With either protocol,
//     connections are left for new ones as servers of the mesh would ask for, and when
//     they have had at most maxRequestsPerConnection.
//   - An endpoint that no connection could be made to is asked last for a moment.
//   - The mesh counts requests like calls and passes W3C trace context on, but makes no
//     spans of them, and gRPC's own metrics are of gRPC.
//
// A server outside of the mesh (an identity provider, say) has no SPIFFE id. Its
// Destination says so and has no identities; its certificate must be for its name, and
// it is not shown ours:
//
//	kind: Destination
//	host: login.shop.test
//	trafficPolicy:
//	  tls: {mode: SIMPLE, caCertificates: /etc/ssl/shop.pem}   # the system's if absent; sni for another name
//
// # Servers
//
// [Mesh.NewServer] has the standard health service, bounds on messages (4 MiB),
// headers, streams and handshakes, and keepalive. A panic in a handler becomes
// INTERNAL for the caller, and an event with the stack for the owner.
// [Server.Drain] ends it without losing calls.
//
// # Seeing
//
// The mesh does not log. [Options].OnEvent hears what it does on its own,
// [Mesh.Stats] has the counts and the endpoints, for whatever metrics are in use.
// With a TracerProvider there is a span for every attempt of gRPC and every call served;
// W3C trace context goes from caller to callee in any case.
//
// With a MeterProvider there are OpenTelemetry metrics: gRPC's own of calls and attempts
// at both ends (gRFC A66: grpc.client.call.duration, grpc.client.attempt.started,
// grpc.server.call.duration and so on), gRFC A96's but for transparent retries, which are
// gRPC's own and among the attempts, and the mesh's:
//
//	grpc.client.call.retries             histogram  grpc.method, grpc.target; calls with none are not in it
//	grpc.client.call.hedges              histogram  the same
//	grpc.client.call.retry_delay         histogram  the same, in seconds
//	mesh.client.retry_budget             gauge      grpc.target: retries and hedges that are left
//	mesh.client.retries_refused          counter    for which nothing was left
//	mesh.client.endpoints                gauge      grpc.target, mesh.state: ready, ejected or connecting
//	mesh.client.ejections                counter
//	mesh.client.overflows                counter    attempts that a bound of the policy did not let out
//	mesh.client.breaker.open             gauge      grpc.target, mesh.entry: 1 unless it is closed
//	mesh.client.breaker.opens            counter
//	mesh.client.breaker.refused          counter    calls not let out
//	mesh.client.egress_denied            counter
//	mesh.client.faults                   counter
//	mesh.client.mirrors                  counter    copies of calls that were sent
//	mesh.client.mirrors_dropped          counter    those that were not
//	mesh.server.allowed                  counter    decisions
//	mesh.server.denied                   counter    the same
//	mesh.server.dry_run_differs          counter
//	mesh.server.limited                  counter    by a RateLimit
//	mesh.server.shed                     counter    by an Overload
//	mesh.server.concurrency.limit        gauge      mesh.overload, mesh.rule: calls at a time
//	mesh.server.concurrency.running      gauge      the same
//	mesh.server.concurrency.waiting      gauge      the same
//	mesh.server.concurrency.base         gauge      the same, what a call takes with little to do, in seconds
//	mesh.server.expired                  counter
//	mesh.server.plaintext                counter    calls without TLS, allowed or not
//	mesh.server.panics                   counter
//	mesh.connections.revoked             counter    closed, as their peers were trusted no more
//	mesh.too_late                        counter    calls with too little time left, at both ends
//	mesh.streams_rotated                 counter
//	mesh.certificate.expiry              gauge      seconds until the process's own certificate ends
//	mesh.policy.info                     gauge      mesh.policy.version, the beginning of the file's hash: 1
//	mesh.policy.loads                    counter    changes that were taken up
//	mesh.policy.errors                   counter    those that were refused
//	mesh.discovery.errors                counter
//
// gRPC's own take some seventy allocations a call, at both ends together, and can be left
// out ([Options].NoCallMetrics); the others are read when somebody asks (BenchmarkCall).
//
// No attribute comes from outside: grpc.method is "other" unless a server has the method,
// or a client calls it with grpc.StaticMethod, as generated code does.
//
// [Policy.Explain] says, without making a call, which rule would allow or deny it,
// and which destination and route entry it would meet; [Mesh.Explain] adds the endpoints
// with their zones and warm-up, and what an xDS server has sent in vain.
//
// [Mesh.Handler] gives counts and endpoints as JSON.
//
// # Other languages
//
// A gRPC peer in any language is of the mesh if it has the files of an identity
// ([FileOptions] has their names; cert-manager and csi-driver-spiffe write them, and
// [DevCA.WriteFiles] in development) and does what follows. test/interop/grpcjs does it
// in 90 lines of JavaScript, with grpc-js and nothing else, and is tested both ways.
//
//   - It shows tls.crt with tls.key, as server and as client, and trusts ca.crt alone,
//     with TLS 1.3. (grpc-js: one FileWatcherCertificateProvider for both.)
//   - It reads the files again while it runs: they change at half a certificate's life.
//   - As a client it checks that the one URI in the server's certificate is the SPIFFE id
//     that it expects, in place of a name (checkServerIdentity), and lets GOAWAY move it
//     to a new connection.
//   - As a server it requires a client's certificate, decides by the URI in it who may
//     call what, and ends connections before certificates end: a greatest age of a third
//     of a certificate's life (grpc.max_connection_age_ms).
//
// # What it costs
//
// Everything here is "make bench" on two cores of a server, beside bare gRPC with the
// same transport security in the same run; its results are in test/bench/results. All
// policies are on: route, deadline, retries and their budget, PEAK_EWMA, outlier
// detection, bounds; at the server authorization, a rate limit and an adaptive one.
//
// A call costs a client 2 to 3 microseconds of computing time beyond gRPC's 10 to 12 with
// 64 calls under way, and 3 beyond 61 with one. Where a route has a timeout, its deadline
// is a large part of that: bare gRPC that is given one pays 1 to 2 and 2 for it. The
// mesh's own layers take 0.9 microseconds and 6 allocations at the client, a third of one
// microsecond and no allocation at the server (BenchmarkLayers), a decision of who may
// call what 0.1 microseconds and none. One
// interceptor and one picker do it all. Calls and their contexts are one object, with
// one queue of timeouts in place of a timer for each; counters and the budget wait for
// no lock. A TracerProvider or a MeterProvider costs extra: either makes some seventy
// allocations a call at both ends together, where gRPC itself makes 150 (BenchmarkCall).
//
// The smallest client with its identity in files and its policy in another takes 25 MB
// of memory where one of bare gRPC takes 21, is a stripped program of 15.3 MB where
// that is one of 11.6, and links 386 packages where that links 313 ("make footprint").
// Beyond gRPC and protobuf the package needs go-spiffe, goccy/go-yaml and OpenTelemetry's API.
//
// The same of what is published of sidecars, for 1,000 requests a second and for an
// instance (of one process; it is the difference that counts):
//
//	                     computing            latency               memory of an instance
//	Istio, sidecar       0.20 vCPU            1.7 ms p90, 2.7 p99   60 MB (50 to 100)
//	Linkerd              -                    1 to 2 ms p99         10 to 20 MB
//	Cilium, per node     -                    below 1 ms p99        no proxy in an instance
//	this package         below 0.01 vCPU      some microseconds     4 MB, in the process
//
// For 300 instances that is 15 to 30 GB, 3 to 6 GB, about none, and about 1 GB. The
// figures of the others are their projects' own, on other machines and with telemetry;
// a proxy also serves programs in any language, and this package those in Go.
//
// # What was simulated
//
// A thousand clients, two hundred endpoints and three zones in virtual time, with the
// picker, the outlier detection and the budget of this package in each client; the
// plots are in internal/simulation/plots, and drawn by go generate.
//
//   - Clients know what they have seen themselves. With one endpoint in twenty ten
//     times slower, RANDOM and ROUND_ROBIN lose 4.4 % of requests to them. With a
//     thousand clients that make twelve requests a second each, LEAST_REQUEST still
//     loses 3.3 % and PEAK_EWMA 2.0 %; with a hundred clients, ten times as busy each,
//     PEAK_EWMA loses 0.2 %. Fewer connections (maxConnections) teach a client more of
//     each.
//   - A budget ends storms. When everything is four times slower for three seconds,
//     three retries make 4.0 attempts of a request, and keep the service down for as
//     long as the simulation runs after that. With a budget of 20 % it is 1.21 attempts, and all is well again
//     within six seconds.
//   - The reserve is each client's. With minRetriesPerSecond 10 and a thousand clients
//     of 14 requests a second, the storm has 3.8 attempts for a request until the
//     reserves are empty; all is well again a second later than without. Where many
//     clients make few requests each, set it to one, or zero.
//   - Ejection needs its bound. When all endpoints fail for eight seconds, a client
//     ejects all that it may, for half a minute. With maxEjectionPercent 50, the
//     default, nothing is missed when they are back; with 100 each client has its last
//     endpoint alone, some have several clients, and 18 % of requests fail afterwards.
//     minHealthPercent 50 makes good for it.
//   - Chance in the backoff spreads who returns. A thousand clients of a service that
//     was away for 30 s come back in one tenth of a second without it; with gRPC's
//     jitter of 0.2 never more than 30 do, and the last 12 s after the service.
//
// # What it does not do
//
// It is no proxy, has no servers but gRPC's, and knows no TCP. Rules are about callers, methods and
// metadata; what a request contains is the service's own to judge.
package mesh
