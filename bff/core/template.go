package core

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/request"
)

// template is the compiled value of a header that we set: literal text and placeholders in turn.
type template struct {
	parts []part
	// placeholders counts the parts that are no literal text.
	placeholders int
	// identity reports that the value depends on who is calling.
	identity bool
	// volatile reports that the value is another one for each request, by its id alone.
	volatile bool
}

// part is literal text, or a placeholder if value is set.
type part struct {
	text  string
	value func(*request.Info, *auth.Principal) string
}

// placeholders tells what may stand between braces.
const placeholderNames = "{principal.subject}, {principal.kind}, {principal.issuer}, {principal.roles}, {principal.scopes}, " +
	"{principal.claims.NAME}, {request.id}, {request.door}, {request.remote} or {header.NAME}"

// parseTemplate compiles a template.
func parseTemplate(text string) (*template, error) {
	t := &template{}
	ids := 0
	for rest := text; rest != ""; {
		open := strings.IndexAny(rest, "{}")
		if open < 0 {
			t.parts = append(t.parts, part{text: rest})
			break
		}
		if rest[open] == '}' {
			return nil, fmt.Errorf("there is a } without a { in %q", text)
		}
		if open > 0 {
			t.parts = append(t.parts, part{text: rest[:open]})
		}
		name, after, ok := strings.Cut(rest[open+1:], "}")
		if !ok {
			return nil, fmt.Errorf("the { in %q is not closed", text)
		}
		value, identity, ok := placeholder(name)
		if !ok {
			return nil, &mistake.Mistake{What: "unknown placeholder {" + name + "}", Expected: placeholderNames}
		}
		if name == "request.id" {
			ids++
		}
		t.identity = t.identity || identity
		t.placeholders++
		t.parts = append(t.parts, part{value: value})
		rest = after
	}
	if len(t.parts) == 0 {
		return nil, errors.New("the value is empty")
	}
	t.volatile = ids > 0 && ids == t.placeholders
	return t, nil
}

// placeholder finds what a name stands for, and whether that depends on who is calling.
func placeholder(name string) (value func(*request.Info, *auth.Principal) string, identity, ok bool) {
	switch name {
	case "principal.subject":
		return func(_ *request.Info, p *auth.Principal) string { return p.Subject }, true, true
	case "principal.kind":
		return func(_ *request.Info, p *auth.Principal) string { return string(p.Kind) }, true, true
	case "principal.issuer":
		return func(_ *request.Info, p *auth.Principal) string { return p.Issuer }, true, true
	case "principal.roles":
		return func(_ *request.Info, p *auth.Principal) string { return join(p.Roles) }, true, true
	case "principal.scopes":
		return func(_ *request.Info, p *auth.Principal) string { return join(p.Scopes) }, true, true
	case "request.id":
		return func(i *request.Info, _ *auth.Principal) string { return i.ID }, false, true
	case "request.door":
		return func(i *request.Info, _ *auth.Principal) string { return string(i.Door) }, false, true
	case "request.remote":
		return func(i *request.Info, _ *auth.Principal) string { return remote(i) }, true, true
	}
	if path, ok := strings.CutPrefix(name, "principal.claims."); ok && path != "" {
		return func(_ *request.Info, p *auth.Principal) string { return claim(p.Claim(path)) }, true, true
	}
	if header, ok := strings.CutPrefix(name, "header."); ok && header != "" {
		return func(i *request.Info, _ *auth.Principal) string { return strings.Join(i.Header.Values(header), ", ") },
			credential(strings.ToLower(header)), true
	}
	return nil, false, false
}

// expand makes the value. It is empty if no placeholder has one, so that literal text around nothing is not sent.
func (t *template) expand(info *request.Info, p *auth.Principal) string {
	if t.placeholders == 1 && len(t.parts) == 1 {
		return t.parts[0].value(info, p)
	}
	var b strings.Builder
	filled := t.placeholders == 0
	for _, part := range t.parts {
		if part.value == nil {
			b.WriteString(part.text)
			continue
		}
		v := part.value(info, p)
		filled = filled || v != ""
		b.WriteString(v)
	}
	if !filled {
		return ""
	}
	return b.String()
}

// join joins words by commas. A word that has one itself is left out: it could pass for two.
func join(words []string) string {
	if len(words) == 1 && !strings.Contains(words[0], ",") {
		return words[0]
	}
	kept := make([]string, 0, len(words))
	for _, w := range words {
		if !strings.Contains(w, ",") {
			kept = append(kept, w)
		}
	}
	return strings.Join(kept, ",")
}

// claim is the text of a claim: texts, numbers, truth values, and lists of them joined by commas. Objects have none.
func claim(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		words := make([]string, 0, len(v))
		for _, e := range v {
			if w := claim(e); w != "" {
				words = append(words, w)
			}
		}
		return join(words)
	default:
		return ""
	}
}

func remote(i *request.Info) string {
	if !i.Remote.IsValid() {
		return ""
	}
	return i.Remote.String()
}
