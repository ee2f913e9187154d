package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/schedule"
)

// row is a line of the table.
type row struct {
	name string
	of   func(w *world) string
}

var rows = []row{
	{"stores that died, and nodes with all of theirs", func(w *world) string {
		return fmt.Sprintf("%d, %d", w.tally.deadStores, w.tally.deadNodes)
	}},
	{"restarts of nodes", func(w *world) string { return fmt.Sprint(w.tally.restarts) }},
	{"copyset-hours with two of three replicas", hours(2)},
	{"with one (no majority: no I/O)", hours(1)},
	{"with none", hours(0)},
	{"part of the time that a copyset was whole", func(w *world) string {
		all := 0.0
		for _, h := range w.tally.hours {
			all += h
		}
		return fmt.Sprintf("%.4f %%", 100*w.tally.hours[replicas]/all)
	}},
	{"copysets whose majority died before it was replaced; of those lost",
		func(w *world) string { return fmt.Sprintf("%d; %d", w.tally.noMajority, w.tally.lost) }},
	{"from a store's death until its replicas were whole: median", recovery(0.5)},
	{"99 of 100", recovery(0.99)},
	{"the longest", recovery(1)},
	{"replicas moved to recover", moved(schedule.RecoverReplica)},
	{"for balance", moved(schedule.BalanceReplica)},
	{"replicas on the fullest store by the mean, at the end (99 of 100 have more than)",
		func(w *world) string {
			s := w.tally.courses[len(w.tally.courses)-1]
			return fmt.Sprintf("%.2f (%.2f)", s.high, s.low)
		}},
	{"leaders on the store with most, by the mean, at the end", func(w *world) string {
		return fmt.Sprintf("%.2f", w.leaders())
	}},
}

func hours(good int) func(*world) string {
	return func(w *world) string { return fmt.Sprintf("%.1f", w.tally.hours[good]) }
}

func recovery(q float64) func(*world) string {
	return func(w *world) string {
		return strings.TrimSuffix(w.tally.quantile(q).Round(time.Minute).String(), "0s")
	}
}

func moved(kind schedule.Kind) func(*world) string {
	return func(w *world) string {
		return fmt.Sprintf("%d, %.0f TiB", w.tally.begun[kind], w.tally.moved[kind]/(1<<40))
	}
}

// table lays the runs side by side, as Markdown.
func table(runs []*world) string {
	var b strings.Builder
	b.WriteString("| |")
	for _, w := range runs {
		fmt.Fprintf(&b, " %s |", w.cfg.name)
	}
	b.WriteString("\n|---|" + strings.Repeat("--:|", len(runs)) + "\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s |", r.name)
		for _, w := range runs {
			fmt.Fprintf(&b, " %s |", r.of(w))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// The table stands in the page between these lines.
const (
	tableBegins = "<!-- simulation: begin -->\n"
	tableEnds   = "<!-- simulation: end -->\n"
)

// publish puts the table into the page and the figure beside it.
func publish(page, text, figure string) error {
	raw, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(raw), tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !found || !ends {
		return fmt.Errorf("%s has no place for the table: want the lines %q and %q", page,
			tableBegins, tableEnds)
	}
	err = os.WriteFile(page, []byte(before+tableBegins+text+tableEnds+after), 0o644)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(filepath.Dir(page), "scheduling.svg"), []byte(figure), 0o644)
}
