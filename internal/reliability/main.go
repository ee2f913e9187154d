package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

var (
	from  = flag.String("from", "bin/evidence", "folder that the lanes wrote to")
	page  = flag.String("page", "docs/reliability.md", "the page to rewrite")
	check = flag.Bool("check", false, "only look whether every lane left something")
)

// lanes are the make targets that leave evidence.
var lanes = []string{"crash", "corrupt", "fuzz", "mutants", "kernel", "power", "faults"}

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "reliability:", err)
		os.Exit(1)
	}
}

// item is a file of evidence; see package evidence. Rows are those of the mutants.
type item struct {
	Lane     string           `json:"lane"`
	Name     string           `json:"name"`
	Promises []string         `json:"promises"`
	Test     string           `json:"test"`
	Counts   map[string]int64 `json:"counts"`
	Rows     []struct{ Name, Promise, Test, Outcome string }
}

func run() error {
	items, err := load(*from)
	if err != nil {
		return err
	}
	for _, lane := range lanes {
		if !slices.ContainsFunc(items, func(i item) bool { return i.Lane == lane }) {
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
func load(folder string) (items []item, err error) {
	files, err := filepath.Glob(filepath.Join(folder, "*", "*.json"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		var i item
		if err := json.Unmarshal(data, &i); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		if !slices.Contains(lanes, i.Lane) || i.Name == "" || i.Test == "" {
			return nil, fmt.Errorf("%s: lane %q, name %q, test %q: one is unknown or missing", f,
				i.Lane, i.Name, i.Test)
		}
		items = append(items, i)
	}
	slices.SortStableFunc(items, func(a, b item) int {
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
func promiseTable(items []item) string {
	var b strings.Builder
	b.WriteString("| promise | lane | what | where | last counts |\n|---|---|---|---|---|\n")
	for n := 1; n <= 12; n++ {
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

func countsOf(i item) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(i.Counts)) {
		words = append(words, fmt.Sprintf("%s %s", humanize.Comma(i.Counts[name]), name))
	}
	return strings.Join(words, ", ")
}

// bugTable has a row for each deliberate bug.
func bugTable(items []item) string {
	var b strings.Builder
	b.WriteString("| deliberate bug | breaks | met by | |\n|---|---|---|---|\n")
	for _, i := range items {
		for _, r := range i.Rows {
			fmt.Fprintf(&b, "| %s | %s | `%s` | %s |\n", r.Name, r.Promise, r.Test, r.Outcome)
		}
	}
	return b.String()
}
