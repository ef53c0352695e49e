package refuse_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/portico-bff/portico/cmd/shop/refuse"
)

func TestDetails(t *testing.T) {
	t.Parallel()
	info := func(reason string) *errdetails.ErrorInfo {
		return &errdetails.ErrorInfo{Reason: reason, Domain: "shop.test"}
	}
	for _, tt := range []struct {
		name    string
		err     error
		code    codes.Code
		text    string
		details []any
	}{
		{
			"not found", refuse.NotFound("Order", "ord-1"), codes.NotFound, "Order ord-1 does not exist",
			[]any{&errdetails.ResourceInfo{
				ResourceType: "shop.test/Order", ResourceName: "ord-1",
				Description: "it does not exist, or the caller may not see it",
			}},
		},
		{
			"invalid", refuse.Invalid("items[0].quantity", "too many"), codes.InvalidArgument,
			"invalid request: items[0].quantity: too many",
			[]any{&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: "items[0].quantity", Description: "too many"},
			}}},
		},
		{
			"precondition", refuse.Precondition("OUT_OF_STOCK", "not enough left", "prd-0001"), codes.FailedPrecondition,
			"not enough left",
			[]any{info("OUT_OF_STOCK"), &errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{
				{Type: "OUT_OF_STOCK", Subject: "prd-0001", Description: "not enough left"},
			}}},
		},
		{"unauthenticated", refuse.Unauthenticated(), codes.Unauthenticated, "who is calling is not known", []any{info("NO_USER")}},
		{"denied", refuse.Denied("admins only"), codes.PermissionDenied, "admins only", []any{info("ROLE_MISSING")}},
		{"exhausted", refuse.Exhausted("too many watchers"), codes.ResourceExhausted, "too many watchers", []any{info("TOO_MANY")}},
		{"stopping", refuse.Stopping(), codes.Unavailable, "the service is stopping", []any{info("STOPPING")}},
	} {
		s := status.Convert(tt.err)
		if s.Code() != tt.code || s.Message() != tt.text {
			t.Errorf("%s: got %v %q", tt.name, s.Code(), s.Message())
		}
		if diff := cmp.Diff(tt.details, s.Details(), protocmp.Transform()); diff != "" {
			t.Errorf("%s: details (-want +got):\n%s", tt.name, diff)
		}
	}
}
