package page

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// The size of a chart, and of its edges, in the units of its drawing.
const (
	wide, high               = 720.0, 380.0
	left, right, top, bottom = 64.0, 16.0, 16.0, 44.0
)

// mark is one point of a line.
type mark struct {
	x, y  float64
	label string // beside it
	told  string // when the pointer is over it
}

// line is one curve.
type line struct {
	name   string
	marks  []mark
	dashed bool
	colour int
}

// axis maps values to a drawing.
type axis struct {
	title     string
	low, high float64
	log       bool
	from, to  float64 // of the drawing
	ticks     []float64
	text      func(float64) string
}

func newAxis(title string, values []float64, log bool, text func(float64) string) *axis {
	a := &axis{title: title, log: log, text: text}
	for i, v := range values {
		if i == 0 || v < a.low {
			a.low = v
		}
		a.high = max(a.high, v)
	}
	if log {
		a.low, a.high = max(a.low/1.3, 1e-3), max(a.high*1.3, 1e-2)
		for decade := math.Floor(math.Log10(a.low)); decade <= math.Log10(a.high); decade++ {
			for _, m := range []float64{1, 2, 5} {
				if t := m * math.Pow(10, decade); t >= a.low && t <= a.high {
					a.ticks = append(a.ticks, t)
				}
			}
		}
		return a
	}
	a.low, a.high = 0, max(a.high*1.05, 1e-9)
	unit := math.Pow(10, math.Floor(math.Log10(a.high/5)))
	for _, m := range []float64{1, 2, 5, 10} {
		if a.high/(m*unit) <= 7 {
			unit *= m
			break
		}
	}
	for t := 0.0; t <= a.high; t += unit {
		a.ticks = append(a.ticks, t)
	}
	return a
}

func (a *axis) at(v float64) float64 {
	low, high := a.low, a.high
	if a.log {
		v, low, high = math.Log(max(v, low)), math.Log(low), math.Log(high)
	}
	return a.from + (v-low)/(high-low)*(a.to-a.from)
}

// draw makes the SVG of lines on two axes.
func draw(x, y *axis, lines []line) string {
	x.from, x.to = left, wide-right
	y.from, y.to = high-bottom, top
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %.0f %.0f" role="img">`, wide, high)
	for _, t := range x.ticks {
		at := x.at(t)
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, at, top, at,
			high-bottom)
		fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, at,
			high-bottom+16, html.EscapeString(x.text(t)))
	}
	for _, t := range y.ticks {
		at := y.at(t)
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, left, at,
			wide-right, at)
		fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%.1f" text-anchor="end">%s</text>`, left-6,
			at+4, html.EscapeString(y.text(t)))
	}
	fmt.Fprintf(&b, `<text class="axis" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`,
		(left+wide-right)/2, high-6, html.EscapeString(x.title))
	fmt.Fprintf(&b, `<text class="axis" transform="rotate(-90)" x="%.1f" y="14" `+
		`text-anchor="middle">%s</text>`, -(top+high-bottom)/2, html.EscapeString(y.title))
	for _, l := range lines {
		l.draw(&b, x, y)
	}
	b.WriteString("</svg>")
	return b.String()
}

func (l *line) draw(b *strings.Builder, x, y *axis) {
	var path []string
	for _, m := range l.marks {
		path = append(path, fmt.Sprintf("%.1f,%.1f", x.at(m.x), y.at(m.y)))
	}
	class := fmt.Sprintf("line c%d", l.colour%colours)
	if l.dashed {
		class += " dashed"
	}
	fmt.Fprintf(b, `<polyline class="%s" points="%s"/>`, class, strings.Join(path, " "))
	for _, m := range l.marks {
		fmt.Fprintf(b, `<circle class="mark c%d" cx="%.1f" cy="%.1f" r="3.5"><title>%s</title>`+
			`</circle>`, l.colour%colours, x.at(m.x), y.at(m.y), html.EscapeString(m.told))
		if m.label != "" {
			fmt.Fprintf(b, `<text class="label" x="%.1f" y="%.1f">%s</text>`, x.at(m.x)+5,
				y.at(m.y)-5, html.EscapeString(m.label))
		}
	}
}

// legend names the lines.
func legend(lines []line) string {
	var b strings.Builder
	b.WriteString(`<p class="legend">`)
	for _, l := range lines {
		style := ""
		if l.dashed {
			style = " dashed"
		}
		fmt.Fprintf(&b, `<span><i class="c%d%s"></i>%s</span> `, l.colour%colours, style,
			html.EscapeString(l.name))
	}
	b.WriteString("</p>")
	return b.String()
}

// count writes 12000 as 12k.
func count(v float64) string { return scaled(v, "", "k", "M") }

// micro writes us as people say them.
func micro(v float64) string { return scaled(v, " us", " ms", " s") }

// scaled writes three digits of a figure in ones, thousands or millions, with the name of each.
func scaled(v float64, ones, thousands, millions string) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 3, 64) + millions
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'g', 3, 64) + thousands
	}
	return strconv.FormatFloat(v, 'g', 3, 64) + ones
}
