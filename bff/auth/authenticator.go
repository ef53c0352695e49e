package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/maypok86/otter/v2"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/fault"
)

// maxVerified bounds how many verified tokens are remembered.
const maxVerified = 20_000

// Options are what an [Authenticator] needs besides its configuration.
type Options struct {
	// HTTP fetches keys; nil is a client that follows no redirects.
	HTTP *http.Client
	// Mesh carries requests to a service of the mesh, such as "dns:///issuer:8443", for issuers with JWKSMesh; nil if there
	// is no mesh.
	Mesh func(target string) http.RoundTripper
	// Logger is told when keys cannot be loaded. It must not be nil.
	Logger *slog.Logger
}

// Authenticator finds out who is calling. It is safe for concurrent use. Close ends the refreshing of keys.
type Authenticator struct {
	anonymous bool
	issuers   map[string]*issuer
	verified  *otter.Cache[[sha256.Size]byte, verified]
	nobody    *Principal
	stop      context.CancelFunc
	wait      sync.WaitGroup
}

// issuer is a trusted issuer and its keys.
type issuer struct {
	JWT
	source *keySource
}

// verified is a token that was found good with the keys.
type verified struct {
	principal *Principal
	issuer    *issuer
	keys      *keySet
}

// New makes an Authenticator and begins to load keys. It does not wait for those of a URI ([Authenticator.Ready]
// tells whether they have come), but a key file must be readable now. ctx bounds nothing but the start. The error
// holds a [mistake.Mistake] for everything that is wrong in config.
func New(ctx context.Context, config Config, o Options) (*Authenticator, error) {
	config.JWT = slices.Clone(config.JWT)
	for i := range config.JWT {
		config.JWT[i] = config.JWT[i].withDefaults()
	}
	if err := config.validate(); err != nil {
		return nil, err
	}
	if o.HTTP == nil {
		// Every few minutes, so that no connection is kept.
		o.HTTP = newClient(&http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableKeepAlives: true})
	}
	memory, err := otter.New(&otter.Options[[sha256.Size]byte, verified]{MaximumSize: maxVerified})
	if err != nil {
		return nil, fmt.Errorf("making room for verified tokens: %w", err)
	}
	a := &Authenticator{
		anonymous: config.Anonymous,
		issuers:   make(map[string]*issuer, len(config.JWT)),
		verified:  memory,
		nobody:    &Principal{Kind: Anonymous},
	}
	var wrong []error
	for i, c := range config.JWT {
		load := fromFile(c.JWKSFile)
		if c.JWKSURI != "" {
			warnPlain(ctx, o.Logger, c.JWKSURI)
			client, err := o.client(&c)
			if err != nil {
				wrong = append(wrong, mistake.In(err, "jwt", strconv.Itoa(i)))
				continue
			}
			load = fromURI(client, c.JWKSURI)
		}
		source := newKeySource(c.Issuer, load, o.Logger)
		if c.JWKSFile != "" {
			if _, err := source.fetch(ctx); err != nil {
				m := mistake.At("the key set cannot be used: "+err.Error(), "jwt", strconv.Itoa(i), "jwks_file")
				m.Err = err
				wrong = append(wrong, m)
			}
		}
		a.issuers[c.Issuer] = &issuer{JWT: c, source: source}
	}
	if err := errors.Join(wrong...); err != nil {
		memory.StopAllGoroutines()
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	a.stop = stop
	for _, i := range a.issuers {
		a.wait.Go(func() { i.source.run(run) })
	}
	return a, nil
}

// client returns what fetches an issuer's keys.
func (o *Options) client(c *JWT) (*http.Client, error) {
	if !c.JWKSMesh {
		return o.HTTP, nil
	}
	if o.Mesh == nil {
		return nil, mistake.At("needs an identity of our own: add a section mesh", "jwks_mesh")
	}
	u, err := url.Parse(c.JWKSURI)
	if err != nil {
		return nil, err
	}
	return newClient(o.Mesh("dns:///" + net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")))), nil
}

// newClient makes a client that fetches keys from where config says, so that no redirect is followed.
func newClient(t http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Close ends the refreshing of keys and waits for it. Calling it again does nothing.
func (a *Authenticator) Close() {
	a.stop()
	a.wait.Wait()
	a.verified.StopAllGoroutines()
}

// Ready returns why tokens of some issuer cannot be judged yet; nil once the keys of all have come.
func (a *Authenticator) Ready() error {
	var all []error
	for _, i := range a.issuers {
		all = append(all, i.source.ready())
	}
	return errors.Join(all...)
}

// Authenticate finds out who shows the credentials. The error is a [*fault.Error]: Unauthenticated for credentials
// that are bad, or missing where anonymous clients are not admitted; Unavailable while they cannot be judged because
// the issuer's keys have not come yet.
func (a *Authenticator) Authenticate(ctx context.Context, c Credentials) (*Principal, error) {
	switch {
	case c.Bearer != "":
		return a.bearer(ctx, c.Bearer)
	case c.APIKey != "":
		return nil, fault.New(codes.Unauthenticated, "API keys are not accepted here")
	case a.anonymous:
		return a.nobody, nil
	default:
		return nil, fault.New(codes.Unauthenticated, "authentication is required")
	}
}

func (a *Authenticator) bearer(ctx context.Context, text string) (*Principal, error) {
	if len(text) > maxToken {
		return nil, refuse(errTooLong)
	}
	var small [1 << 10]byte // most tokens fit, and need no copy on the heap
	digest := sha256.Sum256(append(small[:0], text...))
	if v, ok := a.verified.GetIfPresent(digest); ok {
		if v.issuer.source.keys.Load() == v.keys && time.Now().Before(v.principal.Expires.Add(Leeway)) {
			return v.principal, nil
		}
		a.verified.Invalidate(digest)
	}
	t, err := parseToken(text)
	if err != nil {
		return nil, refuse(err)
	}
	i, ok := a.issuers[t.issuer]
	if !ok {
		return nil, refuse(fmt.Errorf("its issuer %q is not trusted", t.issuer))
	}
	p, keys, err := i.verify(ctx, text, t)
	if err != nil {
		if f, ok := errors.AsType[*fault.Error](err); ok {
			return nil, f
		}
		return nil, refuse(err)
	}
	a.verified.Set(digest, verified{principal: p, issuer: i, keys: keys})
	return p, nil
}

// verify checks a token's signature and claims.
func (i *issuer) verify(ctx context.Context, text string, t token) (*Principal, *keySet, error) {
	if !slices.Contains(i.Algorithms, t.algorithm) {
		return nil, nil, fmt.Errorf("its algorithm %q is not accepted", t.algorithm)
	}
	alg, ok := algorithmOf(t.algorithm)
	if !ok {
		return nil, nil, fmt.Errorf("its algorithm %q is not known", t.algorithm)
	}
	keys := i.source.keys.Load()
	if keys != nil && t.keyID != "" && !keys.has(t.keyID) {
		i.source.refreshed(ctx)
		keys = i.source.keys.Load()
	}
	if keys == nil {
		return nil, nil, fault.New(codes.Unavailable, "tokens cannot be checked yet, please try again",
			fault.WithRetryAfter(retryAfterKey), fault.WithCause(i.source.ready()))
	}
	key, ok := keys.find(t.keyID, t.algorithm, alg)
	if !ok {
		return nil, nil, fmt.Errorf("no key of its issuer has its kid %q and fits %s", t.keyID, t.algorithm)
	}
	payload, err := jws.Verify([]byte(text), jws.WithKey(alg.jwa, key))
	if err != nil {
		return nil, nil, fmt.Errorf("its signature is wrong: %w", err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		return nil, nil, fmt.Errorf("reading its claims: %w", err)
	}
	p, err := i.checkClaims(claims, time.Now())
	return p, keys, err
}

// refuse is the error for a bad token. A client learns that it has expired, and nothing else.
func refuse(cause error) *fault.Error {
	public := "the token is not accepted"
	if errors.Is(cause, errExpired) {
		public = "the token has expired"
	}
	return fault.Wrap(codes.Unauthenticated, public, fmt.Errorf("bad token: %w", cause))
}

// warnPlain warns of keys that come over the network without TLS: who can change them can forge tokens.
func warnPlain(ctx context.Context, logger *slog.Logger, uri string) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "https" {
		return
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || (ip != nil && ip.IsLoopback()) {
		return
	}
	logger.WarnContext(ctx, "signing keys are fetched without TLS", "jwks_uri", uri)
}
