package page_test

import (
	"encoding/base64"
	"math"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/cmd/shop/page"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	usersv1 "github.com/portico-bff/portico/protos/gen/shop/users/v1"
)

func TestSize(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ asked, most, want int }{
		{0, 100, 20},
		{0, 10, 10},
		{1, 100, 1},
		{100, 100, 100},
		{101, 100, 100},
		{-5, 100, 20},
	} {
		if got := page.Size(&usersv1.ListUsersRequest{PageSize: int32(tt.asked)}, tt.most); got != tt.want {
			t.Errorf("asked for %d of at most %d: got %d, want %d", tt.asked, tt.most, got, tt.want)
		}
	}
}

func TestTokenLeadsBack(t *testing.T) {
	t.Parallel()
	for _, want := range [][2]int64{{0, 0}, {1, -1}, {math.MaxInt64, math.MinInt64}} {
		r := &usersv1.ListUsersRequest{PageSize: 5}
		r.PageToken = page.Token(r, want[0], want[1])
		r.PageSize = 7 // may change from page to page
		var got [2]int64
		if ok, err := page.Keys(r, &got[0], &got[1]); err != nil || !ok || got != want {
			t.Errorf("got %v, %v, %v, want %v", got, ok, err, want)
		}
	}
	if ok, err := page.Keys(&usersv1.ListUsersRequest{}, new(int64)); ok || err != nil {
		t.Errorf("the first page: got %v, %v", ok, err)
	}
}

func TestTokenIsBound(t *testing.T) {
	t.Parallel()
	made := &catalogv1.ListProductsRequest{Query: "milk"}
	token := page.Token(made, 7)
	users := &usersv1.ListUsersRequest{}
	for name, r := range map[string]page.Request{
		"other filter":   &catalogv1.ListProductsRequest{Query: "bread", PageToken: token},
		"no filter":      &catalogv1.ListProductsRequest{PageToken: token},
		"other method":   &usersv1.ListUsersRequest{PageToken: token},
		"cut":            &catalogv1.ListProductsRequest{Query: "milk", PageToken: token[:len(token)-2]},
		"longer":         &catalogv1.ListProductsRequest{Query: "milk", PageToken: token + "AA"},
		"not base64":     &catalogv1.ListProductsRequest{Query: "milk", PageToken: "%%%"},
		"too many keys":  &usersv1.ListUsersRequest{PageToken: page.Token(users, 1, 2)},
		"missing keys":   &usersv1.ListUsersRequest{PageToken: page.Token(users)},
		"endless varint": &usersv1.ListUsersRequest{PageToken: base64.RawURLEncoding.EncodeToString(make([]byte, 200))},
	} {
		var key int64
		if ok, err := page.Keys(r, &key); ok || status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: got %v, %v", name, ok, err)
		}
	}
}

// FuzzKeys: no token makes Keys panic; a token that is accepted is the one that Token
// makes from the keys that were read.
func FuzzKeys(f *testing.F) {
	r := &catalogv1.ListProductsRequest{Query: "milk"}
	f.Add(page.Token(r, 1, 2))
	f.Add(page.Token(r, math.MinInt64, math.MaxInt64))
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, token string) {
		r := &catalogv1.ListProductsRequest{Query: "milk", PageToken: token}
		var a, b int64
		ok, err := page.Keys(r, &a, &b)
		switch {
		case ok && page.Token(r, a, b) != token:
			t.Errorf("%q was read as %d, %d, whose token is %q", token, a, b, page.Token(r, a, b))
		case err != nil && status.Code(err) != codes.InvalidArgument:
			t.Errorf("%q: %v", token, err)
		}
	})
}
