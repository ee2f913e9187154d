package main

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/ashlar-storage/ashlar/internal/evidence"
)

var (
	from  = flag.String("from", "bin/evidence", "folder that the lanes wrote to")
	page  = flag.String("page", "docs/reliability.md", "the page to rewrite")
	check = flag.Bool("check", false, "only look whether every lane left something")
)

// promises is how many the page states, as P1 and so on.
const promises = 13

// lanes are the make targets that leave evidence.
var lanes = []string{"crash", "corrupt", "fuzz", "mutants", "kernel", "power", "faults",
	"nemesis", "sim"}

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "reliability:", err)
		os.Exit(1)
	}
}

func run() error {
	items, err := load(*from)
	if err != nil {
		return err
	}
	for _, lane := range lanes {
		if !slices.ContainsFunc(items, func(i evidence.Item) bool { return i.Lane == lane }) {
			return fmt.Errorf("lane %s left nothing in %s: run `make %s` with EVIDENCE=%s", lane,
				*from, lane, *from)
		}
	}
	if *check {
		return nil
	}
	text, err := os.ReadFile(*page)
	if err != nil {
		return err
	}
	for name, table := range map[string]string{"promises": promiseTable(items),
		"bugs": bugTable(items)} {
		if text, err = replace(text, name, table); err != nil {
			return fmt.Errorf("%s: %w", *page, err)
		}
	}
	return os.WriteFile(*page, text, 0o644)
}

// load reads every file of evidence, in the order of lanes and names.
func load(folder string) ([]evidence.Item, error) {
	items, err := evidence.Read(folder, "*")
	if err != nil {
		return nil, err
	}
	for _, i := range items {
		if !slices.Contains(lanes, i.Lane) || i.Name == "" || i.Test == "" {
			return nil, fmt.Errorf("%s: lane %q, name %q, test %q: one is unknown or missing",
				folder, i.Lane, i.Name, i.Test)
		}
	}
	slices.SortStableFunc(items, func(a, b evidence.Item) int {
		return slices.Index(lanes, a.Lane) - slices.Index(lanes, b.Lane)
	})
	return items, nil
}

// replace puts a table between its two markers.
func replace(text []byte, name, table string) ([]byte, error) {
	begin, end := "<!-- "+name+": written by make evidence -->\n", "<!-- end of "+name+" -->"
	a, b := bytes.Index(text, []byte(begin)), bytes.Index(text, []byte(end))
	if a < 0 || b < a {
		return nil, fmt.Errorf("markers of %s are missing", name)
	}
	return slices.Concat(text[:a+len(begin)], []byte(table), text[b:]), nil
}

// promiseTable has a row for each promise and each item that speaks for it.
func promiseTable(items []evidence.Item) string {
	var b strings.Builder
	b.WriteString("| promise | lane | what | where | last counts |\n|---|---|---|---|---|\n")
	for n := 1; n <= promises; n++ {
		promise := "P" + strconv.Itoa(n)
		for _, i := range items {
			if slices.Contains(i.Promises, promise) && i.Lane != "mutants" {
				fmt.Fprintf(&b, "| %s | %s | %s | `%s` | %s |\n", promise, i.Lane, i.Name, i.Test,
					countsOf(i))
			}
		}
	}
	return b.String()
}

func countsOf(i evidence.Item) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(i.Counts)) {
		words = append(words, fmt.Sprintf("%s %s", humanize.Comma(i.Counts[name]), name))
	}
	return strings.Join(words, ", ")
}

// bugTable has a row for each deliberate bug.
func bugTable(items []evidence.Item) string {
	var b strings.Builder
	b.WriteString("| deliberate bug | breaks | met by | |\n|---|---|---|---|\n")
	for _, i := range items {
		for _, r := range i.Rows {
			fmt.Fprintf(&b, "| %s | %s | `%s` | %s |\n", r.Name, r.Promise, r.Test, r.Outcome)
		}
	}
	return b.String()
}
