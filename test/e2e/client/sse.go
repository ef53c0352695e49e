package client

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Event is one server-sent event (WHATWG HTML, section 9.2).
type Event struct {
	Type, ID, Data string
}

// Events is an open stream of server-sent events.
type Events struct {
	events chan Event
	close  context.CancelFunc
}

// SSE opens a stream of server-sent events; it is closed when the test ends.
func SSE(tb testing.TB, url, token string) *Events {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		cancel()
		tb.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // closed when the test ends
	if err != nil {
		cancel()
		tb.Fatalf("open %s: %v", url, err)
	}
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		cancel()
		tb.Fatalf("open %s: %s, %s", url, resp.Status, resp.Header.Get("Content-Type"))
	}
	e := &Events{events: make(chan Event, 1024), close: cancel}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(e.events)
		e.read(ctx, bufio.NewScanner(resp.Body))
	}()
	tb.Cleanup(func() {
		cancel()
		_ = resp.Body.Close()
		<-done
	})
	return e
}

func (e *Events) read(ctx context.Context, lines *bufio.Scanner) {
	var event Event
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			event.Type = value
		case "id":
			event.ID = value
		case "data":
			event.Data += value
		case "":
			if value != "" { // a comment
				continue
			}
			if event.Data != "" { // without data, as with an id alone, there is no event
				select {
				case e.events <- event:
				case <-ctx.Done():
					return
				}
			}
			event = Event{}
		}
	}
}

// Next waits for the next event; ok is false when the stream has ended.
func (e *Events) Next(tb testing.TB, within time.Duration) (event Event, ok bool) {
	tb.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case event, ok = <-e.events:
		return event, ok
	case <-timer.C:
		tb.Fatalf("no event within %s", within)
		return Event{}, false
	}
}

// Until waits for an event whose data contain text.
func (e *Events) Until(tb testing.TB, within time.Duration, text string) Event {
	tb.Helper()
	deadline := time.Now().Add(within)
	for {
		event, ok := e.Next(tb, time.Until(deadline))
		if !ok {
			tb.Fatalf("the stream ended before an event with %q", text)
		}
		if strings.Contains(event.Data, text) {
			return event
		}
	}
}

// Close ends the stream from this side.
func (e *Events) Close() { e.close() }
