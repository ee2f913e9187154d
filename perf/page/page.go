package page

import (
	"cmp"
	"fmt"
	"html"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
)

// colours is how many lines differ in colour; further ones begin again.
const colours = 8

const style = `:root{--paper:#fff;--ink:#1b1f24;--soft:#5b6672;--grid:#e3e7eb}
@media(prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e6e9ec;--soft:#9aa5b1;
--grid:#2a3036}}
body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;margin:0 auto;
max-width:60rem;padding:1.5rem 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}
p,figcaption{color:var(--soft)}figure{margin:0;overflow-x:auto}
svg{width:100%;min-width:34rem;height:auto;display:block}
.grid{stroke:var(--grid)}.tick,.label{font-size:11px;fill:var(--soft)}
.axis{font-size:12px;fill:var(--ink)}.line{fill:none;stroke:currentColor;stroke-width:2}
.dashed.line{stroke-dasharray:5 4}.mark{fill:currentColor}
.c0{color:#3b6fd4}.c1{color:#d1672b}.c2{color:#2f9268}.c3{color:#b04a98}.c4{color:#8a7a1f}
.c5{color:#c43d4b}.c6{color:#2592ab}.c7{color:#7a6bd0}
.legend span{margin-right:1rem;white-space:nowrap}
.legend i{display:inline-block;width:1.4rem;margin-right:.35rem;vertical-align:middle;
border-top:3px solid currentColor}.legend i.dashed{border-top-style:dashed}
.bar{fill:currentColor}.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;white-space:nowrap}
th,td{padding:.25rem .7rem;border-bottom:1px solid var(--grid);text-align:right}
th:first-child,td:first-child{text-align:left}`

// HTML is the page.
func (d *Data) HTML(title string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"+
		"<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"+
		"<title>%[1]s</title><style>%[2]s</style></head><body>\n<h1>%[1]s</h1>\n",
		html.EscapeString(title), style)
	for _, m := range d.machines {
		fmt.Fprintf(&b, "<p>%s</p>\n", html.EscapeString(m))
	}
	d.curves(&b)
	d.percentileChart(&b, "read")
	d.percentileChart(&b, "write")
	d.stageChart(&b)
	d.costChart(&b)
	d.table(&b)
	b.WriteString("</body></html>\n")
	return []byte(b.String())
}

func section(b *strings.Builder, title, caption, svg, legend string) {
	fmt.Fprintf(b, "<h2>%s</h2>\n<figure>%s%s<figcaption>%s</figcaption></figure>\n",
		html.EscapeString(title), legend, svg, html.EscapeString(caption))
}

// byCurve groups points that differ by depth alone, in the order of the documents.
func (d *Data) byCurve() (names []string, of map[string][]*point) {
	of = map[string][]*point{}
	for _, p := range d.points {
		name := p.curve()
		if of[name] == nil {
			names = append(names, name)
		}
		of[name] = append(of[name], p)
	}
	for _, list := range of {
		slices.SortStableFunc(list, func(a, b *point) int { return cmp.Compare(a.depth, b.depth) })
	}
	return names, of
}

// curves draws latency against rate, for each direction.
func (d *Data) curves(b *strings.Builder) {
	names, of := d.byCurve()
	for _, direction := range []string{"read", "write"} {
		var lines []line
		var xs, ys []float64
		for _, name := range names {
			mid := line{name: name + ", p50", colour: len(lines) / 2}
			tail := line{name: name + ", p99", colour: len(lines) / 2, dashed: true}
			for _, p := range of[name] {
				low, far := p.percentiles[50], p.percentiles[99]
				if p.direction != direction || low <= 0 || far <= 0 {
					continue
				}
				told := fmt.Sprintf("%s, depth %d: %s IOPS, p50 %s, p99 %s", p.name, p.depth,
					count(p.iops), micro(low), micro(far))
				mid.marks = append(mid.marks, mark{p.iops, low, fmt.Sprint(p.depth), told})
				tail.marks = append(tail.marks, mark{p.iops, far, "", told})
				xs, ys = append(xs, p.iops), append(ys, low, far)
			}
			if len(mid.marks) > 0 {
				lines = append(lines, mid, tail)
			}
		}
		if len(lines) == 0 {
			continue
		}
		x := newAxis("IOPS", xs, false, count)
		y := newAxis("latency", ys, true, micro)
		section(b, "Latency against rate: "+direction+"s", "Each point is a job; the number "+
			"beside it is how many operations were under way. Solid is p50, dashed p99.",
			draw(x, y, lines), legend(lines))
	}
}

// percentileChart draws the percentiles of every job of a direction, the tail wide.
func (d *Data) percentileChart(b *strings.Builder, direction string) {
	var lines []line
	var xs, ys []float64
	for _, p := range d.points {
		if p.direction != direction {
			continue
		}
		l := line{name: p.file + ": " + p.name, colour: len(lines),
			dashed: len(lines)/colours%2 == 1}
		list := slices.Collect(maps.Keys(p.percentiles))
		sort.Float64s(list)
		for _, q := range list {
			v := p.percentiles[q]
			if q >= 100 || v <= 0 {
				continue
			}
			x := 1 / (1 - q/100)
			told := fmt.Sprintf("%s: p%v %s", l.name, q, micro(v))
			l.marks = append(l.marks, mark{x, v, "", told})
			xs, ys = append(xs, x), append(ys, v)
		}
		if len(l.marks) > 0 {
			lines = append(lines, l)
		}
	}
	if len(lines) == 0 {
		return
	}
	x := newAxis("percentile", xs, true, func(v float64) string { return "p" + share(v) })
	x.ticks = slices.DeleteFunc([]float64{2, 10, 100, 1000, 10000},
		func(t float64) bool { return t < x.low || t > x.high })
	section(b, "Percentiles: "+direction+"s", "How long operations took, slowest at the right.",
		draw(x, newAxis("latency", ys, true, micro), lines), legend(lines))
}

// share is the percentile that 1 of v operations passes.
func share(v float64) string {
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.2f", 100-100/v), "0"), ".")
}

// stack is one bar of a chart, in pieces.
type stack struct {
	label  string
	pieces map[string]float64 // by their name, in us
}

func (s *stack) total() (sum float64) {
	for _, v := range s.pieces {
		sum += v
	}
	return sum
}

// stackChart draws bars, and a legend of their pieces in the order of names.
func stackChart(b *strings.Builder, title, caption string, names []string, all []stack) {
	most := 0.0
	for i := range all {
		most = math.Max(most, all[i].total())
	}
	if most == 0 {
		return
	}
	const row, label, bar = 26.0, 190.0, 450.0
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg viewBox="0 0 %.0f %.0f" role="img">`, wide, row*float64(len(all)))
	for i := range all {
		y, x := float64(i)*row, label
		fmt.Fprintf(&svg, `<text class="tick" x="%.1f" y="%.1f" text-anchor="end">%s</text>`,
			label-8, y+17, html.EscapeString(all[i].label))
		for k, name := range names {
			w := all[i].pieces[name] / most * bar
			fmt.Fprintf(&svg, `<rect class="bar c%d" x="%.1f" y="%.1f" width="%.1f" height="18">`+
				`<title>%s: %.1f us</title></rect>`, k%colours, x, y+4, w, html.EscapeString(name),
				all[i].pieces[name])
			x += w
		}
		fmt.Fprintf(&svg, `<text class="tick" x="%.1f" y="%.1f">%s</text>`, x+6, y+17,
			html.EscapeString(micro(all[i].total())))
	}
	svg.WriteString("</svg>")
	var lines []line
	for k, name := range names {
		lines = append(lines, line{name: name, colour: k})
	}
	section(b, title, caption, svg.String(), legend(lines))
}

// costChart draws the CPU time of an operation by process, as bars.
func (d *Data) costChart(b *strings.Builder) {
	var all []stack
	processes := map[string]bool{}
	for _, p := range d.points {
		if p.cost == nil || p.cost.TotalCPU <= 0 {
			continue
		}
		all = append(all, stack{p.name + " " + p.direction, p.cost.CPU})
		for name := range p.cost.CPU {
			processes[name] = true
		}
	}
	stackChart(b, "CPU time of an operation", "By process; client is the one that made the load. "+
		"Jobs that ran together share it.", slices.Sorted(maps.Keys(processes)), all)
}

// stageChart draws where operations spent their time inside the nodes, in the mean.
func (d *Data) stageChart(b *strings.Builder) {
	var all []stack
	var names []string
	for _, p := range d.points {
		if p.cost == nil {
			continue
		}
		s := stack{p.name + " " + p.direction, map[string]float64{}}
		for _, t := range p.cost.Stages {
			if t.Op != p.direction {
				continue
			}
			s.pieces[t.Stage] = t.Mean
			if !slices.Contains(names, t.Stage) {
				names = append(names, t.Stage)
			}
		}
		if len(s.pieces) > 0 {
			all = append(all, s)
		}
	}
	stackChart(b, "Time inside the nodes, by stage", "The mean of each stage, over the operations "+
		"that were in it; the way through the client, the network and the sockets is not in it.",
		names, all)
}

// table lists every figure.
func (d *Data) table(b *strings.Builder) {
	b.WriteString("<h2>Figures</h2>\n<div class=\"scroll\"><table><tr><th>job</th><th>depth</th>" +
		"<th>runs</th><th>IOPS</th><th>MiB/s</th><th>mean</th><th>p50</th><th>p99</th>" +
		"<th>p99.9</th><th>against the floor</th><th>CPU/op</th></tr>\n")
	for _, p := range d.points {
		efficiency, cpu := "", ""
		for _, a := range p.efficiency {
			efficiency = fmt.Sprintf("%.2f x latency", a.Ratio)
			if a.Unit == "IOPS" {
				efficiency = fmt.Sprintf("%.2f of the rate", a.Ratio)
			}
		}
		if p.cost != nil {
			cpu = micro(p.cost.TotalCPU)
		}
		cell := func(q float64) string {
			if v, ok := p.percentiles[q]; ok {
				return micro(v)
			}
			return ""
		}
		fmt.Fprintf(b, "<tr><td>%s</td><td>%d</td><td>%d</td><td>%.0f</td><td>%.1f</td><td>%s</td>"+
			"<td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n",
			html.EscapeString(p.file+": "+p.name+" "+p.direction), p.depth, p.runs, p.iops,
			p.bandwidth/(1<<20), micro(p.mean), cell(50), cell(99), cell(99.9), efficiency, cpu)
	}
	b.WriteString("</table></div>\n")
}
