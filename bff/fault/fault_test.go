package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/portico-bff/portico/bff/request"
)

const secret = "db-7.internal: password=hunter2"

// TestCodes shows the whole mapping: every gRPC code at every door, when we give it and when a service answers it.
func TestCodes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		code           codes.Code
		name           string
		http           int
		graphQL        string
		connack        byte
		retryable      bool
		upstream       codes.Code // what a client gets if a service answers the code
		upstreamBlame  Blame
		upstreamPublic bool       // whether the service's words reach the client
		composed       codes.Code // the same for a request that we composed
	}{
		{codes.Canceled, "CANCELLED", 499, "CANCELLED", 3, false, codes.Unavailable, Upstream, false, codes.Unavailable},
		{codes.Unknown, "UNKNOWN", 500, "INTERNAL_SERVER_ERROR", 3, false, codes.Unknown, Upstream, false, codes.Unknown},
		{codes.InvalidArgument, "INVALID_ARGUMENT", 400, "BAD_USER_INPUT", 2, false, codes.InvalidArgument, Client, true, codes.Internal},
		{codes.DeadlineExceeded, "DEADLINE_EXCEEDED", 504, "DEADLINE_EXCEEDED", 3, false, codes.DeadlineExceeded, Network, false, codes.DeadlineExceeded},
		{codes.NotFound, "NOT_FOUND", 404, "NOT_FOUND", 3, false, codes.NotFound, Client, true, codes.NotFound},
		{codes.AlreadyExists, "ALREADY_EXISTS", 409, "ALREADY_EXISTS", 3, false, codes.AlreadyExists, Client, true, codes.AlreadyExists},
		{codes.PermissionDenied, "PERMISSION_DENIED", 403, "FORBIDDEN", 5, false, codes.PermissionDenied, Policy, false, codes.PermissionDenied},
		{codes.ResourceExhausted, "RESOURCE_EXHAUSTED", 429, "RATE_LIMITED", 3, true, codes.ResourceExhausted, Client, true, codes.ResourceExhausted},
		{codes.FailedPrecondition, "FAILED_PRECONDITION", 400, "FAILED_PRECONDITION", 3, false, codes.FailedPrecondition, Client, true, codes.FailedPrecondition},
		{codes.Aborted, "ABORTED", 409, "ABORTED", 3, true, codes.Aborted, Client, true, codes.Aborted},
		{codes.OutOfRange, "OUT_OF_RANGE", 400, "BAD_USER_INPUT", 3, false, codes.OutOfRange, Client, true, codes.Internal},
		{codes.Unimplemented, "UNIMPLEMENTED", 501, "UNIMPLEMENTED", 3, false, codes.Unimplemented, Config, false, codes.Unimplemented},
		{codes.Internal, "INTERNAL", 500, "INTERNAL_SERVER_ERROR", 3, false, codes.Internal, Upstream, false, codes.Internal},
		{codes.Unavailable, "UNAVAILABLE", 503, "UNAVAILABLE", 3, true, codes.Unavailable, Network, false, codes.Unavailable},
		{codes.DataLoss, "DATA_LOSS", 500, "INTERNAL_SERVER_ERROR", 3, false, codes.DataLoss, Upstream, false, codes.DataLoss},
		{codes.Unauthenticated, "UNAUTHENTICATED", 401, "UNAUTHENTICATED", 4, false, codes.Internal, Config, false, codes.Internal},
		// Not a code of gRPC's: a service may send any number.
		{codes.Code(99), "UNKNOWN", 500, "INTERNAL_SERVER_ERROR", 3, false, codes.Unknown, Upstream, false, codes.Unknown},
	}
	if len(tests) != 17 { // gRPC has 17, OK among them, which is no error
		t.Fatalf("got %d rows, want 17", len(tests))
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := New(tt.code, "text")
			if got := Name(tt.code); got != tt.name {
				t.Errorf("Name = %s, want %s", got, tt.name)
			}
			if got := e.HTTPStatus(); got != tt.http {
				t.Errorf("HTTPStatus = %d, want %d", got, tt.http)
			}
			message, extensions := e.GraphQL()
			if message != "text" || extensions["code"] != tt.graphQL || extensions["status"] != tt.name {
				t.Errorf("GraphQL = %q %v, want code %s", message, extensions, tt.graphQL)
			}
			if got := e.Connack(); got != tt.connack {
				t.Errorf("Connack = %d, want %d", got, tt.connack)
			}
			if got := e.Retryable(); got != tt.retryable {
				t.Errorf("Retryable = %v, want %v", got, tt.retryable)
			}
			if generic(tt.code) == "" {
				t.Error("no generic text")
			}

			err := fmt.Errorf("calling: %w", status.Error(tt.code, secret))
			up := FromUpstream(err)
			if up.Code != tt.upstream || up.Blame != tt.upstreamBlame {
				t.Errorf("FromUpstream = %s blame %s, want %s blame %s", up.Code, up.Blame, tt.upstream, tt.upstreamBlame)
			}
			if got := up.Public == secret; got != tt.upstreamPublic {
				t.Errorf("the service's words: public %q", up.Public)
			}
			if strings.Contains(up.Public, "calling") || up.Public == "" || !errors.Is(up, err) {
				t.Errorf("public %q, cause %v", up.Public, up.Cause)
			}
			if got := FromComposed(err); got.Code != tt.composed {
				t.Errorf("FromComposed = %s, want %s", got.Code, tt.composed)
			}
		})
	}
}

func TestOKIsNoError(t *testing.T) {
	t.Parallel()
	if e := New(codes.OK, "fine"); e.Code != codes.Internal {
		t.Errorf("New(OK) has code %s", e.Code)
	}
	if From(nil) != nil || FromUpstream(nil) != nil || FromComposed(nil) != nil {
		t.Error("a nil error became one")
	}
	if Name(codes.OK) != "OK" {
		t.Errorf("Name(OK) = %s", Name(codes.OK))
	}
}

func TestFrom(t *testing.T) {
	t.Parallel()
	own := New(codes.NotFound, "no such thing")
	tests := []struct {
		name   string
		err    error
		code   codes.Code
		public string
		blame  Blame
	}{
		{"ours", fmt.Errorf("door: %w", own), codes.NotFound, "no such thing", Client},
		{"cancelled", fmt.Errorf("reading: %w", context.Canceled), codes.Canceled, "the request was cancelled", Client},
		{"deadline", context.DeadlineExceeded, codes.DeadlineExceeded, "the answer did not come in time", Network},
		{"status", status.Error(codes.NotFound, "no order"), codes.NotFound, "no order", Client},
		{"anything", errors.New(secret), codes.Internal, "something went wrong on our side", Config},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := From(tt.err)
			if e.Code != tt.code || e.Public != tt.public || e.Blame != tt.blame {
				t.Errorf("From = %s %q blame %s", e.Code, e.Public, e.Blame)
			}
		})
	}
}

func TestUpstreamDetails(t *testing.T) {
	t.Parallel()
	s := withDetails(t, codes.InvalidArgument, "two fields are wrong",
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: "order.items[0].quantity", Description: "must be positive"},
			{Field: `labels["a.b/c"]`, Description: "is not known"},
		}},
		&errdetails.DebugInfo{Detail: secret},
		&errdetails.ErrorInfo{Reason: "BAD_ORDER", Domain: "shop.test"},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)},
	)
	e := FromUpstream(s.Err())
	want := []Violation{{"/order/items/0/quantity", "must be positive"}, {"/labels/a.b~1c", "is not known"}}
	if diff := cmp.Diff(want, e.Violations); diff != "" {
		t.Error(diff)
	}
	if e.RetryAfter != 1500*time.Millisecond {
		t.Errorf("RetryAfter = %v", e.RetryAfter)
	}
	if strings.Contains(fmt.Sprint(e.GRPCStatus().Proto()), secret) {
		t.Error("DebugInfo reaches clients")
	}
	if len(e.Details) != 1 {
		t.Errorf("details %v, want ErrorInfo alone", e.Details)
	}
	// What a gRPC client of ours sees can be read back.
	again := FromUpstream(e.GRPCStatus().Err())
	if got := again.Violations[0]; again.RetryAfter != e.RetryAfter || got != want[0] {
		t.Errorf("read back: %v %v", again.RetryAfter, got)
	}

	denied := withDetails(t, codes.PermissionDenied, "spiffe://shop.test/portico may not", &errdetails.LocalizedMessage{Message: "Only the owner may."},
		&errdetails.ErrorInfo{Reason: "POLICY", Domain: "mesh"})
	if e := FromUpstream(denied.Err()); e.Public != "Only the owner may." || len(e.Details) != 1 {
		t.Errorf("public %q, details %v", e.Public, e.Details)
	}
}

func withDetails(t *testing.T, code codes.Code, text string, details ...protoadapt.MessageV1) *status.Status {
	t.Helper()
	s, err := status.New(code, text).WithDetails(details...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWriteProblem(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		err    error
		status int
		header map[string]string
		body   string
	}{
		{
			"violations", New(codes.InvalidArgument, `a "quoted" text`, WithViolation("/a/0", "is wrong"), WithCause(errors.New(secret))), 400,
			map[string]string{"Content-Type": "application/problem+json", "Cache-Control": "no-store", "Content-Length": ""},
			`{"type":"about:blank","title":"Bad Request","status":400,"detail":"a \"quoted\" text","instance":"urn:request:r-1",` +
				`"code":"INVALID_ARGUMENT","retryable":false,"errors":[{"pointer":"/a/0","detail":"is wrong"}]}`,
		},
		{
			"limited", New(codes.ResourceExhausted, "slow down", WithRetryAfter(1001*time.Millisecond)), 429,
			map[string]string{"Retry-After": "2"},
			`{"type":"about:blank","title":"Too Many Requests","status":429,"detail":"slow down","instance":"urn:request:r-1",` +
				`"code":"RESOURCE_EXHAUSTED","retryable":true}`,
		},
		{
			"unauthenticated", New(codes.Unauthenticated, ""), 401,
			map[string]string{"WWW-Authenticate": "Bearer"},
			`{"type":"about:blank","title":"Unauthorized","status":401,"detail":"authentication is required","instance":"urn:request:r-1",` +
				`"code":"UNAUTHENTICATED","retryable":false}`,
		},
		{
			"a status of its own", New(codes.InvalidArgument, "too much", WithHTTPStatus(http.StatusRequestEntityTooLarge)), 413, nil,
			`{"type":"about:blank","title":"Request Entity Too Large","status":413,"detail":"too much","instance":"urn:request:r-1",` +
				`"code":"INVALID_ARGUMENT","retryable":false}`,
		},
		{"cancelled", fmt.Errorf("reading: %w", context.Canceled), 499, map[string]string{"Content-Type": ""}, ""},
		{
			"nil", nil, 500, nil,
			`{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"something went wrong on our side",` +
				`"instance":"urn:request:r-1","code":"INTERNAL","retryable":false}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx := request.NewContext(t.Context(), &request.Info{ID: "r-1"})
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody)
			w := httptest.NewRecorder()
			w.Header().Set("Content-Length", "5")
			WriteProblem(w, r, tt.err)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d", w.Code, tt.status)
			}
			if diff := cmp.Diff(tt.body, w.Body.String()); diff != "" {
				t.Error(diff)
			}
			for name, want := range tt.header {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestGraphQLExtensions(t *testing.T) {
	t.Parallel()
	_, ext := New(codes.ResourceExhausted, "", WithRetryAfter(time.Millisecond), WithViolation("/a", "b")).GraphQL()
	got, err := json.Marshal(ext)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"code":"RATE_LIMITED","errors":[{"pointer":"/a","detail":"b"}],"retryAfter":1,"retryable":true,"status":"RESOURCE_EXHAUSTED"}`
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzPointer: a field path of a service never panics, and gives "" or a JSON pointer whose escapes are whole.
func FuzzPointer(f *testing.F) {
	for _, seed := range []string{"", "a", "a.b[0].c", `a["x.y"].z`, "a[", `a["`, "..", "a~b/c", "[1][2]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got := pointer(path)
		if got != "" && got[0] != '/' {
			t.Errorf("pointer(%q) = %q", path, got)
		}
		rest := strings.NewReplacer("~0", "", "~1", "").Replace(got)
		if strings.Contains(rest, "~") {
			t.Errorf("pointer(%q) = %q has a bare ~", path, got)
		}
	})
}

func TestComposed(t *testing.T) {
	t.Parallel()
	if IsComposed(t.Context()) || !IsComposed(Composed(t.Context())) {
		t.Error("the mark is not read as it was set")
	}
}
