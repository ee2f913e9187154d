package sim

import (
	"fmt"
	"math"
	"strings"
)

// The size of the drawing and of its panels.
const (
	wide, high      = 760, 420
	left, right     = 64, 16
	panelHigh       = 150
	topLoad, topRed = 40, 240
)

// draw shows the course of a run: how even the stores were, and how many copysets were short of a
// replica.
func draw(w *world) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" `+
		`font-family="sans-serif" font-size="12">`+"\n", wide, high)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", wide, high)
	c := w.tally.courses
	lo, hi := 1.0, 1.0
	most := 1.0
	for _, s := range c {
		lo, hi = min(lo, s.low), max(hi, s.high)
		most = max(most, float64(s.short))
	}
	lo, hi = math.Floor(lo*5)/5, math.Ceil(hi*5)/5
	days := float64(w.cfg.days)
	load := panel{&b, topLoad, lo, hi, days, false}
	load.frame("replicas by the mean: the fullest store, and what 99 of 100 exceed", "%.1f",
		lo, 1, hi)
	load.line(c, "#b5442e", func(s sample) float64 { return s.high })
	load.line(c, "#2e6fb5", func(s sample) float64 { return s.low })
	decades := math.Ceil(math.Log10(most))
	short := panel{&b, topRed, 0, decades, days, true}
	var ticks []float64
	for d := range int(decades) + 1 {
		ticks = append(ticks, float64(d))
	}
	short.frame("the most copysets short of a replica within 3 hours (logarithmic)", "%.0f",
		ticks...)
	short.line(c, "#444444", func(s sample) float64 { return math.Log10(max(1, float64(s.short))) })
	for _, m := range []struct {
		day  int
		text string
	}{{w.cfg.addDay, fmt.Sprintf("%d nodes added", w.cfg.addNodes)},
		{w.cfg.outageDay, "a zone without power"}} {
		if m.day > 0 {
			x := load.x(float64(m.day))
			fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#999" `+
				`stroke-dasharray="3 3"/>`+"\n", x, topLoad, x, topRed+panelHigh)
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" fill="#666">%s</text>`+"\n", x+4,
				topLoad+panelHigh-8, m.text)
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// panel is one of the drawings above each other.
type panel struct {
	b        *strings.Builder
	top      float64
	low, up  float64
	days     float64
	powersOf bool // the values are logarithms
}

func (p panel) x(day float64) float64 { return left + day/p.days*(wide-left-right) }

func (p panel) y(v float64) float64 {
	return p.top + panelHigh*(1-(v-p.low)/max(p.up-p.low, 1e-9))
}

func (p panel) frame(title, form string, ticks ...float64) {
	fmt.Fprintf(p.b, `<text x="%d" y="%.0f" font-weight="bold">%s</text>`+"\n", left, p.top-10,
		title)
	for _, v := range ticks {
		shown := v
		if p.powersOf {
			shown = math.Pow(10, v)
		}
		fmt.Fprintf(p.b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/>`+"\n", left,
			p.y(v), wide-right, p.y(v))
		fmt.Fprintf(p.b, `<text x="%d" y="%.1f" text-anchor="end">`+form+"</text>\n", left-8,
			p.y(v)+4, shown)
	}
	for d := 0.0; d <= p.days; d += 30 {
		fmt.Fprintf(p.b, `<text x="%.1f" y="%.0f" text-anchor="middle">day %.0f</text>`+"\n",
			p.x(d), p.top+panelHigh+16, d)
	}
}

// line draws the samples, those of a pixel's width as one stroke from the least to the most.
func (p panel) line(c []sample, colour string, of func(sample) float64) {
	var points []string
	for _, s := range c {
		points = append(points, fmt.Sprintf("%.1f,%.1f", p.x(s.at.Hours()/24), p.y(of(s))))
	}
	fmt.Fprintf(p.b, `<polyline fill="none" stroke="%s" stroke-width="1" points="%s"/>`+"\n",
		colour, strings.Join(points, " "))
}
