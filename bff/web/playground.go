package web

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

// assets is GraphiQL as Vite builds it from the sources in graphiql.
//
//go:embed graphiql/dist
var assets embed.FS

// pagePolicy lets the page load from and talk to this server alone. GraphiQL's editor makes styles and workers at
// run time.
const pagePolicy = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; " +
	"worker-src 'self' blob:; connect-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'self'; form-action 'none'"

// Query is an operation that the playground offers in a tab.
type Query struct {
	// Query is the operation's text.
	Query string `json:"query"`
	// Variables and Headers are JSON objects, or empty.
	Variables string `json:"variables,omitempty"`
	Headers   string `json:"headers,omitempty"`
}

// playground serves GraphiQL at a path and its files below it. It is immutable.
type playground struct {
	base  string
	page  []byte
	saved []byte
	files fs.FS
}

func newPlayground(base string, queries []Query) (*playground, error) {
	files, err := fs.Sub(assets, "graphiql/dist")
	if err != nil {
		return nil, fmt.Errorf("open the playground's files: %w", err)
	}
	index, err := fs.ReadFile(files, "index.html")
	if err != nil {
		return nil, fmt.Errorf("read the playground's page: %w", err)
	}
	// Relative to the page itself, so that it also holds behind a proxy that adds a prefix.
	tag := `<head><base href="` + html.EscapeString("./"+path.Base(base)) + `/">`
	page := bytes.Replace(index, []byte("<head>"), []byte(tag), 1)
	if bytes.Equal(page, index) {
		return nil, errors.New("the playground's page has no <head>")
	}
	saved, err := json.Marshal(append([]Query{}, queries...))
	if err != nil {
		return nil, fmt.Errorf("encode the playground's queries: %w", err)
	}
	return &playground{base: base, page: page, saved: saved, files: files}, nil
}

// serveIndex answers with the page.
func (p *playground) serveIndex(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	h.Add("Vary", "Accept")
	_, _ = w.Write(p.page) // a client that went away needs no answer
}

// serveFile answers with a file below the page. It reports false, having written nothing, if there is no such file.
func (p *playground) serveFile(w http.ResponseWriter, r *http.Request) bool {
	name := strings.TrimPrefix(r.URL.Path, p.base+"/")
	h := w.Header()
	if name == "queries.json" {
		h.Set("Content-Type", mediaJSON)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		_, _ = w.Write(p.saved)
		return true
	}
	info, err := fs.Stat(p.files, name) // which refuses names like ../x and a//b
	if !strings.HasPrefix(name, "assets/") || err != nil || !info.Mode().IsRegular() {
		return false
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "public, max-age=31536000, immutable") // Vite puts a hash into each name
	http.ServeFileFS(w, r, p.files, name)                         //nolint:gosec // p.files refuses names that lead out of it
	return true
}
