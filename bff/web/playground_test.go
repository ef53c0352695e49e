package web

import (
	"io/fs"
	"net/http"
	"strings"
	"testing"
)

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

func TestPlayground(t *testing.T) {
	t.Parallel()
	h := serve(t, shop(), func(c *Config) { c.Playground, c.Path = true, "/api/v1/graphql" })
	got := h.do(t, http.MethodGet, h.url, "", "Accept", browser)
	if got.status != http.StatusOK || got.header.Get("Content-Type") != "text/html; charset=utf-8" ||
		!strings.Contains(got.text, `<head><base href="./graphql/">`) {
		t.Errorf("%d %v %s", got.status, got.header, got.text)
	}
	if policy := got.header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'self'") || strings.Contains(policy, "http") {
		t.Errorf("Content-Security-Policy: %s", policy)
	}
	if got.header.Get("Cache-Control") != "no-cache" || got.header.Get("Vary") != "Accept" {
		t.Errorf("caches may serve the page to others: %v", got.header)
	}
	if got := h.do(t, http.MethodHead, h.url, "", "Accept", browser); got.status != http.StatusOK || got.text != "" {
		t.Errorf("HEAD: %d %q", got.status, got.text)
	}
	saved := h.do(t, http.MethodGet, h.url+"/queries.json", "")
	if saved.text != `[{"query":"query Saved { products { products { title } } }"}]` || saved.header.Get("Content-Type") != mediaJSON {
		t.Errorf("queries: %s %s", saved.header.Get("Content-Type"), saved.text)
	}
	for name, media := range map[string]string{".js": "text/javascript", ".css": "text/css"} {
		files, err := fs.Glob(h.door.page.files, "assets/*"+name)
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s files: %v", name, err)
		}
		file := h.do(t, http.MethodGet, h.url+"/"+files[0], "")
		if file.status != http.StatusOK || !strings.HasPrefix(file.header.Get("Content-Type"), media) || len(file.text) == 0 ||
			!strings.Contains(file.header.Get("Cache-Control"), "immutable") || file.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", files[0], file.status, file.header)
		}
	}
}

// What the page refers to is in the binary.
func TestPlaygroundIsComplete(t *testing.T) {
	t.Parallel()
	p, err := newPlayground("/graphql", nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(p.saved) != "[]" {
		t.Errorf("no queries are %s", p.saved)
	}
	refs := strings.Split(string(p.page), `"./assets/`)[1:]
	if len(refs) < 2 {
		t.Fatalf("the page refers to nothing: %s", p.page)
	}
	for _, ref := range refs {
		name, _, _ := strings.Cut(ref, `"`)
		if _, err := fs.Stat(p.files, "assets/"+name); err != nil {
			t.Errorf("%v", err)
		}
	}
}

func TestNothingElseIsServed(t *testing.T) {
	t.Parallel()
	with := serve(t, shop(), func(c *Config) { c.Playground = true })
	without := serve(t, shop(), nil)
	for _, path := range []string{
		"/", "/index.html", "/assets", "/assets/", "/assets/missing.js", "/assets/../index.html", "/assets//x", "/assets/%2e%2e/index.html",
		"/assets/..%2findex.html", "/../door.go", "//assets/x", "/assets/%00", "/queries.json/", "x",
	} {
		for _, h := range []*harness{with, without} {
			got := h.do(t, http.MethodGet, h.url+path, "", "Accept", browser)
			if got.status != http.StatusNotFound || len(got.body.Errors) != 1 || strings.Contains(got.header.Get("Cache-Control"), "immutable") {
				t.Errorf("%s: %d %v %s", path, got.status, got.header, got.text)
			}
		}
	}
	if got := with.do(t, http.MethodPost, with.url+"/queries.json", ""); got.status != http.StatusNotFound {
		t.Errorf("POST: %d", got.status)
	}
	// A browser that asks a door without a page learns what it lacks.
	if got := without.do(t, http.MethodGet, without.url, "", "Accept", browser); got.status != http.StatusBadRequest || len(got.body.Errors) != 1 {
		t.Errorf("%d %s", got.status, got.text)
	}
	// GraphQL clients get answers even if they would also take a page.
	for _, accept := range []string{"application/json, text/html", "application/graphql-response+json, text/html;q=0.5", "*/*", ""} {
		if got := with.do(t, http.MethodGet, with.url, "", "Accept", accept); got.status != http.StatusBadRequest {
			t.Errorf("Accept %q: %d", accept, got.status)
		}
	}
}
