package translate

import (
	"net/http"

	"github.com/portico-bff/portico/bff/translate/urlpath"
)

func (rt *Router) socket(w http.ResponseWriter, r *http.Request, to *route, p *urlpath.Path) {
}
