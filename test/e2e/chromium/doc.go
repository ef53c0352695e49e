// Package chromium drives a headless Chromium from tests, over the DevTools protocol
// (https://chromedevtools.github.io/devtools-protocol/).
//
//	page := chromium.Start(t).Open(server.URL + "/graphql")
//	page.WaitFor(`document.title == "Portico GraphiQL"`, time.Minute)
//	page.Click("button.graphiql-execute-button")
//
// Methods take no context and return no errors: what goes wrong fails the test at once. So they must be called from
// the test's own goroutine.
//
// [GraphiQL] knows its way around the playground of the GraphQL door:
//
//	ui := chromium.GraphiQL(page)      // waits until the page is ready
//	ui.SetHeaders(`{"Authorization": "Bearer ..."}`)
//	ui.SelectTab("Orders")             // a saved query
//	ui.Run()
//	ui.WaitForResult(`"total"`, time.Minute)
//	if errs := page.Errors(); len(errs) > 0 { ... }
//
// It is no general browser driver: one window, what our pages need, and nothing that hides from the reader what happens.
package chromium
