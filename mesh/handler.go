package mesh

import (
	"encoding/json"
	"net/http"
)

// Handler serves [Mesh.Stats] as JSON, for an admin port: the counts, the end of the
// process's certificate, and every endpoint with its state. It answers anybody
// who can reach it.
func (m *Mesh) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text, err := json.MarshalIndent(m.Stats(), "", "  ")
		if err != nil {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(append(text, '\n'))
	})
}
