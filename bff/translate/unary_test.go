package translate_test

import (
	"testing"
)

func TestUnary(t *testing.T) {
	t.Parallel()
	rt := router(t, library(t), echo())
	for _, line := range []string{"GET /v1/echo?a_int32=5&strings=a&strings=b&book.author.firstName=x", "GET /v1/echo/nested/Ann%2Fa/7", "GET /v1/echo?a_int=4",
		"GET /v1/echo?book=4", "GET /v1/echo/int32/x", "POST /v1/echo", "GET /v1/echo/bytes/aGk=?fields=a_bytes", "GET /v1/nothing", "OPTIONS /v1/echo", "SEARCH /v1/echo?a_bool=true", "X /v1/echo/whatever"} {
		r := do(t, rt, line, "")
		t.Log(line, r.StatusCode, r.Header, text(t, r))
	}
}
