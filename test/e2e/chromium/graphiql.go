package chromium

import (
	"strconv"
	"strings"
	"time"
)

const (
	uiTimeout = 60 * time.Second // the longest that the playground may take for one step of its own
	tabPause  = time.Second      // longer than it takes to see that a tab was chosen
)

// Playground is a page that shows GraphiQL 5.
type Playground struct {
	*Page
}

// GraphiQL waits until the page shows GraphiQL with its editors and has learned the schema.
func GraphiQL(page *Page) *Playground {
	page.tb.Helper()
	page.WaitFor(`document.querySelector(".graphiql-query-editor .view-lines")`, uiTimeout)
	page.WaitFor(`document.querySelector("button.graphiql-execute-button")`, uiTimeout)
	return &Playground{Page: page}
}

// SetQuery replaces the text of the operation in the current tab.
func (p *Playground) SetQuery(text string) {
	p.tb.Helper()
	p.replace(".graphiql-query-editor", text)
}

// SetHeaders replaces the text of the headers tab, a JSON object.
func (p *Playground) SetHeaders(text string) {
	p.tb.Helper()
	p.tool("Headers")
	p.replace(".graphiql-editor-tool .graphiql-editor:not(.hidden)", text)
}

// SetVariables replaces the text of the variables tab, a JSON object.
func (p *Playground) SetVariables(text string) {
	p.tb.Helper()
	p.tool("Variables")
	p.replace(".graphiql-editor-tool .graphiql-editor:not(.hidden)", text)
}

// tool shows one of the editors below the operation.
func (p *Playground) tool(name string) {
	p.tb.Helper()
	p.ClickElement(`[...document.querySelectorAll(".graphiql-editor-tools button")].find(b => b.textContent.trim() == ` +
		strconv.Quote(name) + `)`)
	p.WaitFor(`document.querySelector(".graphiql-editor-tool .graphiql-editor:not(.hidden) .view-lines")`, uiTimeout)
}

// replace types over what an editor holds, as a paste would, so that nothing is completed or indented.
func (p *Playground) replace(editor, text string) {
	p.tb.Helper()
	p.Click(editor + " .view-lines")
	p.WaitFor(`document.querySelector(`+strconv.Quote(editor)+`).contains(document.activeElement)`, uiTimeout)
	p.Control("a")
	p.Eval(`(() => {
		const data = new DataTransfer();
		data.setData("text/plain", ` + strconv.Quote(text) + `);
		document.activeElement.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
	})()`)
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	p.WaitFor(lines(editor)+`.includes(`+strconv.Quote(squeeze(first))+`)`, uiTimeout)
}

// Tabs lists the names of the tabs: those of their operations.
func (p *Playground) Tabs() []string {
	p.tb.Helper()
	text := string(p.Eval(`[...document.querySelectorAll(".graphiql-tab-button")].map(t => t.textContent.trim()).join("\n")`))
	names, err := strconv.Unquote(text)
	if err != nil {
		p.tb.Fatalf("read the tabs: %s", text)
	}
	return strings.Split(names, "\n")
}

// SelectTab shows the tab of a name, such as that of a saved operation.
func (p *Playground) SelectTab(name string) {
	p.tb.Helper()
	tab := `[...document.querySelectorAll(".graphiql-tab-button")].find(t => t.textContent.trim() == ` + strconv.Quote(name) + `)`
	p.WaitFor(tab, uiTimeout)
	p.ClickElement(tab)
	p.WaitFor(tab+`?.closest("[role=tab]").getAttribute("aria-selected") == "true"`, uiTimeout)
	// GraphiQL reads the tab's operation after a pause of its own, of which the page shows nothing; until then it
	// would run the new text by the old operation's name.
	time.Sleep(tabPause)
}

// Run clicks on the execute button. A running subscription is stopped by it.
func (p *Playground) Run() {
	p.tb.Helper()
	p.Click("button.graphiql-execute-button")
}

// Result is the part of the result that is in view, without spaces, as [Playground.WaitForResult] compares it.
func (p *Playground) Result() string {
	p.tb.Helper()
	text := string(p.Eval(lines(".graphiql-response")))
	result, err := strconv.Unquote(text)
	if err != nil {
		return text
	}
	return result
}

// WaitForResult waits until the result holds a text. Spaces and line breaks do not matter.
func (p *Playground) WaitForResult(text string, timeout time.Duration) {
	p.tb.Helper()
	p.WaitFor(lines(".graphiql-response")+`.includes(`+strconv.Quote(squeeze(text))+`)`, timeout)
}

// lines is an expression for the text that an editor shows, without spaces: lines stand in the page in no certain
// order, and spaces are of several kinds.
func lines(editor string) string {
	return `[...(document.querySelector(` + strconv.Quote(editor) + `)?.querySelectorAll(".view-line") ?? [])]` +
		`.sort((a, b) => parseFloat(a.style.top) - parseFloat(b.style.top)).map(l => l.textContent).join("").replace(/\s/g, "")`
}

// squeeze removes all spaces.
func squeeze(text string) string { return strings.Join(strings.Fields(text), "") }
