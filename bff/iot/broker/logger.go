package broker

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// natsLogger passes on what nats-server logs: its warnings and errors as such, the rest as debug messages. It keeps
// the first fatal error, after which nats-server expects to be dead.
type natsLogger struct {
	ctx context.Context //nolint:containedctx // the server's log calls carry none
	log *slog.Logger

	mu    sync.Mutex // guards first
	first error
}

var _ server.Logger = (*natsLogger)(nil)

func (l *natsLogger) say(level slog.Level, format string, args []any) {
	if l.log.Enabled(l.ctx, level) {
		l.log.Log(l.ctx, level, "embedded broker", "text", fmt.Sprintf(format, args...))
	}
}

func (l *natsLogger) Noticef(format string, args ...any) { l.say(slog.LevelDebug, format, args) }
func (l *natsLogger) Debugf(format string, args ...any)  { l.say(slog.LevelDebug, format, args) }
func (l *natsLogger) Tracef(format string, args ...any)  { l.say(slog.LevelDebug, format, args) }
func (l *natsLogger) Errorf(format string, args ...any)  { l.say(slog.LevelError, format, args) }

// Warnf passes a warning on, but for one: the plain passwords are random, and as old as the process.
func (l *natsLogger) Warnf(format string, args ...any) {
	if strings.HasPrefix(format, "Plaintext passwords detected") {
		return
	}
	l.say(slog.LevelWarn, format, args)
}

func (l *natsLogger) Fatalf(format string, args ...any) {
	l.say(slog.LevelError, format, args)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		l.first = fmt.Errorf(format, args...)
	}
}

func (l *natsLogger) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}
