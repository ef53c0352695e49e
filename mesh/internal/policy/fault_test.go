package policy_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/mesh/internal/policy"
)

func TestParseFault(t *testing.T) {
	t.Parallel()
	got, err := policy.Parse("m.yaml", []byte(subsets+`kind: Route
hosts: [orders]
http:
- fault:
    delay: {fixedDelay: 2s, percentage: {value: 12.5}}
    abort: {grpcStatus: UNAVAILABLE}
  mirror: {host: orders, subset: v2}
  mirrorPercentage: {value: 10}
- mirror: {host: orders, subset: v1}
`))
	if err != nil {
		t.Fatal(err)
	}
	rules := got.Routes[0].Rules
	want := policy.Fault{Delay: 2 * time.Second, DelayPercent: 12.5, Abort: codes.Unavailable, AbortPercent: 100}
	if diff := cmp.Diff(want, rules[0].Fault); diff != "" {
		t.Error(diff)
	}
	declared := got.Destinations[0].Subsets
	if diff := cmp.Diff(&policy.Mirror{Subset: declared[1], Percent: 10}, rules[0].Mirror); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&policy.Mirror{Subset: declared[0], Percent: 100}, rules[1].Mirror); diff != "" {
		t.Error(diff)
	}
}

func TestFaultMistakes(t *testing.T) {
	t.Parallel()
	mistakes(t, subsets+"kind: Route\nhosts: [orders]\nhttp:\n- ", [][2]string{
		{`fault: {}`, `m.yaml:11:10: fault: want "delay" or "abort"`},
		{`fault: {delay: {}}`, `m.yaml:11:18: delay: "fixedDelay" is missing`},
		{`fault: {delay: {fixedDelay: 5}}`, `m.yaml:11:31: fixedDelay: 5, want a positive duration`},
		{`fault: {delay: {fixedDelay: 5s, percent: 10}}`, `m.yaml:11:35: delay: the mesh does not honour "percent", want "fixedDelay" or "percentage"`},
		{`fault: {delay: {fixedDelay: 5s, percentage: 10}}`, `percentage: 10, want a mapping`},
		{`fault: {delay: {fixedDelay: 5s, percentage: {value: 101}}}`, `value: 101, want a number from 0 to 100`},
		{`fault: {abort: {grpcStatus: OK}}`, `m.yaml:11:31: grpcStatus: the mesh does not honour "OK"`},
		{`fault: {abort: {grpcStatus: UNAVAILABEL}}`, `did you mean "UNAVAILABLE"?`},
		{`fault: {abort: {grpcStatus: ABORTED, httpStatus: 500}}`, `m.yaml:11:40: abort: the mesh does not honour "httpStatus"`},
		{`mirror: {host: orders}`, `mirror: "subset" is missing`},
		{`mirror: {host: payments, subset: v1}`, `host: "payments", want one of the route's own hosts`},
		{`mirrorPercentage: {value: 100}`, `"mirrorPercentage" without "mirror"`},
	})
}
