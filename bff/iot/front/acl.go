package front

import (
	"github.com/portico-bff/portico/bff/iot/topic"
)

// entry is one ACL entry for one device.
type entry struct {
	template string // as configured: names the entry in limits
	filter   string
}

func entries(templates []*topic.Template, device string) []entry {
	out := make([]entry, 0, len(templates))
	for _, t := range templates {
		filter, ok := t.Fill(func(string) (string, bool) { return device, true })
		if ok {
			out = append(out, entry{template: t.String(), filter: filter})
		}
	}
	return out
}

// allowing returns the entry that covers filter, which may be a topic name.
func allowing(list []entry, filter string) (entry, bool) {
	for _, e := range list {
		if topic.Covers(e.filter, filter) {
			return e, true
		}
	}
	return entry{}, false
}
