package repo_test

import (
	"bytes"
	"regexp"
	"testing"
)

func TestForbiddenText(t *testing.T) {
	t.Parallel()
	forbidden := []struct {
		why     string
		pattern *regexp.Regexp
	}{
		{"names a folder of somebody's machine", regexp.MustCompile(`(?:^|[\s"'` + "`" + `(=:])/(?:work|root|home/\w+|Users/\w+)/`)},
		{"puts off what should be done or dropped", regexp.MustCompile(`\b(?:T[O]DO|F[I]XME)\b`)},
		{"names a registry: leave that to the user's settings", regexp.MustCompile(`"resolved": *"https?:`)},
		{"was left by a merge", regexp.MustCompile(`^(?:<{7}|>{7}) `)},
	}
	for _, f := range files(t) {
		if !f.ours() || bytes.IndexByte(f.data, 0) >= 0 {
			continue
		}
		number := 0
		for line := range bytes.Lines(f.data) {
			number++
			for _, rule := range forbidden {
				if found := rule.pattern.Find(line); found != nil {
					t.Errorf("%s:%d: %q %s", f.path, number, found, rule.why)
				}
			}
		}
	}
}
