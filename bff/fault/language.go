package fault

import (
	"strings"

	"golang.org/x/text/language"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
)

// maxAcceptLanguage bounds how much of Accept-Language is read.
const maxAcceptLanguage = 512

// Localize returns e with the text in the language that fits the fields of Accept-Language best (RFC 9110, section
// 12.5.4), out of the google.rpc.LocalizedMessage details that the service has sent. If none fits, the first of them
// counts: it is meant for users nonetheless. Without such details it returns e itself.
func (e *Error) Localize(accept []string) *Error {
	if len(e.Details) == 0 {
		return e
	}
	var texts []*errdetails.LocalizedMessage
	var tags []language.Tag
	for _, d := range e.Details {
		text, ok := d.(*errdetails.LocalizedMessage)
		if !ok || text.GetMessage() == "" {
			continue
		}
		tag, err := language.Parse(text.GetLocale())
		if err != nil {
			tag = language.Und
		}
		texts, tags = append(texts, text), append(tags, tag)
	}
	if len(texts) == 0 {
		return e
	}
	best := 0
	if field := strings.Join(accept, ","); len(texts) > 1 && field != "" && len(field) <= maxAcceptLanguage {
		if wanted, _, err := language.ParseAcceptLanguage(field); err == nil && len(wanted) > 0 {
			_, best, _ = language.NewMatcher(tags).Match(wanted...) // the first if there is no match
		}
	}
	localized := *e
	localized.Public, localized.Language = texts[best].GetMessage(), ""
	if tags[best] != language.Und {
		localized.Language = tags[best].String()
	}
	return &localized
}
