package chromium

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Page is one tab of a [Browser].
type Page struct {
	tb      testing.TB
	conn    *connection
	session string

	// mu guards what the page has told us.
	mu       sync.Mutex
	errors   []string
	requests []string
}

// Open opens a URL in a new tab and waits until it has loaded.
func (b *Browser) Open(url string) *Page {
	b.tb.Helper()
	p := &Page{tb: b.tb, conn: b.conn}
	var target struct {
		ID string `json:"targetId"`
	}
	p.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		Session string `json:"sessionId"`
	}
	p.call("Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &attached)
	b.conn.attach(attached.Session, p)
	p.session = attached.Session
	for _, domain := range []string{"Page.enable", "Runtime.enable", "Log.enable", "Network.enable"} {
		p.call(domain, nil, nil)
	}
	var nav struct {
		Error string `json:"errorText"`
	}
	p.call("Page.navigate", map[string]any{"url": url}, &nav)
	if nav.Error != "" {
		b.tb.Fatalf("open %s: %s", url, nav.Error)
	}
	p.WaitFor(`location.href != "about:blank" && document.readyState == "complete"`, startTimeout)
	return p
}

// Eval evaluates JavaScript in the page and returns the value as JSON. Promises are awaited; an exception fails the test.
func (p *Page) Eval(js string) json.RawMessage {
	p.tb.Helper()
	value, thrown := p.evaluate(js)
	if thrown != "" {
		p.tb.Fatalf("evaluate %s: %s", js, thrown)
	}
	return value
}

func (p *Page) evaluate(js string) (value json.RawMessage, thrown string) {
	p.tb.Helper()
	var out struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *exception `json:"exceptionDetails"`
	}
	p.call("Runtime.evaluate", map[string]any{"expression": js, "awaitPromise": true, "returnByValue": true}, &out)
	if out.Exception != nil {
		return nil, out.Exception.String()
	}
	if out.Result.Value == nil {
		return json.RawMessage("null"), ""
	}
	return out.Result.Value, ""
}

// exception is Runtime.ExceptionDetails.
type exception struct {
	Text      string `json:"text"`
	Exception struct {
		Description string `json:"description"`
	} `json:"exception"`
}

// String is what was thrown.
func (e *exception) String() string { return strings.TrimSpace(e.Text + " " + e.Exception.Description) }

// WaitFor waits until a JavaScript expression is truthy. An exception counts as false.
func (p *Page) WaitFor(js string, timeout time.Duration) {
	p.tb.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(timeout)
	for {
		value, thrown := p.evaluate("Boolean(" + js + ")")
		if string(value) == "true" {
			return
		}
		if time.Now().After(deadline) {
			p.tb.Fatalf("after %v still not: %s\nthrown: %s\nerrors: %q\ntext: %s", timeout, js, thrown, p.Errors(),
				p.Eval(`document.body.innerText.slice(0, 2000)`))
		}
		select {
		case <-tick.C:
		case <-p.tb.Context().Done():
			p.tb.Fatalf("the test ended while waiting for: %s", js)
		}
	}
}

// Type types text into the element that has the focus, as an input method would: all at once.
func (p *Page) Type(text string) {
	p.tb.Helper()
	p.call("Input.insertText", map[string]any{"text": text}, nil)
}

// Control presses Control and a letter or digit, such as "a" to select everything.
func (p *Page) Control(key string) {
	p.tb.Helper()
	const control = 2
	code := int(strings.ToUpper(key)[0])
	for _, kind := range []string{"rawKeyDown", "keyUp"} {
		p.call("Input.dispatchKeyEvent", map[string]any{
			"type": kind, "modifiers": control, "key": key, "code": "Key" + strings.ToUpper(key), "windowsVirtualKeyCode": code,
		}, nil)
	}
}

// Click clicks with the mouse in the middle of the first visible element that fits a CSS selector, which must exist.
func (p *Page) Click(selector string) {
	p.tb.Helper()
	p.ClickElement("document.querySelector(" + strconv.Quote(selector) + ")")
}

// ClickElement clicks in the middle of the element that a JavaScript expression yields.
func (p *Page) ClickElement(js string) {
	p.tb.Helper()
	var at struct{ X, Y float64 }
	value := p.Eval(`(() => {
		const e = ` + js + `;
		if (!e) return null;
		e.scrollIntoView({block: "nearest", inline: "nearest"});
		const r = e.getBoundingClientRect();
		return r.width && r.height ? {X: r.x + r.width / 2, Y: r.y + r.height / 2} : null;
	})()`)
	if string(value) == "null" || json.Unmarshal(value, &at) != nil {
		p.tb.Fatalf("there is nothing to click on: %s", js)
	}
	for _, event := range []map[string]any{
		{"type": "mouseMoved"},
		{"type": "mousePressed", "button": "left", "clickCount": 1},
		{"type": "mouseReleased", "button": "left", "clickCount": 1},
	} {
		event["x"], event["y"] = at.X, at.Y
		p.call("Input.dispatchMouseEvent", event, nil)
	}
}

// Screenshot returns the visible part of the page as PNG.
func (p *Page) Screenshot() []byte {
	p.tb.Helper()
	var shot struct {
		Data string `json:"data"`
	}
	p.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		p.tb.Fatalf("decode the screenshot: %v", err)
	}
	return png
}

// Errors lists what the page has complained about so far: uncaught exceptions, console.error, and what the browser
// itself reports, such as files that could not be loaded or were forbidden by a policy.
func (p *Page) Errors() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.errors)
}

// Requests lists the URLs that the page has asked for so far, WebSockets included; not what it holds itself, in data:
// and blob: URLs.
func (p *Page) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// event notes what the page tells. It runs on the connection's goroutine.
func (p *Page) event(method string, params json.RawMessage) {
	var e struct {
		Type  string `json:"type"`
		URL   string `json:"url"`
		Entry struct {
			Level, Text, URL string
		} `json:"entry"`
		Request   struct{ URL string } `json:"request"`
		Exception *exception           `json:"exceptionDetails"`
		Args      []struct {
			Value       any    `json:"value"`
			Description string `json:"description"`
		} `json:"args"`
	}
	if json.Unmarshal(params, &e) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case strings.HasPrefix(e.Request.URL, "data:"), strings.HasPrefix(e.Request.URL, "blob:"):
	case method == "Network.requestWillBeSent":
		p.requests = append(p.requests, e.Request.URL)
	case method == "Network.webSocketCreated":
		p.requests = append(p.requests, e.URL)
	case method == "Runtime.exceptionThrown" && e.Exception != nil:
		p.errors = append(p.errors, e.Exception.String())
	case method == "Log.entryAdded" && e.Entry.Level == "error":
		p.errors = append(p.errors, strings.TrimSpace(e.Entry.Text+" "+e.Entry.URL))
	case method == "Runtime.consoleAPICalled" && (e.Type == "error" || e.Type == "assert"):
		var words []string
		for _, arg := range e.Args {
			if arg.Description != "" {
				words = append(words, arg.Description)
			} else {
				words = append(words, fmt.Sprint(arg.Value))
			}
		}
		p.errors = append(p.errors, strings.Join(words, " "))
	}
}

// call calls a method in the page's session and decodes its result into out, unless that is nil.
func (p *Page) call(method string, params, out any) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.tb.Context(), callTimeout)
	defer cancel()
	result, err := p.conn.call(ctx, p.session, method, params)
	if err == nil && out != nil {
		err = json.Unmarshal(result, out)
	}
	if err != nil {
		p.tb.Fatalf("drive the browser: %v", err)
	}
}
