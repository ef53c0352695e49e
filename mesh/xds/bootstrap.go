package xds

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/xds/bootstrap"
)

// bootstrapConfig is a bootstrap configuration, of which only the credentials for
// xDS servers are of interest here: gRPC's way to add options to the connections to
// them. Each set of credentials is wrapped into our own, which watch the stream.
//
// gRPC tells the credentials of several servers apart by their type alone, so every
// server gets a type of its own. (As it stands, of two servers with credentials of
// one type, both get the second's.)
type bootstrapConfig struct {
	fields   map[string]json.RawMessage
	sessions *sessions
}

// maxServers is how many servers a bootstrap configuration may have, counting
// those of all authorities once.
const maxServers = 16

func credentialsType(server int) string { return "portico_mesh_" + strconv.Itoa(server) }

func parseBootstrap(text []byte) (*bootstrapConfig, error) {
	c := &bootstrapConfig{}
	if err := json.Unmarshal(text, &c.fields); err != nil {
		return nil, fmt.Errorf("mesh/xds: bootstrap configuration: %w", err)
	}
	ours, ok := bootstrap.GetChannelCredentials(credentialsType(0)).(*watchingCredentials)
	if !ok {
		return nil, errors.New("mesh/xds: somebody else has registered credentials " + credentialsType(0))
	}
	c.sessions = ours.sessions
	if _, err := c.wrap("check"); err != nil {
		return nil, err
	}
	return c, nil
}

// watched returns the configuration with credentials that let the view watch. They are
// made out of the session, which the caller closes once they are.
func (c *bootstrapConfig) watched(v *view) ([]byte, *session, error) {
	s := c.sessions.open(v)
	text, err := c.wrap(s.id)
	if err != nil {
		s.close()
		return nil, nil, err
	}
	return text, s, nil
}

// wrap returns the configuration with credentials of that session.
func (c *bootstrapConfig) wrap(session string) ([]byte, error) {
	types := map[string]string{}
	fields := make(map[string]json.RawMessage, len(c.fields))
	for name, raw := range c.fields {
		var err error
		switch name {
		case "xds_servers":
			raw, err = wrapServers(raw, session, types)
		case "authorities":
			raw, err = wrapAuthorities(raw, session, types)
		}
		if err != nil {
			return nil, fmt.Errorf("mesh/xds: bootstrap configuration: %s: %w", name, err)
		}
		fields[name] = raw
	}
	if len(types) == 0 {
		return nil, errors.New("mesh/xds: bootstrap configuration: xds_servers: want at least one")
	}
	return json.Marshal(fields)
}

func wrapAuthorities(raw json.RawMessage, session string, types map[string]string) (json.RawMessage, error) {
	var authorities map[string]map[string]json.RawMessage
	if err := json.Unmarshal(raw, &authorities); err != nil {
		return nil, err
	}
	for name, authority := range authorities {
		servers, ok := authority["xds_servers"]
		if !ok {
			continue
		}
		wrapped, err := wrapServers(servers, session, types)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		authority["xds_servers"] = wrapped
	}
	return json.Marshal(authorities)
}

func wrapServers(raw json.RawMessage, session string, types map[string]string) (json.RawMessage, error) {
	var servers []map[string]json.RawMessage
	if err := json.Unmarshal(raw, &servers); err != nil {
		return nil, err
	}
	for i, server := range servers {
		original := server["channel_creds"]
		var list []channelCredentials
		if err := json.Unmarshal(original, &list); err != nil {
			return nil, fmt.Errorf("server %d: channel_creds: %w", i, err)
		}
		if err := supported(list); err != nil {
			return nil, fmt.Errorf("server %d: channel_creds: %w", i, err)
		}
		var key bytes.Buffer
		if err := json.Compact(&key, original); err != nil {
			return nil, err
		}
		key.Write(server["server_uri"])
		if _, ok := types[key.String()]; !ok {
			if len(types) == maxServers {
				return nil, fmt.Errorf("more than %d servers", maxServers)
			}
			types[key.String()] = credentialsType(len(types))
		}
		config, err := json.Marshal(watchingConfig{Session: session, Credentials: list})
		if err != nil {
			return nil, err
		}
		if server["channel_creds"], err = json.Marshal([]channelCredentials{{Type: types[key.String()], Config: config}}); err != nil {
			return nil, err
		}
	}
	return json.Marshal(servers)
}

func supported(list []channelCredentials) error {
	for _, c := range list {
		if bootstrap.GetChannelCredentials(c.Type) != nil {
			return nil
		}
	}
	return errors.New("want one of a type that gRPC knows, such as insecure, tls or google_default")
}

// channelCredentials are credentials in the words of the bootstrap configuration.
type channelCredentials struct {
	Type   string          `json:"type"`
	Config json.RawMessage `json:"config,omitempty"`
}

// watchingConfig is the config of our own ones.
type watchingConfig struct {
	Session     string               `json:"session"`
	Credentials []channelCredentials `json:"credentials"`
}

// sessions are those that are open.
type sessions struct {
	next atomic.Uint64
	byID sync.Map // string -> *session
}

// session is a view that waits for its credentials to be made.
type session struct {
	id   string
	view *view
	all  *sessions

	mu    sync.Mutex // guards what follows
	built map[string]credentials.Bundle
	asked bool // gRPC has come for them again, to connect
}

func (all *sessions) open(v *view) *session {
	s := &session{id: strconv.FormatUint(all.next.Add(1), 10), view: v, all: all, built: map[string]credentials.Bundle{}}
	all.byID.Store(s.id, s)
	return s
}

func (s *session) close() { s.all.byID.Delete(s.id) }

// used says whether gRPC has taken the configuration.
func (s *session) used() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// gRPC keeps these in a map that may be written only while the program initialises.
//
//nolint:gochecknoinits // see above
func init() {
	all := &sessions{}
	for i := range maxServers {
		bootstrap.RegisterChannelCredentials(&watchingCredentials{name: credentialsType(i), sessions: all})
	}
}

// watchingCredentials are other credentials, and an interceptor for the view of their
// session.
type watchingCredentials struct {
	name     string
	sessions *sessions
}

var _ bootstrap.ChannelCredentials = (*watchingCredentials)(nil)

// Name is their type in bootstrap configurations.
func (w *watchingCredentials) Name() string { return w.name }

// Build makes the first of the wrapped ones that gRPC knows. gRPC asks twice for each
// server and forgets to release the second, so that one is the first again.
func (w *watchingCredentials) Build(raw json.RawMessage) (credentials.Bundle, func(), error) {
	var config watchingConfig
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, nil, fmt.Errorf("mesh/xds: credentials: %w", err)
	}
	found, ok := w.sessions.byID.Load(config.Session)
	if !ok {
		return nil, nil, errors.New("mesh/xds: credentials of type " + w.name + " are not for bootstrap files")
	}
	s, _ := found.(*session)
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.built[w.name]; ok {
		s.asked = true
		return known, func() {}, nil
	}
	for _, c := range config.Credentials {
		wrapped := bootstrap.GetChannelCredentials(c.Type)
		if wrapped == nil {
			continue
		}
		inner, release, err := wrapped.Build(c.Config)
		if err != nil {
			return nil, nil, err
		}
		options := []grpc.DialOption{grpc.WithChainStreamInterceptor(s.view.intercept)}
		if more, ok := inner.(interface{ DialOptions() []grpc.DialOption }); ok {
			options = append(options, more.DialOptions()...)
		}
		s.built[w.name] = &bundle{Bundle: inner, options: options}
		return s.built[w.name], release, nil
	}
	return nil, nil, errors.New("mesh/xds: no credentials that gRPC knows")
}

// bundle is credentials with options for the connection that they are for.
type bundle struct {
	credentials.Bundle
	options []grpc.DialOption
}

// DialOptions is what gRPC asks bundles of xDS servers for.
func (b *bundle) DialOptions() []grpc.DialOption { return b.options }
