// Package web is the GraphQL door: GraphQL over HTTP and, for subscriptions, over WebSocket.
//
// [New] makes a [Door] from a compiled schema. The door adapts the schema to gqlgen's executor, which parses,
// validates and caches documents; planning and execution are package schema's. It answers
//
//   - POST and GET after the GraphQL-over-HTTP specification (media types application/graphql-response+json and
//     application/json), with automatic persisted queries,
//   - WebSocket connections that speak graphql-transport-ws, for subscriptions and all other operations,
//   - GET of browsers with GraphiQL, if configured.
//
// What it does not do: authenticate HTTP requests, limit their size and number, and answer CORS preflights. That is the
// HTTP middleware's part, in front of it. The door finds the principal in the context, and asks the core itself only
// for what arrives later on a WebSocket connection.
//
// The transports are ours because gqlgen's encode every answer a second time; see [appendResponse].
package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/coder/websocket"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/edge/record"
	"github.com/portico-bff/portico/bff/limit"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/upstream"
)

// Core is what the door asks of package core.
type Core interface {
	upstream.Caller
	// Authenticate returns a context with the principal whom the credentials stand for.
	Authenticate(ctx context.Context, cred auth.Credentials) (context.Context, error)
	// Admit counts one operation against the client's limits.
	Admit(ctx context.Context, op core.Operation, weight int) (limit.Result, error)
}

// Options is what a door needs besides its configuration. All fields but Queries and Previous are required.
type Options struct {
	// Schema is what clients can ask for.
	Schema *schema.Schema
	// Core calls methods and knows clients.
	Core Core
	// Logger is told what went wrong and is not the client's fault; what is, at debug level.
	Logger *slog.Logger
	// Queries are the operations that the playground offers.
	Queries []Query
	// Previous is the door that this one may replace; nil if there is none. Its automatic persisted queries are known
	// here, too: they are texts by their hashes. Parsed documents and plans are not: they hold on to their schema.
	Previous *Door
}

// Door serves GraphQL. It is safe for concurrent use.
type Door struct {
	config  Config
	exec    *executor.Executor
	core    Core
	present *presenter
	page    *playground // nil without one

	// persisted are the texts of automatic persisted queries, which doors share that replace one another.
	persisted *memory[string]

	// closing is closed when the door shuts down, for the reason in why.
	closing chan struct{}
	why     *closure
	// writeTimeout is how long a WebSocket client may take to accept one message before its connection is closed.
	writeTimeout time.Duration

	// mu guards what follows.
	mu     sync.Mutex
	closed bool
	open   int // WebSocket connections
	ended  sync.WaitGroup
}

var _ http.Handler = (*Door)(nil)

// New makes the door. The error joins a [mistake.Mistake] for everything that is wrong in config.
func New(config Config, o Options) (*Door, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	present := &presenter{logger: o.Logger}
	executable, err := newExecutable(o.Schema, o.Core, present)
	if err != nil {
		return nil, err
	}
	documents, err := newDocuments()
	if err != nil {
		return nil, err
	}
	var persisted *memory[string]
	if o.Previous != nil {
		persisted = o.Previous.persisted
	} else if persisted, err = newPersisted(); err != nil {
		return nil, err
	}
	exec := executor.New(executable)
	exec.SetQueryCache(documents)
	exec.SetParserTokenLimit(config.Tokens)
	exec.SetErrorPresenter(present.any)
	exec.SetRecoverFunc(present.recovered)
	exec.Use(extension.AutomaticPersistedQuery{Cache: persisted})
	exec.Use(repetition{documents: documents, tokens: config.Tokens})
	if config.Introspection {
		exec.Use(extension.Introspection{})
	} else {
		exec.SetDisableSuggestion(true)
		exec.SetDefaultRulesFn(withoutSuggestions)
	}
	d := &Door{
		config: config, exec: exec, core: o.Core, present: present, persisted: persisted,
		closing: make(chan struct{}), writeTimeout: 10 * time.Second,
	}
	if config.Playground {
		if d.page, err = newPlayground(config.Path, o.Queries); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// withoutSuggestions are the rules that documents are validated by when clients must not learn the schema: their
// messages name nothing that the client has not named. The executor replaces two more itself.
func withoutSuggestions() *rules.Rules {
	set := rules.NewDefaultRules()
	set.ReplaceRule(rules.KnownArgumentNamesRule.Name, rules.KnownArgumentNamesRuleWithoutSuggestions.RuleFunc)
	set.ReplaceRule(rules.KnownTypeNamesRule.Name, rules.KnownTypeNamesRuleWithoutSuggestions.RuleFunc)
	set.ReplaceRule(rules.ValuesOfCorrectTypeRule.Name, rules.ValuesOfCorrectTypeRuleWithoutSuggestions.RuleFunc)
	return set
}

// Path is where the door wants to be mounted; what is below it belongs to the playground.
func (d *Door) Path() string { return d.config.Path }

// errStillOpen is returned by [Door.Close].
var errStillOpen = errors.New("web: WebSocket connections are still open")

// Close ends the WebSocket connections with the code 1001, "going away", and waits for them until ctx ends. New ones are
// refused from now on. Calling it again waits again.
func (d *Door) Close(ctx context.Context) error {
	return d.end(ctx, &closure{websocket.StatusGoingAway, "the server is shutting down"})
}

// Retire is [Door.Close] where another door has taken this one's place. The code is 1012, "service restart": clients are
// to connect again, to the same server.
func (d *Door) Retire(ctx context.Context) error {
	return d.end(ctx, &closure{websocket.StatusServiceRestart, "the configuration has changed; connect again"})
}

func (d *Door) end(ctx context.Context, why *closure) error {
	d.mu.Lock()
	if !d.closed {
		d.closed, d.why = true, why
		close(d.closing)
	}
	d.mu.Unlock()
	done := make(chan struct{})
	go func() {
		d.ended.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.Join(errStillOpen, ctx.Err())
	}
}

// enter counts a new WebSocket connection, unless the door is closed or full.
func (d *Door) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.open >= d.config.Subscriptions.Connections {
		return false
	}
	d.open++
	d.ended.Add(1)
	return true
}

func (d *Door) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open--
	d.ended.Done()
}

// ServeHTTP answers a request at or below the door's path.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	record.FromContext(r.Context()).Route = d.config.Path
	switch {
	case r.URL.Path != d.config.Path:
		d.serveAsset(w, r)
	case request.IsWebSocket(r):
		d.serveSocket(w, r)
	case r.Method == http.MethodPost:
		d.servePost(w, r)
	case isGet(r) && d.page != nil && wantsPage(r):
		d.page.serveIndex(w)
	case isGet(r):
		d.serveGet(w, r)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		refuse(w, r, http.StatusMethodNotAllowed, "expected GET or POST")
	}
}

// serveAsset answers a request below the door's path.
func (d *Door) serveAsset(w http.ResponseWriter, r *http.Request) {
	if d.page == nil || !isGet(r) || !d.page.serveFile(w, r) {
		refuse(w, r, http.StatusNotFound, "there is nothing at this path")
	}
}

func isGet(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}
