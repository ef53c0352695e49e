package logbuf

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strconv"
	"time"
)

// Handler makes a handler that writes JSON lines into the buffer, the same ones as [slog.NewJSONHandler] makes.
func (b *Buffer) Handler(o *slog.HandlerOptions) slog.Handler {
	return &handler{
		Handler: slog.NewJSONHandler(b, o),
		buffer:  b,
		plain:   o == nil || !o.AddSource && o.ReplaceAttr == nil,
	}
}

// handler writes plain lines itself, as access logs have them, and leaves all others to slog's handler.
type handler struct {
	slog.Handler
	buffer *Buffer
	plain  bool // nothing is to be added to lines, and nothing to be changed
}

// Handle writes a line. Lines that somebody may wait for leave at once.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn && h.plain {
		var room [1 << 10]byte
		if line, ok := appendRecord(room[:0], &r); ok {
			_, err := h.buffer.Write(line)
			return err
		}
	}
	err := h.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn {
		err = errors.Join(err, h.buffer.Flush())
	}
	return err
}

// WithAttrs returns a handler that adds attributes.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{Handler: h.Handler.WithAttrs(attrs), buffer: h.buffer}
}

// WithGroup returns a handler that puts attributes into a group.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{Handler: h.Handler.WithGroup(name), buffer: h.buffer}
}

// appendRecord appends the line of a record; false if it has something that is not plain.
func appendRecord(dst []byte, r *slog.Record) ([]byte, bool) {
	year := r.Time.Year()
	if r.Time.IsZero() || year < 0 || year > 9999 || r.Level.String() != "INFO" || !plainText(r.Message) {
		return dst, false
	}
	dst = append(dst, `{"time":"`...)
	dst = r.Time.AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","level":"INFO","msg":"`...)
	dst = append(dst, r.Message...)
	dst = append(dst, '"')
	ok := true
	r.Attrs(func(a slog.Attr) bool {
		dst, ok = appendAttr(dst, a)
		return ok
	})
	return append(dst, "}\n"...), ok
}

func appendAttr(dst []byte, a slog.Attr) ([]byte, bool) {
	if a.Key == "" || !plainText(a.Key) {
		return dst, false
	}
	dst = append(dst, `,"`...)
	dst = append(dst, a.Key...)
	dst = append(dst, `":`...)
	switch a.Value.Kind() {
	case slog.KindString:
		text := a.Value.String()
		dst = append(dst, '"')
		dst = append(dst, text...)
		return append(dst, '"'), plainText(text)
	case slog.KindInt64:
		return strconv.AppendInt(dst, a.Value.Int64(), 10), true
	case slog.KindUint64:
		return strconv.AppendUint(dst, a.Value.Uint64(), 10), true
	case slog.KindBool:
		return strconv.AppendBool(dst, a.Value.Bool()), true
	case slog.KindFloat64:
		f := a.Value.Float64()
		if size := math.Abs(f); f != 0 && !(size >= 1e-6 && size < 1e21) { // others have an exponent, or are no JSON
			return dst, false
		}
		return strconv.AppendFloat(dst, f, 'f', -1, 64), true
	case slog.KindAny, slog.KindDuration, slog.KindTime, slog.KindGroup, slog.KindLogValuer:
	}
	return dst, false
}

// plainText reports whether a text stands in JSON as it is.
func plainText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
