package adaptive

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/portico-bff/portico/mesh/internal/histogram"
)

const (
	startLimit = 40 // the first one
	minSamples = 10 // of a window that changes the limit
	maxFalls   = 5  // in a row, before the base is doubted

	cut, growth = 0.5, 2.0 // bounds of the gradient
	follow      = 0.25     // how far the base goes towards a window that measures it
	telling     = 0.8      // a latency below this share of the base says that the base is wrong
)

// gradient finds the limit. It must be guarded outside.
//
// Only requests that began in a window count in it. So one window lasts at least as
// long as a request, and sees nothing but what the limit before it has led to.
type gradient struct {
	config   Config
	limit    float64
	base     time.Duration // zero: not known yet
	latency  time.Duration // of the last window
	measured time.Time     // when the base was
	due      time.Duration // after which it is measured again
	depth    int           // above zero this window measures the base, with the limit halved so often
	falls    int           // of the limit, in a row

	began time.Time // of the window
	count int       // samples in it
	peak  int       // requests at a time in it
	bound bool      // somebody had to wait in it
	took  histogram.Histogram
}

func newGradient(c Config, now time.Time) gradient {
	g := gradient{config: c, limit: startLimit, depth: 1, began: now, measured: now}
	g.configure(c)
	return g
}

func (g *gradient) configure(c Config) {
	g.config = c
	g.limit = g.clamp(g.limit)
	g.schedule()
}

func (g *gradient) clamp(limit float64) float64 {
	return min(max(limit, float64(g.config.MinLimit)), float64(g.config.MaxLimit))
}

// schedule says when the base is measured next.
func (g *gradient) schedule() {
	g.due = g.config.Interval + time.Duration(rand.Float64()*g.config.Jitter*float64(g.config.Interval)) //nolint:gosec // spreads load, no secret
}

// allowed is how many requests may run at a time now.
func (g *gradient) allowed() int {
	return max(g.config.MinLimit, int(g.limit)>>g.depth)
}

// observe takes a request that ends now.
func (g *gradient) observe(took time.Duration, now time.Time) {
	if now.Add(-took).Before(g.began) {
		return
	}
	g.took.Add(took)
	g.count++
}

// turn ends the window if it is time; so many requests run now.
func (g *gradient) turn(running int, now time.Time) {
	need := min(g.config.Samples, max(minSamples, int(g.limit)))
	if g.depth > 0 {
		need = min(g.config.Samples, max(minSamples, 5*g.allowed()))
		if g.count == 0 && running > g.allowed() {
			g.began = now // those from before the dip are still under way
			return
		}
	}
	if g.count < need || now.Sub(g.began) < g.config.Window {
		return
	}
	g.latency = g.took.Percentile(g.config.Percentile)
	light := g.peak <= max(g.config.MinLimit, int(g.limit/2))
	wrong := g.base == 0 || float64(g.latency) < telling*float64(g.base)
	switch {
	case g.depth > 0:
		g.base, g.falls = g.latency, 0
		g.settle(now)
		if wrong && g.allowed() > g.config.MinLimit {
			g.depth++ // the server may have been busy even so
		} else {
			g.depth = 0
		}
	case light:
		g.approach()
		g.settle(now)
	default:
		if g.latency < g.base {
			g.approach()
		}
		g.step()
		if wrong || g.falls >= maxFalls || now.Sub(g.measured) > g.due {
			g.depth = 1
		}
	}
	g.began, g.count, g.peak, g.bound = now, 0, running, false
	g.took = histogram.Histogram{}
}

// settle notes that the base has been measured.
func (g *gradient) settle(now time.Time) {
	g.measured = now
	g.schedule()
}

// approach takes the base some way to this window's latency.
func (g *gradient) approach() {
	g.base += time.Duration(follow * float64(g.latency-g.base))
}

// step changes the limit by what the window has seen. A limit that nobody has met says
// nothing about a greater one.
func (g *gradient) step() {
	slope := (1 + g.config.Buffer) * float64(g.base) / float64(g.latency)
	next := g.limit * min(max(slope, cut), growth)
	next = g.clamp(next + math.Sqrt(next))
	switch {
	case next < g.limit || next == float64(g.config.MinLimit):
		g.falls++
		g.limit = next
	case g.bound:
		g.falls = 0
		g.limit = next
	}
}
