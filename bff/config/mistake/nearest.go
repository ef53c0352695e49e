package mistake

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// Nearest returns the known name that is most like name, or "" if none is like it.
func Nearest(name string, known []string) string {
	best, bestDistance := "", max(len(name)/2, 2)+1
	for _, k := range known {
		if d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}
