package report

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Setting names what figures depend on: the machine, the date, and the versions of the named modules in this program.
func Setting(now time.Time, modules ...string) string {
	lines := []string{
		fmt.Sprintf("Measured on %s on %d cores of %s, %s %s, %s.",
			now.UTC().Format(time.DateOnly), runtime.NumCPU(), processor(), runtime.GOOS, kernel(), runtime.Version()),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		var versions []string
		for _, m := range info.Deps {
			if slices.Contains(modules, m.Path) {
				versions = append(versions, m.Path+" "+m.Version)
			}
		}
		lines = append(lines, strings.Join(versions, ", ")+".")
	}
	return strings.Join(lines, "\n")
}

// processor is the name of the machine's processor, as Linux knows it.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	return modelName(text)
}

func modelName(cpuinfo []byte) string {
	for line := range bytes.Lines(cpuinfo) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return runtime.GOARCH
}

// kernel is the kernel's version, up to what tells distributions apart.
func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(text)), "-")
	return version
}
