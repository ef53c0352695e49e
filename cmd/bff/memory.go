package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// gcPercent lets the garbage collector run less than half as often as Go's default of 100 does. A server whose
	// answers pass through keeps a few megabytes, so the default collects after every few megabytes of garbage; this trades a
	// few megabytes of memory for most of that work.
	gcPercent = 240
	// limitPercent is how much of the container's memory the garbage collector may plan with: what is left is for
	// the program itself and for files.
	limitPercent = 90
	// containerLimit is where a container's memory limit stands (cgroup v2).
	containerLimit = "/sys/fs/cgroup/memory.max"
)

// tuneMemory sets the garbage collector: GOGC and GOMEMLIMIT as the environment says, otherwise as is good for a server.
// Near the container's limit it works as hard as it must to stay below.
func tuneMemory(lookupEnv func(string) (string, bool)) {
	if _, set := lookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	if _, set := lookupEnv("GOMEMLIMIT"); set {
		return
	}
	if text, err := os.ReadFile(containerLimit); err == nil { // there is none outside of containers
		if limit, ok := memoryLimit(string(text)); ok {
			debug.SetMemoryLimit(limit)
		}
	}
}

// memoryLimit reads a cgroup's memory.max: a number of bytes, or max.
func memoryLimit(text string) (int64, bool) {
	limit, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || limit <= 0 {
		return 0, false
	}
	return limit / 100 * limitPercent, true
}
