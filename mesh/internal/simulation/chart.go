package simulation

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// Chart is a plot of curves. Its zero values scale both axes to what there is.
type Chart struct {
	Title, X, Y string
	Curves      []Curve
	// Log makes the y axis logarithmic.
	Log bool
}

// What a chart looks like, in pixels.
const (
	width, height            = 720, 380
	left, right, top, bottom = 64, 16, 64, 48
	legendLine               = 16
)

// palette tells up to five curves apart, for the colour-blind, too (Okabe and Ito).
func palette() []string { return []string{"#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7"} }

// SVG draws the chart.
func (c *Chart) SVG() []byte {
	var b strings.Builder
	x, y := c.axes()
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height+legendLine*len(c.Curves))
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/>`+"\n")
	fmt.Fprintf(&b, `<text x="%d" y="24" font-size="14">%s</text>`+"\n", left, html.EscapeString(c.Title))
	fmt.Fprintf(&b, `<text x="%d" y="48" fill="#555">%s</text>`+"\n", left, html.EscapeString(c.Y))
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end" fill="#555">%s</text>`+"\n", width-right, height-8, html.EscapeString(c.X))
	for _, tick := range y.ticks() {
		at := y.place(tick)
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left, at, width-right, left-6, at+4, number(tick))
	}
	for _, tick := range x.ticks() {
		at := x.place(tick)
		fmt.Fprintf(&b, `<path d="M%.1f %dv5" stroke="#555"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", at, height-bottom, at, height-bottom+18, number(tick))
	}
	for i, curve := range c.Curves {
		colour := palette()[i%len(palette())]
		b.WriteString(`<path fill="none" stroke-width="1.6" stroke="` + colour + `" d="`)
		for j, p := range curve.Points {
			fmt.Fprintf(&b, "%c%.1f %.1f", "ML"[min(j, 1)], x.place(p.X), y.place(p.Y))
		}
		b.WriteString(`"/>` + "\n")
		at := height + legendLine*i
		fmt.Fprintf(&b, `<path d="M%d %dh24" stroke-width="3" stroke="%s"/><text x="%d" y="%d">%s</text>`+"\n", left, at-4, colour, left+32, at, html.EscapeString(curve.Name))
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// axis maps values to places.
type axis struct {
	low, high float64
	from, to  float64 // places of low and high
	log       bool
}

func (c *Chart) axes() (x, y axis) {
	x = axis{low: math.Inf(1), high: math.Inf(-1), from: left, to: width - right}
	y = axis{low: math.Inf(1), high: math.Inf(-1), from: height - bottom, to: top, log: c.Log}
	for _, curve := range c.Curves {
		for _, p := range curve.Points {
			x.low, x.high = min(x.low, p.X), max(x.high, p.X)
			y.low, y.high = min(y.low, p.Y), max(y.high, p.Y)
		}
	}
	if c.Log {
		y.low, y.high = math.Pow(10, math.Floor(math.Log10(y.low))), math.Pow(10, math.Ceil(math.Log10(y.high)))
	} else {
		y.low = 0
	}
	return x, y
}

func (a *axis) place(v float64) float64 {
	part := (v - a.low) / (a.high - a.low)
	if a.log {
		part = math.Log(v/a.low) / math.Log(a.high/a.low)
	}
	return a.from + part*(a.to-a.from)
}

// ticks are round values along the axis.
func (a *axis) ticks() []float64 {
	var list []float64
	if a.log {
		for v := a.low; v <= a.high*1.001; v *= 10 {
			list = append(list, v)
		}
		return list
	}
	const about = 8
	step := math.Pow(10, math.Floor(math.Log10((a.high-a.low)/about)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if (a.high-a.low)/(step*factor) <= about {
			step *= factor
			break
		}
	}
	for i := math.Ceil(a.low / step); i*step <= a.high*1.001; i++ {
		list = append(list, i*step)
	}
	return list
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
