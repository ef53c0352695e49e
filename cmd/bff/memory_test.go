package main

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"max\n": 0, "": 0, "-1\n": 0, "0\n": 0, "a lot": 0,
		"104857600\n": 94371840,
	} {
		if got, ok := memoryLimit(text); got != want || ok != (want > 0) {
			t.Errorf("%q: %d, %t; want %d", text, got, ok, want)
		}
	}
	if got, _ := memoryLimit("9223372036854775807"); got <= 0 || got == math.MaxInt64 {
		t.Errorf("the largest limit became %d", got)
	}
}

//nolint:paralleltest // the garbage collector is everybody's
func TestTheEnvironmentDecides(t *testing.T) {
	percent, limit := debug.SetGCPercent(77), debug.SetMemoryLimit(-1)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
	tuneMemory(func(string) (string, bool) { return "", true })
	if got := debug.SetGCPercent(77); got != 77 {
		t.Errorf("GOGC was set, and became %d", got)
	}
	if got := debug.SetMemoryLimit(-1); got != limit {
		t.Errorf("GOMEMLIMIT was set, and became %d", got)
	}
	tuneMemory(func(name string) (string, bool) { return "", name == "GOMEMLIMIT" })
	if got := debug.SetGCPercent(77); got != gcPercent {
		t.Errorf("without GOGC it is %d", got)
	}
}
