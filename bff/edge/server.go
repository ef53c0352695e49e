package edge

import (
	"net/http"
)

// Server makes the server of the HTTP doors. Its handler should begin with [Chain]. The server logs nothing itself:
// give it an ErrorLog.
func Server(cfg Config, h http.Handler) *http.Server {
	cfg = cfg.WithDefaults()
	return &http.Server{
		Handler:        h,
		MaxHeaderBytes: int(cfg.Header),
		// The body's time begins when somebody wants to read it; see bounded.
		ReadHeaderTimeout: cfg.ReadTimeout,
		WriteTimeout:      cfg.WriteTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		ConnContext:       withConn,
	}
}
