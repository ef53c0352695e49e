package fault

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
)

func localized(locale, text string) *errdetails.LocalizedMessage {
	return &errdetails.LocalizedMessage{Locale: locale, Message: text}
}

func TestLocalize(t *testing.T) {
	t.Parallel()
	three := FromUpstream(withDetails(t, codes.NotFound, "no order ord-1",
		localized("en-GB", "There is no such order."), localized("de", "Diese Bestellung gibt es nicht."),
		localized("pt-BR", "Este pedido não existe.")).Err())
	for accept, want := range map[string]string{
		"":                         "en-GB",
		"de":                       "de",
		"de-AT, en;q=0.5":          "de",
		"en-US":                    "en-GB",
		"fr, pt;q=0.8, de;q=0.3":   "pt-BR",
		"en;q=0.1, de;q=0.9":       "de",
		"ja":                       "en-GB",
		"*":                        "en-GB",
		"DE":                       "de",
		"de;q=x":                   "en-GB",
		"\x00;;,,":                 "en-GB",
		strings.Repeat("de,", 300): "en-GB", // too much to read
	} {
		if got := three.Localize([]string{accept}); got.Language != want {
			t.Errorf("%.40q: %s %q, want %s", accept, got.Language, got.Public, want)
		}
	}
	// Several fields are one list (RFC 9110, section 5.3).
	if got := three.Localize([]string{"ja", "de"}); got.Language != "de" || got.Public != "Diese Bestellung gibt es nicht." {
		t.Errorf("two fields: %s %q", got.Language, got.Public)
	}
	if three.Language != "en-GB" {
		t.Errorf("the error itself was changed to %s", three.Language)
	}

	for name, test := range map[string]struct {
		err            *Error
		text, language string
	}{
		"no texts":                {New(codes.NotFound, "gone"), "gone", ""},
		"other details":           {New(codes.NotFound, "gone", WithDetails(&errdetails.ErrorInfo{Reason: "X"})), "gone", ""},
		"an empty text":           {New(codes.NotFound, "gone", WithDetails(localized("de", ""))), "gone", ""},
		"no locale":               {New(codes.NotFound, "gone", WithDetails(localized("", "weg"))), "weg", ""},
		"no locale of this world": {New(codes.NotFound, "gone", WithDetails(localized("no such thing", "weg"))), "weg", ""},
		"one text":                {New(codes.NotFound, "gone", WithDetails(localized("fr", "parti"))), "parti", "fr"},
	} {
		if got := test.err.Localize([]string{"de"}); got.Public != test.text || got.Language != test.language {
			t.Errorf("%s: %q %q", name, got.Public, got.Language)
		}
	}
}

// A problem is written in the client's language, with what programs and users can use.
func TestProblemDetails(t *testing.T) {
	t.Parallel()
	err := FromUpstream(withDetails(t, codes.FailedPrecondition, "cart cart-1 is empty",
		localized("en", "Your cart is empty."), localized("de", "Ihr Warenkorb ist leer."),
		&errdetails.ErrorInfo{Reason: "CART_EMPTY", Domain: "orders.shop.test", Metadata: map[string]string{"cart": "cart-1"}},
		&errdetails.Help{Links: []*errdetails.Help_Link{
			{Description: "Carts", Url: "https://shop.test/help/carts"}, {Description: "No page", Url: "javascript:alert(1)"}, {Url: ":"},
		}},
		&errdetails.DebugInfo{Detail: secret}).Err())
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", http.NoBody)
	r.Header.Set("Accept-Language", "de-CH, en;q=0.2")
	w := httptest.NewRecorder()
	WriteProblem(w, r, err)
	want := `{"type":"about:blank","title":"Bad Request","status":400,"detail":"Ihr Warenkorb ist leer.",` +
		`"code":"FAILED_PRECONDITION","retryable":false,"reason":"CART_EMPTY","domain":"orders.shop.test","metadata":{"cart":"cart-1"},` +
		`"help":[{"description":"Carts","url":"https://shop.test/help/carts"}]}`
	if diff := cmp.Diff(want, w.Body.String()); diff != "" {
		t.Error(diff)
	}
	if h := w.Header(); h.Get("Content-Language") != "de" || h.Get("Vary") != "Accept-Language" {
		t.Errorf("Content-Language %q, Vary %q", h.Get("Content-Language"), h.Get("Vary"))
	}
	// Of a fault that is not the client's nobody learns anything.
	w = httptest.NewRecorder()
	WriteProblem(w, r, FromUpstream(withDetails(t, codes.Internal, secret, &errdetails.ErrorInfo{Reason: secret}, localized("de", secret)).Err()))
	if strings.Contains(w.Body.String(), secret) || w.Header().Get("Content-Language") != "" {
		t.Errorf("a secret in %s", w.Body.String())
	}
}
