package schema_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/upstream"
	"github.com/portico-bff/portico/upstream/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// library loads testdata/library.binpb, which
// "buf build schema/testdata --as-file-descriptor-set --exclude-source-info -o schema/testdata/library.binpb" makes.
func library(tb testing.TB) *upstream.Descriptors {
	tb.Helper()
	d, err := upstream.Load([]upstream.DescriptorSource{{Set: "testdata/library.binpb"}})
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func compileSchema(tb testing.TB, sdl string, o schema.Options) *schema.Schema {
	tb.Helper()
	s, err := schema.New([]schema.Source{{Name: "test.graphqls", Text: []byte(sdl)}}, library(tb), o)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func compile(tb testing.TB, s *schema.Schema, query string) *schema.Operation {
	tb.Helper()
	doc, errs := s.Parse("query.graphql", query)
	if len(errs) > 0 {
		tb.Fatalf("%s\n%v", query, errs)
	}
	op, err := s.Compile(doc, doc.Operations[0])
	if err != nil {
		tb.Fatalf("%s\n%v", query, err)
	}
	return op
}

// fake is a Caller whose methods take and give JSON, and that counts.
type fake struct {
	tb       testing.TB
	handlers map[string]handler

	mu    sync.Mutex
	calls []string
}

// handler answers a request given as compact protobuf JSON.
type handler func(ctx context.Context, req map[string]any) (string, error)

func newFake(tb testing.TB, handlers map[string]handler) *fake {
	tb.Helper()
	return &fake{tb: tb, handlers: handlers}
}

func (f *fake) Invoke(ctx context.Context, m *upstream.Method, req []byte) (upstream.Reply, error) {
	in := dynamicpb.NewMessage(m.Input)
	if err := proto.Unmarshal(req, in); err != nil {
		f.tb.Errorf("request of %s: %v", m.Name, err)
	}
	c, err := wire.NewCanonicalizer(m.Input, wire.ParseOptions{})
	if err != nil {
		f.tb.Error(err)
	}
	canonical, err := c.Append(nil, req)
	if err != nil || string(canonical) != string(req) {
		f.tb.Errorf("request of %s is not canonical: %x, want %x (%v)", m.Name, req, canonical, err)
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(in)
	if err != nil {
		f.tb.Errorf("request of %s: %v", m.Name, err)
	}
	var values map[string]any
	if err := json.Unmarshal(text, &values); err != nil {
		f.tb.Errorf("request of %s: %v", m.Name, err)
	}
	compact, _ := json.Marshal(values) //nolint:errchkjson // it was JSON a moment ago
	_, name, _ := strings.Cut(m.Name, "/")
	f.mu.Lock()
	f.calls = append(f.calls, name+" "+string(compact))
	f.mu.Unlock()
	h := f.handlers[name]
	if h == nil {
		return upstream.Reply{}, status.Errorf(codes.Unimplemented, "no handler for %s", name)
	}
	answer, err := h(ctx, values)
	if err != nil {
		return upstream.Reply{}, err
	}
	return upstream.Reply{Message: encode(f.tb, m, answer)}, nil
}

// encode turns JSON into a method's answer.
func encode(tb testing.TB, m *upstream.Method, answer string) []byte {
	tb.Helper()
	out := dynamicpb.NewMessage(m.Output)
	if err := protojson.Unmarshal([]byte(answer), out); err != nil {
		tb.Errorf("answer of %s: %v", m.Name, err)
	}
	msg, err := proto.Marshal(out)
	if err != nil {
		tb.Error(err)
	}
	return msg
}

func (f *fake) Open(ctx context.Context, m *upstream.Method) (upstream.Stream, error) {
	_, name, _ := strings.Cut(m.Name, "/")
	return &fakeStream{fake: f, ctx: ctx, method: m, name: name}, nil
}

// fakeStream streams the answers that its method's handler separates by newlines. A handler's error ends it.
type fakeStream struct {
	fake   *fake
	ctx    context.Context //nolint:containedctx // as grpc's streams do
	method *upstream.Method
	name   string
	events []string
	err    error
}

func (s *fakeStream) Send(msg []byte) error {
	in := dynamicpb.NewMessage(s.method.Input)
	if err := proto.Unmarshal(msg, in); err != nil {
		return err
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(in)
	if err != nil {
		return err
	}
	var values map[string]any
	if err := json.Unmarshal(text, &values); err != nil {
		return err
	}
	answer, err := s.fake.handlers[s.name](s.ctx, values)
	if answer != "" {
		s.events = strings.Split(answer, "\n")
	}
	s.err = err
	return nil
}

func (s *fakeStream) CloseSend() error { return nil }

func (s *fakeStream) Recv() ([]byte, error) {
	if len(s.events) > 0 {
		next := s.events[0]
		s.events = s.events[1:]
		if next == "wait" {
			<-s.ctx.Done()
			return nil, status.FromContextError(s.ctx.Err()).Err()
		}
		return encode(s.fake.tb, s.method, next), nil
	}
	if s.err != nil {
		return nil, s.err
	}
	return nil, io.EOF
}

func (s *fakeStream) Header() (metadata.MD, error) { return nil, nil }
func (s *fakeStream) Trailer() metadata.MD         { return nil }

// sorted returns the calls so far in alphabetic order.
func (f *fake) sorted() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(slices.Values(f.calls))
}

// answer is a handler that always answers the same.
func answer(text string) handler {
	return func(context.Context, map[string]any) (string, error) { return text, nil }
}

// refuse is a handler that always fails.
func refuse(code codes.Code, text string) handler {
	return func(context.Context, map[string]any) (string, error) { return "", status.Error(code, text) }
}

// rows is a handler of a batch method: a row for each key that make gives one for, in reverse order.
func rows(into, results string, row func(key string) string) handler {
	return func(_ context.Context, req map[string]any) (string, error) {
		keys, _ := req[into].([]any)
		var out []string
		for _, key := range slices.Backward(keys) {
			if r := row(fmt.Sprint(key)); r != "" {
				out = append(out, r)
			}
		}
		return `{"` + results + `": [` + strings.Join(out, ",") + `]}`, nil
	}
}

// authors answers BatchGetAuthors for every key but those that begin with "no".
func authors() handler {
	return rows("author_ids", "authors", func(key string) string {
		if strings.HasPrefix(key, "no") {
			return ""
		}
		return `{"author_id": "` + key + `", "name": "Name of ` + key + `", "agent_id": "agent-` + key + `"}`
	})
}

// execute runs a query and renders the response in one text: data, then errors one a line.
func execute(tb testing.TB, op *schema.Operation, caller upstream.Caller, vars map[string]any) string {
	tb.Helper()
	return show(tb, op.Execute(tb.Context(), caller, vars))
}

func show(tb testing.TB, r *schema.Response) string {
	tb.Helper()
	if r.Data != nil && !json.Valid(r.Data) {
		tb.Fatalf("data is no JSON: %s", r.Data)
	}
	lines := []string{string(r.Data)}
	for _, e := range r.Errors {
		lines = append(lines, showError(e))
	}
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n")
}

func showError(e *schema.Error) string {
	line := e.Path.String() + ": " + e.Message
	if len(e.Locations) > 0 {
		line += fmt.Sprintf(" (%d:%d)", e.Locations[0].Line, e.Locations[0].Column)
	}
	if e.Cause != nil && status.Code(e.Cause) != codes.Unknown {
		line += " [" + status.Code(e.Cause).String() + "]"
	}
	return line
}

func statusError(c codes.Code) error { return status.Error(c, "refused by the test") }
