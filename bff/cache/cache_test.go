package cache

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustNew(tb testing.TB, size int64) *Cache {
	tb.Helper()
	c, err := New(size)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

func key(parts ...string) Key {
	b := NewKey(nil)
	for i, p := range parts {
		if i%2 == 0 {
			b.Add([]byte(p))
		} else {
			b.AddString(p)
		}
	}
	return b.Key()
}

func TestKeysTellPartsApart(t *testing.T) {
	t.Parallel()
	seen := map[Key][]string{}
	for _, parts := range [][]string{nil, {""}, {"", ""}, {"ab"}, {"a", "b"}, {"ab", ""}, {"", "ab"}, {"b", "a"}} {
		k := key(parts...)
		if other, ok := seen[k]; ok {
			t.Errorf("%q and %q have one key", parts, other)
		}
		seen[k] = parts
	}
	if again := key("a", "b"); seen[again] == nil {
		t.Error("equal parts have different keys")
	}
}

func TestStoreAndExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := New(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		k := key("a")
		c.Store(k, upstream.Reply{Message: []byte("hello")}, 10*time.Second)
		time.Sleep(9 * time.Second)
		e, ok := c.Lookup(k)
		if !ok || string(e.Reply.Message) != "hello" || e.Age() != 9*time.Second {
			t.Fatalf("Lookup = %+v, %v", e, ok)
		}
		time.Sleep(2 * time.Second)
		if _, ok := c.Lookup(k); ok {
			t.Error("an answer is there beyond its time")
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	c := mustNew(t, 1<<20)
	for i := range 1000 {
		c.Store(key(string(rune(i))), upstream.Reply{Message: make([]byte, 10<<10)}, time.Hour)
	}
	deadline := time.Now().Add(5 * time.Second)
	for c.Size() > 1<<20 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond) // eviction runs beside the writers
	}
	if got := c.Size(); got > 1<<20 || got == 0 {
		t.Errorf("%d bytes are kept, want at most %d and more than none", got, 1<<20)
	}
}

func TestThousandCallersShareOneCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := New(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var calls, first atomic.Int64
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				reply, shared, err := c.Do(t.Context(), key("k"), func(context.Context) (upstream.Reply, error) {
					calls.Add(1)
					time.Sleep(time.Second)
					return upstream.Reply{Message: []byte("one")}, nil
				})
				if err != nil || string(reply.Message) != "one" {
					t.Errorf("got %q, %v", reply.Message, err)
				}
				if !shared {
					first.Add(1)
				}
			})
		}
		wg.Wait()
		if calls.Load() != 1 || first.Load() != 1 {
			t.Errorf("%d calls, %d first callers", calls.Load(), first.Load())
		}
	})
}

func TestLeaderLeavesOthersStay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := New(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		call := func(ctx context.Context) (upstream.Reply, error) {
			select {
			case <-time.After(time.Second):
				return upstream.Reply{Message: []byte("late")}, nil
			case <-ctx.Done():
				return upstream.Reply{}, ctx.Err()
			}
		}
		leader, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := c.Do(leader, key("k"), call); !errors.Is(err, context.Canceled) {
				t.Errorf("the leader got %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			reply, shared, err := c.Do(t.Context(), key("k"), call)
			if err != nil || !shared || string(reply.Message) != "late" {
				t.Errorf("the other got %q, shared %v, %v", reply.Message, shared, err)
			}
		})
		synctest.Wait()
		leave()
		wg.Wait()
	})
}

func TestCallEndsWhenNobodyWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := New(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var ended atomic.Bool
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err = c.Do(ctx, key("k"), func(ctx context.Context) (upstream.Reply, error) {
			<-ctx.Done()
			ended.Store(true)
			return upstream.Reply{}, ctx.Err()
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		// Who comes now gets a call of their own, not the end of the cancelled one.
		reply, shared, err := c.Do(t.Context(), key("k"), func(context.Context) (upstream.Reply, error) {
			return upstream.Reply{Message: []byte("new")}, nil
		})
		if err != nil || shared || string(reply.Message) != "new" {
			t.Errorf("got %q, shared %v, %v", reply.Message, shared, err)
		}
		synctest.Wait()
		if !ended.Load() {
			t.Error("a call that nobody waits for goes on")
		}
	})
}

func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	c := mustNew(t, 1<<20)
	_, _, err := c.Do(t.Context(), key("k"), func(context.Context) (upstream.Reply, error) {
		panic("nil map") //nolint:forbidigo // it is what is tested
	})
	if err == nil || !strings.Contains(err.Error(), "nil map") {
		t.Errorf("got %v", err)
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	var got []string
	for _, m := range mistake.List(Config{Scope: "pubic", StaleIfError: -1}.Validate()) {
		got = append(got, strings.Join(m.Path, ".")+"|"+m.Nearest)
	}
	if diff := cmp.Diff([]string{"max_age|", "stale_if_error|", "scope|public"}, got); diff != "" {
		t.Error(diff)
	}
	if err := (Config{MaxAge: time.Second}).Validate(); err != nil {
		t.Error(err)
	}
	if _, err := New(0); err == nil {
		t.Error("a cache without room was made")
	}
}

func BenchmarkLookup(b *testing.B) {
	c := mustNew(b, 1<<20)
	c.Store(key("a"), upstream.Reply{Message: []byte("hello")}, time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		c.Lookup(key("a"))
	}
}

// TestSharedAnswers wants caches to share what is kept until the last of them is closed, and no call.
func TestSharedAnswers(t *testing.T) {
	t.Parallel()
	first, err := New(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	first.Store(key("k"), upstream.Reply{Message: []byte("kept")}, time.Hour)
	second := first.Share()
	_, _, err = first.Do(t.Context(), key("k"), func(ctx context.Context) (upstream.Reply, error) {
		_, shared, err := second.Do(ctx, key("k"), func(context.Context) (upstream.Reply, error) { return upstream.Reply{}, nil })
		if shared {
			t.Error("a call is shared")
		}
		return upstream.Reply{}, err
	})
	if err != nil {
		t.Error(err)
	}
	first.Close()
	if e, ok := second.Lookup(key("k")); !ok || string(e.Reply.Message) != "kept" {
		t.Error("the answer went with the first cache")
	}
	second.Close()
	if _, ok := second.Lookup(key("k")); ok {
		t.Error("the answer outlives the last cache")
	}
}
