package fault

import "strings"

// pointer turns the field path of a google.rpc.BadRequest, like a.b[0].c or a["x.y"], into a JSON pointer, like
// /a/b/0/c.
func pointer(path string) string {
	var b strings.Builder
	token := func(s string) {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(s))
	}
	for path != "" {
		switch path[0] {
		case '.':
			path = path[1:]
		case '[':
			index, rest, ok := bracket(path)
			if !ok {
				token(path)
				return b.String()
			}
			token(index)
			path = rest
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			token(path[:end])
			path = path[end:]
		}
	}
	return b.String()
}

// bracket takes a leading [0] or ["key"] off a field path.
func bracket(path string) (index, rest string, ok bool) {
	if strings.HasPrefix(path, `["`) {
		index, rest, ok = strings.Cut(path[2:], `"]`)
		return index, rest, ok
	}
	index, rest, ok = strings.Cut(path[1:], "]")
	return index, rest, ok
}

// fieldPath turns a JSON pointer into the field path of a google.rpc.BadRequest.
func fieldPath(pointer string) string {
	var b strings.Builder
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch {
		case token != "" && strings.Trim(token, "0123456789") == "":
			b.WriteString("[" + token + "]")
		case b.Len() > 0:
			b.WriteString("." + token)
		default:
			b.WriteString(token)
		}
	}
	return b.String()
}
