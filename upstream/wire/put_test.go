package wire

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

// put calls a function that writes at an index, in a buffer of the room that every member gets.
func put(f func(b []byte, n int) int) string {
	b := make([]byte, slack+1)
	b[0] = '='
	return string(b[1:f(b, 1)])
}

// TestPutNumbers compares with package strconv.
func TestPutNumbers(t *testing.T) {
	t.Parallel()
	ints := []int64{0, -1, math.MinInt64, math.MaxInt64}
	for power := int64(1); power > 0 && power < math.MaxInt64/10; power *= 10 {
		ints = append(ints, power-1, power, power+1, -power, 9*power)
	}
	for _, v := range ints {
		if got, want := put(func(b []byte, n int) int { return putInt(b, n, v) }), strconv.FormatInt(v, 10); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, want := put(func(b []byte, n int) int { return putUint(b, n, uint64(v)) }), strconv.FormatUint(uint64(v), 10); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestPutDecimal compares with the general way: what is written is the same, and short decimals are written.
func TestPutDecimal(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 8))
	floats := []float64{0, math.Copysign(0, -1), 1e-3, 5e-4, 1e12, 1e12 - 1, 1e21, 0.1, 0.12, 0.123, 0.1234, 1.0005, 999999999999.999, math.NaN(), math.Inf(1), 1 << 53}
	for range 20_000 {
		floats = append(floats, math.Float64frombits(random.Uint64()), float64(random.Int64N(1e15))/1e3, float64(random.Int64N(1e6))/1e4, random.Float64()*1e9)
	}
	for _, f := range floats {
		want := string(AppendJSONFloat(nil, f, 64))
		wrote := false
		got := put(func(b []byte, n int) int {
			n, wrote = putDecimal(b, n, f)
			return n
		})
		_, fraction, _ := strings.Cut(want, ".")
		short := math.Abs(f) >= 1e-3 && math.Abs(f) < 1e12 && len(fraction) <= 3
		if wrote != short || wrote && got != want {
			t.Errorf("got %q (%t), want %q (%t)", got, wrote, want, short)
		}
	}
}

// TestPutTimestamp compares with package time, on the same and on other days.
func TestPutTimestamp(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(9, 10))
	s := new(render)
	seconds := []int64{minTimestampSeconds, maxTimestampSeconds, 0, -1, 86399, 86400, -86400, -86401}
	for range 2000 {
		at := minTimestampSeconds + random.Int64N(maxTimestampSeconds-minTimestampSeconds+1)
		seconds = append(seconds, at, at/86400*86400)
	}
	for _, at := range seconds {
		for nanos, layout := range map[int32]string{
			0: "", 123_000_000: ".000", 1_000_000: ".000", 1000: ".000000", 120_034_000: ".000000", 1: ".000000000", maxNanos: ".000000000",
		} {
			want := time.Unix(at, int64(nanos)).UTC().Format(`"2006-01-02T15:04:05` + layout + `Z"`)
			if got := put(func(b []byte, n int) int { return s.putTimestamp(b, n, at, nanos) }); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
}

// FuzzPutText: a text is written as by the simple way wherever it stands between others, and refused if it is not UTF-8.
func FuzzPutText(f *testing.F) {
	for _, s := range []string{
		"", "a", "seven77", "eight888", "nine99999", "sixteen-sixteen-", "seventeen-seventee", "Amélie", "größer", "日本語のテキスト", "\U0001f600 and more",
		`a "quoted" text`, "back\\slash", "tab\tand\nline", "\x00\x1f\x20\x7f", "\xff", "cut\xe6\x97", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80", "!#[]",
	} {
		f.Add([]byte(s), byte(0))
		f.Add([]byte(s+s+s), byte(20))
	}
	f.Fuzz(func(t *testing.T, text []byte, around byte) {
		for _, after := range []int{0, 1, 7, 8, int(around)} {
			msg := append(bytes.Repeat([]byte{'"'}, int(around)), text...)
			stop := len(msg)
			msg = append(msg, bytes.Repeat([]byte{'\\'}, after)...)
			want, ok := appendValidString([]byte("="), text)
			b, n := putText([]byte("="), 1, msg, int(around), stop)
			if ok != (n >= 0) || ok && !bytes.Equal(b[:n], want) {
				t.Fatalf("%q: got %q, want %q (%t)", text, b[:max(n, 0)], want, ok)
			}
		}
	})
}
