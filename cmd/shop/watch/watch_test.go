package watch_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/cmd/shop/watch"
)

func subscribe(t *testing.T, h *watch.Hub[int], key string) *watch.Subscription[int] {
	t.Helper()
	s, err := h.Subscribe(key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func drain(s *watch.Subscription[int]) []int {
	var got []int
	for {
		select {
		case v := <-s.C():
			got = append(got, v)
		default:
			return got
		}
	}
}

func TestSlowSubscribersLoseTheOldest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		buffer int
		want   []int
	}{
		{"latest state", 1, []int{5}},
		{"zero means one", 0, []int{5}},
		{"some", 3, []int{3, 4, 5}},
		{"all", 8, []int{1, 2, 3, 4, 5}},
	} {
		h := watch.NewHub[int](tt.buffer)
		s, other := subscribe(t, h, "a"), subscribe(t, h, "b")
		for v := 1; v <= 5; v++ {
			h.Publish("a", v)
		}
		if diff := cmp.Diff(tt.want, drain(s)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		if got := drain(other); got != nil {
			t.Errorf("%s: another key received %v", tt.name, got)
		}
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	h := watch.NewHub[int](1)
	s, stays := subscribe(t, h, "a"), subscribe(t, h, "a")
	s.Close()
	s.Close()
	h.Publish("a", 1)
	if got := drain(s); got != nil {
		t.Errorf("a closed subscription received %v", got)
	}
	if diff := cmp.Diff([]int{1}, drain(stays)); diff != "" {
		t.Error(diff)
	}
	h.Close()
	h.Close()
	select {
	case <-h.Done():
	default:
		t.Error("done is not closed")
	}
	if _, err := h.Subscribe("a"); !errors.Is(err, watch.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestSubscribersAreBounded(t *testing.T) {
	t.Parallel()
	h := watch.NewHub[int](1)
	first := subscribe(t, h, "a")
	for range 9_999 {
		subscribe(t, h, "a")
	}
	if _, err := h.Subscribe("b"); !errors.Is(err, watch.ErrFull) {
		t.Fatalf("got %v", err)
	}
	first.Close()
	subscribe(t, h, "b")
}

// Publishers, a reader and a closer at once: Publish returns each time, and the reader
// sees values in the order of one publisher.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	h := watch.NewHub[int](2)
	s := subscribe(t, h, "a")
	const last = 10_000
	var wg sync.WaitGroup
	wg.Go(func() {
		for v := 1; v <= last; v++ {
			h.Publish("a", v)
		}
	})
	wg.Go(func() {
		for range 100 {
			if other, err := h.Subscribe("a"); err == nil {
				other.Close()
			}
		}
	})
	for seen := 0; seen < last; {
		v := <-s.C()
		if v <= seen {
			t.Fatalf("%d came after %d", v, seen)
		}
		seen = v
	}
	wg.Wait()
}
