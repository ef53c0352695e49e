package mistake

import (
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
)

// Nearest returns the known name that is most like name, or "" if none is like it. It costs little for a name of any
// length: what is much longer than the known names is like none of them.
func Nearest(name string, known []string) string {
	letters := utf8.RuneCountInString(name)
	best, bestDistance := "", max(letters/2, 2)+1
	for _, k := range known {
		if n := utf8.RuneCountInString(k); max(n-letters, letters-n) >= bestDistance {
			continue
		}
		if d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}
