package chromium_test

import (
	"bytes"
	"image/png"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/portico-bff/portico/test/e2e/chromium"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const smallPage = `<!doctype html><title>small</title>
<input id="name"><button id="greet" onclick="greet()">greet</button><p id="out"></p>
<script>
function greet() { document.getElementById("out").textContent = "hello " + document.getElementById("name").value }
document.getElementById("name").addEventListener("keydown", e => { if (e.key == "a" && e.ctrlKey) e.target.dataset.all = "yes" })
</script>`

func TestPage(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(smallPage))
	}))
	t.Cleanup(server.Close)
	page := chromium.Start(t).Open(server.URL)

	page.Click("#name")
	page.Type(`Ada "the first"`)
	page.Click("#greet")
	page.WaitFor(`document.getElementById("out").textContent != ""`, 10*time.Second)
	if got := string(page.Eval(`document.getElementById("out").textContent`)); got != `"hello Ada \"the first\""` {
		t.Errorf("the page says %s", got)
	}
	page.Click("#name")
	page.Control("a")
	page.WaitFor(`document.getElementById("name").dataset.all == "yes"`, 10*time.Second)
	page.Type("Bob")
	if got := string(page.Eval(`document.getElementById("name").value`)); got != `"Bob"` {
		t.Errorf("the field holds %s, expected the text to be replaced", got)
	}
	if got := string(page.Eval(`new Promise(done => setTimeout(() => done([1, {a: null}]), 10))`)); got != `[1,{"a":null}]` {
		t.Errorf("the promise gave %s", got)
	}
	if got := string(page.Eval(`undefined`)); got != "null" {
		t.Errorf("undefined is %s", got)
	}

	shot, err := png.Decode(bytes.NewReader(page.Screenshot()))
	if err != nil {
		t.Fatalf("the screenshot is no PNG: %v", err)
	}
	if size := shot.Bounds().Size(); size.X < 800 || size.Y < 600 {
		t.Errorf("the screenshot is %v", size)
	}
	if !slices.Contains(page.Requests(), server.URL+"/") {
		t.Errorf("the page's own request is missing in %q", page.Requests())
	}
}

func TestErrorsAreCollected(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "connect-src 'self'")
		_, _ = w.Write([]byte(`<!doctype html><title>bad</title><img src="/missing.png"><script>
			console.error("said", 42, {a: 1}); console.log("not an error");
			fetch("http://192.0.2.1/").catch(() => {});
			setTimeout(() => { throw new Error("thrown") }, 0)</script>`))
	}))
	t.Cleanup(server.Close)
	page := chromium.Start(t).Open(server.URL)
	deadline := time.Now().Add(20 * time.Second)
	for _, want := range []string{"said 42", "thrown", "missing.png", "Content Security Policy"} {
		for !strings.Contains(strings.Join(page.Errors(), "\n"), want) {
			if time.Now().After(deadline) {
				t.Fatalf("no error mentions %q: %q", want, page.Errors())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	if strings.Contains(strings.Join(page.Errors(), "\n"), "not an error") {
		t.Errorf("console.log counts as an error: %q", page.Errors())
	}
}
