package simulation

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/portico-bff/portico/mesh/internal/budget"
	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/picker"
	"github.com/portico-bff/portico/mesh/internal/policy"
)

// Curve is one way to do it: its name, what was counted, and points to plot.
type Curve struct {
	Name   string
	Points []Point
	// Figures are what findings speak of.
	Figures map[string]float64
}

// Point is one of a curve.
type Point struct{ X, Y float64 }

// neverEject judges nobody.
func neverEject() outlier.Config { return outlier.Config{} }

// ejects is the mesh's default.
func ejects() outlier.Config { return policy.DefaultDestination().Outlier }

// Spread balances requests over endpoints that are busy for 60 % of the time, of which
// one in twenty takes ten times as long, and compares how long requests take. A client
// knows what it has seen itself, so the last way makes do with a tenth of the clients,
// each ten times as busy.
func Spread(size Size) []Curve {
	const every, slow = 20, 10.0
	var curves []Curve
	for _, way := range []struct {
		algorithm picker.Algorithm
		part      int
	}{{picker.Random, 1}, {picker.RoundRobin, 1}, {picker.LeastRequest, 1}, {picker.PeakEWMA, 1}, {picker.PeakEWMA, 10}} {
		name := way.algorithm.String()
		if way.part > 1 {
			name += " with a tenth of the clients"
		}
		w := world{
			Size: Size{Clients: max(zones, size.Clients/way.part), Endpoints: size.Endpoints}, Rate: 60, Service: 10 * time.Millisecond, Timeout: 2 * time.Second, Length: 20 * time.Second,
			Balance: picker.Config{Algorithm: way.algorithm}, Outlier: neverEject(),
			Fate: func(endpoint int, _ time.Duration) (float64, bool) {
				if endpoint%every == 0 {
					return slow, false
				}
				return 1, false
			},
		}
		o := w.run()
		total := o.total()
		c := Curve{Name: name, Figures: map[string]float64{
			"p50 ms": o.percentile(50), "p95 ms": o.percentile(95), "p99 ms": o.percentile(99),
			"failed %": 100 * float64(total.Failed) / float64(total.Requests),
			"slow %":   o.share(func(endpoint int) bool { return endpoint%every == 0 }),
		}}
		for p := 50.0; p < 100; p += 0.25 {
			c.Points = append(c.Points, Point{X: p, Y: o.percentile(p)})
		}
		curves = append(curves, c)
	}
	return curves
}

// Storm makes all endpoints take four times as long for three seconds, while they are
// busy for 70 % of the time otherwise. Requests are given up after a quarter of a
// second, and made again up to three times. It compares how many attempts there are
// for a request, and how many requests succeed, with budgets and without.
func Storm(size Size) []Curve {
	const from, to = 5 * time.Second, 8 * time.Second
	ways := []struct {
		name     string
		attempts int
		budget   *budget.Config
	}{
		{"no retries", 0, nil},
		{"3 retries, no budget", 3, nil},
		{"3 retries, budget 20 %", 3, &budget.Config{Ratio: 0.2, TTL: 10 * time.Second}},
		{"3 retries, budget 20 % + 10/s for each client", 3, &budget.Config{Ratio: 0.2, MinPerSecond: 10, TTL: 10 * time.Second}},
	}
	var curves []Curve
	for _, way := range ways {
		w := world{
			Size: size, Rate: 70, Service: 10 * time.Millisecond, Timeout: 250 * time.Millisecond, Length: 20 * time.Second,
			Queue:   time.Second,
			Balance: picker.Config{Algorithm: picker.LeastRequest}, Outlier: neverEject(), Attempts: way.attempts, Budget: way.budget,
			Fate: func(_ int, at time.Duration) (float64, bool) {
				if at >= from && at < to {
					return 4, false
				}
				return 1, false
			},
		}
		o := w.run()
		during, after := o.between(from+time.Second, to), o.between(15*time.Second, 18*time.Second)
		c := Curve{Name: way.name, Figures: map[string]float64{
			"attempts x":       float64(during.Attempts) / float64(during.Requests),
			"succeed during %": 100 * float64(during.Succeeded) / float64(during.Requests),
			"succeed after %":  100 * float64(after.Succeeded) / float64(after.Requests),
		}}
		c.Points = o.plot(func(n Counts) float64 { return 100 * float64(n.Succeeded) / float64(max(1, n.Requests)) })
		curves = append(curves, c)
	}
	return curves
}

// Cascade makes all endpoints fail for eight seconds, while they have work for 60 % of
// the time and refuse what would wait for more than a twentieth of a second. Clients
// eject what fails, for half a minute, and compare bounds of that when all is well
// again: who has too few endpoints left overloads them, and ejects those, too. There
// are a fifth of the clients, each five times as busy, since who calls an endpoint only
// now and then hardly notices that it fails.
func Cascade(size Size) []Curve {
	size.Clients = max(1, size.Clients/5)
	const from, to = 2 * time.Second, 10 * time.Second
	all := ejects()
	all.MaxEjectionPercent = 100
	ways := []struct {
		name          string
		outlier       outlier.Config
		minimumHealth int
	}{
		{"no ejection", neverEject(), 0},
		{"maxEjectionPercent 50, the default", ejects(), 0},
		{"maxEjectionPercent 100", all, 0},
		{"the same, minHealthPercent 50", all, 50},
	}
	var curves []Curve
	for _, way := range ways {
		w := world{
			Size: size, Rate: 240, Service: 2500 * time.Microsecond, Queue: 50 * time.Millisecond, Timeout: time.Second, Length: 16 * time.Second,
			Balance: picker.Config{Algorithm: picker.LeastRequest, MinHealthPercent: way.minimumHealth}, Outlier: way.outlier,
			Attempts: 2, Budget: &budget.Config{Ratio: 0.2, TTL: 10 * time.Second},
			Fate: func(_ int, at time.Duration) (float64, bool) { return 1, at >= from && at < to },
		}
		o := w.run()
		end := o.between(to+time.Second, to+5*time.Second)
		least := 1.0
		for _, n := range o.intervals[:len(o.intervals)-1] {
			least = min(least, n.InUse)
		}
		c := Curve{Name: way.name, Figures: map[string]float64{
			"succeed after %": 100 * float64(end.Succeeded) / float64(end.Requests), "least in use %": 100 * least,
		}}
		c.Points = o.plot(func(n Counts) float64 { return 100 * float64(n.Succeeded) / float64(max(1, n.Requests)) })
		curves = append(curves, c)
	}
	return curves
}

// Reconnect restarts the service that a thousand clients are connected to: it is away
// for a while, and each client tries again after the mesh's backoff. It compares how
// many try in the same tenth of a second, with chance in the backoff and without.
func Reconnect(size Size) []Curve {
	const away, length = 30 * time.Second, 60 * time.Second
	var curves []Curve
	for _, way := range []struct {
		name   string
		jitter float64
	}{{"no jitter", 0}, {"jitter 0.2, the mesh's", 0.2}} {
		chance := rand.New(newRandom(0)).Float64 //nolint:gosec // to be repeated
		bins := make([]float64, int(length/reconnectBin))
		last := 0.0
		for range size.Clients {
			wait := backoffBase // before the second attempt; the first is at once
			for at := time.Duration(0); at < length; {
				bins[int(at/reconnectBin)]++
				if at >= away {
					last = max(last, (at - away).Seconds())
					break
				}
				at += time.Duration(float64(wait) * (1 + way.jitter*(2*chance()-1)))
				wait = min(backoffMost, time.Duration(float64(wait)*backoffGrowth))
			}
		}
		c := Curve{Name: way.name, Figures: map[string]float64{"last back s": last}}
		for i, n := range bins {
			if at := time.Duration(i) * reconnectBin; at >= away {
				c.Figures["peak at return"] = max(c.Figures["peak at return"], n)
			}
			c.Points = append(c.Points, Point{X: (time.Duration(i) * reconnectBin).Seconds(), Y: n})
		}
		curves = append(curves, c)
	}
	return curves
}

// The backoff between connections of package mesh.
const (
	backoffBase   = 200 * time.Millisecond
	backoffGrowth = 1.6
	backoffMost   = 10 * time.Second
	reconnectBin  = 100 * time.Millisecond
)

// total sums everything up.
func (o *outcome) total() Counts { return o.between(0, math.MaxInt64) }

// between sums up what happened from one time to another.
func (o *outcome) between(from, to time.Duration) Counts {
	var sum Counts
	for i, n := range o.intervals {
		if at := time.Duration(i) * Interval; at >= from && at < to {
			sum.Requests += n.Requests
			sum.Attempts += n.Attempts
			sum.Succeeded += n.Succeeded
			sum.Failed += n.Failed
		}
	}
	return sum
}

// plot is something of each interval, but for the last, whose requests have not ended.
func (o *outcome) plot(value func(Counts) float64) []Point {
	const unfinished = int(time.Second / Interval)
	points := make([]Point, len(o.intervals)-1-unfinished)
	for i := range points {
		points[i] = Point{X: (time.Duration(i) * Interval).Seconds(), Y: value(o.intervals[i])}
	}
	return points
}

// percentile is a time in milliseconds.
func (o *outcome) percentile(p float64) float64 {
	if len(o.took) == 0 {
		return 0
	}
	return float64(o.took[int(p/100*float64(len(o.took)-1))].Microseconds()) / 1e3
}

// share is which part of all attempts went to some endpoints, in percent.
func (o *outcome) share(of func(endpoint int) bool) float64 {
	some, all := 0, 0
	for i, n := range o.attempts {
		all += n
		if of(i) {
			some += n
		}
	}
	return 100 * float64(some) / float64(all)
}
