package scaffold

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// words splits a name at underscores and where capitals begin: GetHTTPRoute is Get, HTTP, Route. A name that has none
// is one word.
func words(name string) []string {
	var list []string
	start := 0
	end := func(i int) {
		if i > start {
			list = append(list, name[start:i])
		}
		start = i
	}
	for i := range len(name) {
		switch {
		case name[i] == '_':
			end(i)
			start = i + 1
		case i > start && upper(name[i]) && (!upper(name[i-1]) || i+1 < len(name) && lower(name[i+1])):
			end(i)
		}
	}
	end(len(name))
	if len(list) == 0 {
		return []string{name}
	}
	return list
}

func upper(c byte) bool { return 'A' <= c && c <= 'Z' }
func lower(c byte) bool { return 'a' <= c && c <= 'z' }

// lowerCamel joins words as fields and paths are written.
func lowerCamel(list []string) string {
	var b strings.Builder
	for i, w := range list {
		switch {
		case i == 0:
			b.WriteString(strings.ToLower(w))
		case strings.ToUpper(w) == w && len(w) > 1:
			b.WriteString(w)
		default:
			b.WriteString(title(w))
		}
	}
	return b.String()
}

// title makes the first letter of a word a capital.
func title(w string) string {
	if w == "" {
		return ""
	}
	return strings.ToUpper(w[:1]) + w[1:]
}

// snake joins words as fields of messages are written.
func snake(list []string) string { return strings.ToLower(strings.Join(list, "_")) }

// plural is the plural of the last word, by the rules that hold most of the time.
func plural(list []string) []string {
	out := append([]string{}, list...)
	last := strings.ToLower(out[len(out)-1])
	n := len(last)
	switch {
	case n > 1 && last[n-1] == 'y' && !strings.ContainsRune("aeiou", rune(last[n-2])):
		last = last[:n-1] + "ies"
	case strings.HasSuffix(last, "s"), strings.HasSuffix(last, "x"), strings.HasSuffix(last, "ch"), strings.HasSuffix(last, "sh"):
		last += "es"
	default:
		last += "s"
	}
	out[len(out)-1] = title(last)
	return out
}

// enumPrefix is the prefix that the protobuf style guide wants on the values of an enum, by the rule that package schema
// takes it off by.
func enumPrefix(enum string) string { return strings.ToUpper(strings.Join(words(enum), "_")) + "_" }

// validName reports whether a name may stand in GraphQL.
func validName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c != '_' && !upper(c) && !lower(c) && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && !strings.HasPrefix(name, "__")
}

// nameFrom makes a name for GraphQL of any text.
func nameFrom(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c == '_' || upper(c) || lower(c) || '0' <= c && c <= '9' {
			b.WriteByte(c)
		}
	}
	name := strings.TrimLeft(b.String(), "_")
	if !validName(name) {
		name = "x" + name
	}
	return name
}

// assign gives everything that has a list of candidates, from short to long, a name of its own: those who want the same
// one all take their next one. Numbers part what is left.
func assign(candidates [][]string, taken func(string) bool) []string {
	level := make([]int, len(candidates))
	for {
		wanted := map[string]int{}
		for i, c := range candidates {
			wanted[c[level[i]]]++
		}
		moved := false
		for i, c := range candidates {
			if name := c[level[i]]; (wanted[name] > 1 || taken(name)) && level[i]+1 < len(c) {
				level[i]++
				moved = true
			}
		}
		if !moved {
			break
		}
	}
	used := map[string]bool{}
	out := make([]string, len(candidates))
	for i, c := range candidates {
		name := c[level[i]]
		for n := 2; used[name] || taken(name); n++ {
			name = c[level[i]] + strconv.Itoa(n)
		}
		used[name] = true
		out[i] = name
	}
	return out
}

// printable drops what may not stand in a text of GraphQL or YAML.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && (r < ' ' || r == utf8.RuneError || r == '\u0085' || r == '\u2028' || r == '\u2029' || r == '\ufeff' || r == '\x7f') {
			return ' '
		}
		return r
	}, text)
}
