// Package nearest finds the name that somebody who mistyped one probably meant.
package nearest

import "github.com/agnivade/levenshtein"

// Name returns the candidate nearest to word, or "" if none is near enough to be worth suggesting: at most a third of
// the word's letters may differ, or two letters of a short word.
func Name(word string, candidates []string) string {
	best, bestDistance := "", max(2, len(word)/3)+1
	for _, c := range candidates {
		if abs(len(c)-len(word)) >= bestDistance {
			continue
		}
		if d := levenshtein.ComputeDistance(word, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}
