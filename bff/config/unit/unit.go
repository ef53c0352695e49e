// Package unit holds the scalar types of the configuration that YAML does not have: sizes and rates. Durations are
// [time.Duration], written like 1m30s.
package unit

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Bytes is a size in bytes, written like 512, 32KiB, 1MiB or 2GiB (also KB, MB, GB in powers of ten).
type Bytes int64

// UnmarshalText parses a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	digits := strings.TrimRight(s, "KMGiB")
	factor, ok := map[string]int64{
		"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 1e3, "MB": 1e6, "GB": 1e9,
	}[s[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n < 0 || n > (1<<62)/factor {
		return fmt.Errorf("%q is no size, expected one like 512, 32KiB or 1MiB", s)
	}
	*b = Bytes(n * factor)
	return nil
}

// MarshalText writes the size in the largest binary unit that divides it.
func (b Bytes) MarshalText() ([]byte, error) {
	for _, u := range []struct {
		name string
		size Bytes
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if b != 0 && b%u.size == 0 {
			return []byte(strconv.FormatInt(int64(b/u.size), 10) + u.name), nil
		}
	}
	return strconv.AppendInt(nil, int64(b), 10), nil
}

// Rate is a number of events in a time, written like 100/s, 5/m or 1000/h.
type Rate struct {
	// Events is how many events fit into Per.
	Events int64
	// Per is a second, a minute or an hour.
	Per time.Duration
}

// UnmarshalText parses a rate.
func (r *Rate) UnmarshalText(text []byte) error {
	count, unit, _ := strings.Cut(strings.TrimSpace(string(text)), "/")
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil || per == 0 || n < 1 || n > 1e9 {
		return fmt.Errorf("%q is no rate, expected one like 100/s, 5/m or 1000/h", text)
	}
	*r = Rate{Events: n, Per: per}
	return nil
}

// MarshalText writes the rate as it is read.
func (r Rate) MarshalText() ([]byte, error) {
	unit := map[time.Duration]string{time.Second: "s", time.Minute: "m", time.Hour: "h"}[r.Per]
	return []byte(strconv.FormatInt(r.Events, 10) + "/" + unit), nil
}

// Interval is the time between two events at this rate; 0 for the zero Rate.
func (r Rate) Interval() time.Duration {
	if r.Events == 0 {
		return 0
	}
	return r.Per / time.Duration(r.Events)
}
