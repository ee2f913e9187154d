package load

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// phase is what was measured in one.
type phase struct {
	name      string
	took      time.Duration
	spent     time.Duration // processor time of the control plane
	hold      time.Duration // of its lock, the longest
	peak      uint64        // bytes of memory, since it started
	beats     uint64
	failed    uint64 // heartbeats, since the takeover
	calls     map[string]*latencies
	recovered int // replicas that were made anew
}

func (p *phase) processors() float64 { return p.spent.Seconds() / p.took.Seconds() }

// table is the phases beside each other, as Markdown.
func table(phases []phase) string {
	var b strings.Builder
	row := func(what string, cell func(*phase) string) {
		b.WriteString("| " + what + " |")
		for i := range phases {
			b.WriteString(" " + cell(&phases[i]) + " |")
		}
		b.WriteString("\n")
	}
	row("", func(p *phase) string { return p.name })
	b.WriteString("|---|" + strings.Repeat("--:|", len(phases)) + "\n")
	row("seconds", func(p *phase) string { return fmt.Sprintf("%.1f", p.took.Seconds()) })
	row("heartbeats in a second", func(p *phase) string {
		return fmt.Sprintf("%.0f", float64(p.beats)/p.took.Seconds())
	})
	row("processors", func(p *phase) string { return fmt.Sprintf("%.3f", p.processors()) })
	for _, kind := range kinds {
		row("`"+kind+"`, ms: p50, p99, longest", func(p *phase) string {
			l := p.calls[kind]
			text := fmt.Sprintf("%s, %s, %s", ms(l.quantile(0.5)), ms(l.quantile(0.99)),
				ms(l.quantile(1)))
			if l != nil && l.failed > 0 {
				text += fmt.Sprintf(" (%d failed)", l.failed)
			}
			return text
		})
	}
	row("the lock held at most, ms", func(p *phase) string { return ms(p.hold) })
	row("memory at most so far, MiB", func(p *phase) string {
		return fmt.Sprint(p.peak >> 20)
	})
	row("replicas made anew or moved", func(p *phase) string { return fmt.Sprint(p.recovered) })
	return b.String()
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()*1e3) }

// The table of a page is between these lines.
const (
	tableBegin = "<!-- control-load: begin -->\n"
	tableEnd   = "<!-- control-load: end -->"
)

// publish puts the table into a page.
func publish(page, text string) error {
	b, err := os.ReadFile(page)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	before, rest, ok := strings.Cut(string(b), tableBegin)
	_, after, ended := strings.Cut(rest, tableEnd)
	if !ok || !ended {
		return fmt.Errorf("load: %s has no place for the table, between %q and %q", page,
			strings.TrimSpace(tableBegin), tableEnd)
	}
	text = before + tableBegin + text + tableEnd + after
	if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	return nil
}
