package outlier_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portico-bff/portico/mesh/internal/outlier"
)

func config() outlier.Config {
	return outlier.Config{
		ConsecutiveGatewayErrors: 3, BaseEjection: 10 * time.Second, MaxEjection: 25 * time.Second, MaxEjectionPercent: 50,
	}
}

// pool returns a pool of so many hosts.
func pool(n int) (*outlier.Pool, []*outlier.Host) {
	p := outlier.NewPool(config(), nil)
	hosts := make([]*outlier.Host, n)
	for i := range hosts {
		hosts[i] = p.Host(fmt.Sprint("host-", i))
	}
	return p, hosts
}

// fail reports n failures in a row.
func fail(h *outlier.Host, n int) {
	for range n {
		h.Report(outlier.GatewayError, false, time.Now())
	}
}

func admits(h *outlier.Host) bool {
	ok, _ := h.Admit(time.Now())
	return ok
}

func TestConsecutiveErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, hosts := pool(2)
		h := hosts[0]
		fail(h, 2)
		h.Report(outlier.Success, false, time.Now())
		fail(h, 2)
		h.Report(outlier.Ignored, false, time.Now()) // says nothing, so the row goes on
		if h.Ejected() {
			t.Fatal("ejected before three errors in a row")
		}
		fail(h, 1)
		if !h.Ejected() || admits(h) {
			t.Fatal("not ejected after three errors in a row")
		}
	})
}

// An ejection ends with one probe; its failure makes the next longer, up to the
// limit, and its success ends it.
func TestProbesAndGrowingEjections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, hosts := pool(2)
		h := hosts[0]
		fail(h, 3)
		for i, seconds := range []int{10, 20, 25, 25} {
			want := time.Duration(seconds) * time.Second
			time.Sleep(want - time.Millisecond)
			if admits(h) {
				t.Fatalf("ejection %d ended before %v", i+1, want)
			}
			time.Sleep(want/10 + 2*time.Millisecond)
			ok, probe := h.Admit(time.Now())
			if !ok || !probe {
				t.Fatalf("ejection %d: no probe after %v and a tenth", i+1, want)
			}
			if admits(h) {
				t.Fatalf("ejection %d: a second request beside the probe", i+1)
			}
			h.Report(outlier.GatewayError, true, time.Now())
		}
		time.Sleep(30 * time.Second)
		if ok, probe := h.Admit(time.Now()); !ok || !probe {
			t.Fatal("no probe")
		}
		h.Report(outlier.Ignored, true, time.Now())
		if ok, probe := h.Admit(time.Now()); !ok || !probe {
			t.Fatal("a probe that said nothing was not given again")
		}
		h.Return()
		if ok, probe := h.Admit(time.Now()); !ok || !probe {
			t.Fatal("a probe that was given back was not given again")
		}
		h.Report(outlier.Success, true, time.Now())
		if ok, probe := h.Admit(time.Now()); !ok || probe || h.Ejected() {
			t.Fatal("a probe that succeeded did not bring the host back")
		}
	})
}

// Past ejections are forgiven with time spent in use.
func TestForgiveness(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var until time.Time
		p := outlier.NewPool(config(), func(_ string, u time.Time) { until = u })
		h := p.Host("a")
		p.Host("b")
		length := func() time.Duration { return time.Until(until) }
		back := func() {
			time.Sleep(length())
			h.Admit(time.Now())
			h.Report(outlier.Success, true, time.Now())
		}
		fail(h, 3)
		back()
		fail(h, 3)
		if d := length(); d < 20*time.Second {
			t.Errorf("the second ejection soon after the first lasts %v", d)
		}
		back()
		time.Sleep(time.Minute)
		fail(h, 3)
		if d := length(); d > 11*time.Second {
			t.Errorf("an ejection after a good minute lasts %v", d)
		}
	})
}

func TestHowManyMayBeEjected(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ hosts, percent, want int }{
		{1, 100, 0}, // the last one in use stays
		{2, 100, 1},
		{3, 100, 2},
		{3, 10, 1}, // one may always go
		{10, 50, 5},
		{10, 0, 1},
	} {
		t.Run(fmt.Sprintf("%d hosts, %d%%", test.hosts, test.percent), func(t *testing.T) {
			t.Parallel()
			p, hosts := pool(test.hosts)
			c := config()
			c.MaxEjectionPercent = test.percent
			p.Configure(c)
			out := 0
			for _, h := range hosts {
				fail(h, 10)
				if h.Ejected() {
					out++
				}
			}
			if out != test.want {
				t.Errorf("%d were ejected, want %d", out, test.want)
			}
		})
	}
}

// State belongs to the address and lasts until the address is gone.
func TestStateByAddress(t *testing.T) {
	t.Parallel()
	p, hosts := pool(3)
	fail(hosts[0], 3)
	if p.Host("host-0") != hosts[0] || !p.Host("host-0").Ejected() {
		t.Error("asking again gave a fresh host")
	}
	p.Keep(map[string]bool{"host-1": true, "host-2": true})
	if hosts[0].Ejected() || p.Host("host-0") == hosts[0] {
		t.Error("a host that was gone kept its state")
	}
	fail(hosts[1], 3)
	if !hosts[1].Ejected() {
		t.Error("the host that went still counts as ejected")
	}
	fail(hosts[0], 3) // a late report for one that is gone
	if hosts[0].Ejected() {
		t.Error("a host that was gone was ejected")
	}
	if n := len(p.Hosts()); n != 3 {
		t.Errorf("%d hosts, want 3", n)
	}
}

// Errors of the other kind break a row of gateway errors, and count in their own.
func TestTwoKindsOfErrors(t *testing.T) {
	t.Parallel()
	p, hosts := pool(3)
	c := config()
	c.Consecutive5xxErrors = 5
	p.Configure(c)
	for _, outcome := range []outlier.Outcome{outlier.GatewayError, outlier.GatewayError, outlier.ServerError, outlier.GatewayError} {
		hosts[0].Report(outcome, false, time.Now())
	}
	if hosts[0].Ejected() {
		t.Fatal("ejected by two gateway errors in a row, or four errors")
	}
	hosts[0].Report(outlier.ServerError, false, time.Now())
	if !hosts[0].Ejected() {
		t.Fatal("not ejected by five errors in a row")
	}
}

// rates runs an interval of a hundred requests a host with so many successes each.
func rates(t *testing.T, c outlier.SuccessRate, successes ...int) []bool {
	t.Helper()
	out := make([]bool, len(successes))
	synctest.Test(t, func(*testing.T) {
		p, hosts := pool(len(successes))
		p.Configure(outlier.Config{
			Interval: 10 * time.Second, BaseEjection: time.Minute, MaxEjection: time.Minute, MaxEjectionPercent: 50, SuccessRate: c,
		})
		for i := range 100 {
			for j, h := range hosts {
				outcome := outlier.ServerError
				if i < successes[j] {
					outcome = outlier.Success
				}
				h.Report(outcome, false, time.Now())
			}
		}
		time.Sleep(11 * time.Second)
		hosts[0].Report(outlier.Success, false, time.Now())
		for j, h := range hosts {
			out[j] = h.Ejected()
		}
	})
	return out
}

func TestSuccessRate(t *testing.T) {
	t.Parallel()
	a50 := outlier.SuccessRate{StdevFactor: 1900, MinimumHosts: 5, RequestVolume: 100}
	tests := []struct {
		name      string
		config    outlier.SuccessRate
		successes []int
		want      []bool
	}{
		{"one far below", a50, []int{100, 99, 98, 100, 99, 60}, []bool{5: true}},
		{"all bad alike", a50, []int{50, 52, 48, 50, 51, 49}, make([]bool, 6)},
		{"too few hosts", a50, []int{100, 100, 100, 0}, make([]bool, 4)},
		{"too few requests", outlier.SuccessRate{StdevFactor: 1900, MinimumHosts: 5, RequestVolume: 200}, []int{100, 99, 98, 100, 99, 60}, make([]bool, 6)},
		{"off", outlier.SuccessRate{}, []int{100, 99, 98, 100, 99, 0}, make([]bool, 6)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := rates(t, test.config, test.successes...); !slices.Equal(got, test.want) {
				t.Errorf("ejected %v, want %v", got, test.want)
			}
		})
	}
}

func TestZeroNeverEjects(t *testing.T) {
	t.Parallel()
	p, hosts := pool(2)
	p.Configure(outlier.Config{})
	fail(hosts[0], 1000)
	if hosts[0].Ejected() {
		t.Error("ejected")
	}
}
