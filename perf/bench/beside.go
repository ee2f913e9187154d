package main

import (
	"fmt"
	"strings"
)

// mbps is the bandwidth of operations of so many bytes, in 10^6 bytes a second.
func mbps(size int) func(*sample) float64 {
	return func(s *sample) float64 { return s.IOPS * float64(size) / 1e6 }
}

// peers are those that took part, each as if it could do all jobs.
func (r *results) peers() (out []peer) {
	for _, name := range r.Peers {
		out = append(out, peer{name: name, options: []string{numberMark}})
	}
	return out
}

// cases are those that were measured.
func (r *results) cases() (out []benchCase) {
	for _, c := range cases(r.peers()) {
		if len(r.of(c.name, p50)) > 0 {
			out = append(out, c)
		}
	}
	return out
}

// figure is what a job is judged by: the time of one operation, or how many there are in a second.
type figure struct {
	name  string
	of    func(*sample) float64
	lower bool // is better
}

func (c *benchCase) figure() figure {
	switch {
	case c.depth == 1:
		return figure{"p50 us", p50, true}
	case c.volumes > 0:
		return figure{"p99.9 us", p999, true}
	case c.block > block:
		return figure{"MB/s", mbps(c.block), false}
	}
	return figure{"IOPS", iops, false}
}

// beside is the table of everybody's figure for each job.
func (r *results) beside(b *strings.Builder) {
	who := all(r.peers())
	var rows []benchCase
	for _, c := range r.cases() {
		if c.who == byNative && (!c.main() || len(r.Peers) > 0) {
			rows = append(rows, c)
		}
	}
	if len(rows) == 0 {
		return
	}
	b.WriteString("\n### Further jobs, and the peers\n\n| job | figure |")
	for _, w := range who {
		b.WriteString(" " + whose(w) + " |")
	}
	b.WriteString("\n|---|---|" + strings.Repeat("--:|", len(who)) + "\n")
	for _, c := range rows {
		f := c.figure()
		fmt.Fprintf(b, "| %s | %s |", c.job(), f.name)
		for _, w := range who {
			b.WriteString(" " + r.cell(&c, w, f) + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\nIn brackets behind each figure: how many times as good Ashlar's native " +
		"client was in the same round.\n")
}

func (r *results) cell(c *benchCase, who string, f figure) string {
	name := c.like(who)
	got := r.of(name, f.of)
	if len(got) == 0 {
		return ""
	}
	text := group(fmt.Sprintf("%.0f", spreadOf(got).mid))
	if who == byNative {
		return "**" + text + "**"
	}
	times := ratios(r.of(c.name, f.of), got)
	if f.lower {
		times = ratios(got, r.of(c.name, f.of))
	}
	return fmt.Sprintf("%s (%.2f x)", text, spreadOf(times).mid)
}

func whose(who string) string {
	switch who {
	case onRaw:
		return "raw file, one copy"
	case byNative:
		return "Ashlar, native"
	case byOwnNBD, byNBD:
		return "Ashlar, NBD, " + doorClients[who]
	}
	return who
}

// job says what a case does.
func (c *benchCase) job() string {
	op, order := "read", "random"
	if c.write {
		op = "durable write"
	}
	if c.inOrder {
		order = "in order"
	}
	text := fmt.Sprintf("%d KiB %s, %s, QD%d", c.block>>10, op, order, c.depth)
	if c.volumes > 0 {
		text += fmt.Sprintf(" on each of %d volumes", c.volumes)
	}
	return text
}
