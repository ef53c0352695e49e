package unit_test

import (
	"testing"
	"time"

	"github.com/portico-bff/portico/bff/config/unit"
)

func TestBytes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]unit.Bytes{
		"0": 0, "512": 512, "512B": 512, "32KiB": 32 << 10, "1MiB": 1 << 20, "2GiB": 2 << 30, "3KB": 3000, "1MB": 1e6, " 5 ": 5,
	} {
		var got unit.Bytes
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "1.5MiB", "1TiB", "1 MiB", "9223372036854775807GiB", "0x10", "1iB"} {
		var got unit.Bytes
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q = %d, want an error", text, got)
		}
	}
	for want, value := range map[string]unit.Bytes{"0": 0, "1000": 1000, "1KiB": 1024, "3MiB": 3 << 20, "1GiB": 1 << 30} {
		if got, err := value.MarshalText(); err != nil || string(got) != want {
			t.Errorf("MarshalText(%d) = %s, %v; want %s", value, got, err, want)
		}
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]unit.Rate{
		"100/s": {Events: 100, Per: time.Second}, "5/m": {Events: 5, Per: time.Minute}, "1000/h": {Events: 1000, Per: time.Hour},
	} {
		var got unit.Rate
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q = %v, %v; want %v", text, got, err, want)
		}
		if back, err := got.MarshalText(); err != nil || string(back) != text {
			t.Errorf("MarshalText = %s, %v; want %s", back, err, text)
		}
	}
	for _, text := range []string{"", "100", "/s", "0/s", "-1/s", "1/d", "1.5/s", "9999999999/s", "1/s/s"} {
		var got unit.Rate
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q = %v, want an error", text, got)
		}
	}
	if got := (unit.Rate{Events: 4, Per: time.Second}).Interval(); got != 250*time.Millisecond {
		t.Errorf("Interval = %s", got)
	}
	if got := (unit.Rate{}).Interval(); got != 0 {
		t.Errorf("Interval of the zero rate = %s", got)
	}
}
