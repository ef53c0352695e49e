package logbuf_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/portico-bff/portico/cmd/bff/logbuf"
)

// Lines are slog's, whatever is in them.
func TestLinesAreSlogs(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 12, 0, 0, 123_456_000, time.FixedZone("", 3600))
	values := []any{
		"plain", "", "with \"quotes\" and \\", "<html>&", "é\u2028\x00\x7f\xff\n", strings.Repeat("long ", 1000),
		0, 1, -1, int64(math.MinInt64), uint64(math.MaxUint64), true, false,
		0.0, math.Copysign(0, -1), 1.5, 0.001, 12.345, 1e-6, 9e-7, 1e20, 1e21, -1e21, math.NaN(), math.Inf(1), math.MaxFloat64, math.SmallestNonzeroFloat64,
		time.Second, at, nil, errors.New("an error"),
		[]string{"a"},
		slog.GroupValue(), slog.GroupValue(slog.Int("n", 1)),
	}
	for _, options := range []*slog.HandlerOptions{
		nil,
		{Level: slog.LevelDebug},
		{Level: slog.LevelWarn},
		{AddSource: true},
		{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { return slog.String("x"+a.Key, a.Value.String()) }},
	} {
		var got, want bytes.Buffer
		b := logbuf.New(&got)
		both := func(log func(h slog.Handler)) {
			log(b.Handler(options))
			log(slog.NewJSONHandler(&want, options))
		}
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelInfo + 1, slog.LevelWarn, slog.LevelError} {
			for _, when := range []time.Time{at, at.UTC(), {}} {
				for _, message := range []string{"request", "", "a \"message\""} {
					r := slog.NewRecord(when, level, message, 0)
					both(func(h slog.Handler) {
						if h.Enabled(t.Context(), level) {
							_ = h.Handle(t.Context(), r)
						}
					})
				}
			}
			for _, key := range []string{"key", "", "a\tkey"} {
				for _, v := range values {
					r := slog.NewRecord(at, level, "request", 0)
					r.AddAttrs(slog.Int("first", 1), slog.Any(key, v), slog.String("last", "x"))
					both(func(h slog.Handler) {
						_ = h.Handle(t.Context(), r)
						_ = h.WithAttrs([]slog.Attr{slog.Int("more", 2)}).Handle(t.Context(), r)
						_ = h.WithGroup("g").Handle(t.Context(), r)
					})
				}
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		gotLines, wantLines := strings.Split(got.String(), "\n"), strings.Split(want.String(), "\n")
		for i := range wantLines {
			if i >= len(gotLines) || gotLines[i] != wantLines[i] {
				t.Fatalf("line %d of %d\n got %.300s\nwant %.300s", i, len(wantLines), append(gotLines, "none")[min(i, len(gotLines))], wantLines[i])
			}
		}
	}
}

func BenchmarkHandler(b *testing.B) {
	for name, h := range map[string]slog.Handler{
		"slog": slog.NewJSONHandler(io.MultiWriter(io.Discard), nil), "logbuf": logbuf.New(io.Discard).Handler(nil),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := slog.NewRecord(time.Now(), slog.LevelInfo, "request", 0)
				r.AddAttrs(
					slog.String("request_id", "019cc0de-0000-7000-8000-000000000000"), slog.String("door", "mobile"),
					slog.String("route", "/v1/orders/{order_id}"), slog.String("method", "GET"), slog.String("path", "/v1/orders/ord-0000007"),
					slog.Int("status", 200), slog.String("grpc_code", "OK"), slog.Float64("dur_ms", 1.234), slog.Int64("bytes_in", 0),
					slog.Int64("bytes_out", 1391), slog.String("ip", "127.0.0.1"), slog.String("ua", "portico-bench"),
					slog.String("operation", "shop.orders.v1.OrderService/GetOrder"), slog.String("client_id", "usr-0007"),
				)
				if err := h.Handle(context.Background(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
