package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/ashlar-storage/ashlar/internal/evidence"
)

func main() {
	lane := flag.String("lane", "", "the lane whose counts are wanted, as crash")
	count := flag.String("count", "states", "what is counted")
	least := flag.Int64("least", 1, "fail when the total is below")
	totals := flag.Bool("totals", false, "print the total of every count")
	flag.Parse()
	if *lane == "" || flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "tally: give -lane and the folder that EVIDENCE named")
		os.Exit(2)
	}
	err := run(os.Stdout, flag.Arg(0), *lane, *count, *least)
	if err == nil && *totals {
		err = printTotals(os.Stdout, flag.Arg(0), *lane)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
}

// run prints the table of a lane and judges it.
func run(w io.Writer, folder, lane, count string, least int64) error {
	items, err := read(folder, lane)
	if err != nil {
		return err
	}
	total, bad := int64(0), []error{}
	width := len(lane)
	for _, it := range items {
		width = max(width, len(it.Name))
	}
	line := func(name, n string) { fmt.Fprintf(w, "%-*s  %12s\n", width, name, n) }
	line(lane, count)
	for _, it := range items {
		line(it.Name, humanize.Comma(it.Counts[count]))
		total += it.Counts[count]
		if n := it.Counts["violations"]; n != 0 {
			bad = append(bad, fmt.Errorf("%s: %s: %d violations", lane, it.Name, n))
		}
	}
	line("total", humanize.Comma(total))
	if total < least {
		bad = append(bad, fmt.Errorf("%s: %d %s, at least %d are asked for", lane, total, count,
			least))
	}
	return errors.Join(bad...)
}

// read returns the items of a lane by name.
func read(folder, lane string) ([]evidence.Item, error) {
	items, err := evidence.Read(folder, lane)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, fmt.Errorf("%s: nothing was counted: run the lane with EVIDENCE set",
			filepath.Join(folder, lane))
	}
	slices.SortFunc(items, func(a, b evidence.Item) int { return strings.Compare(a.Name, b.Name) })
	return items, nil
}

// printTotals prints each count's sum over the items.
func printTotals(w io.Writer, folder, lane string) error {
	items, err := read(folder, lane)
	if err != nil {
		return err
	}
	sums, width := map[string]int64{}, 0
	for _, it := range items {
		for name, n := range it.Counts {
			sums[name] += n
			width = max(width, len(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(w, "  %-*s  %12s\n", width, name, humanize.Comma(sums[name]))
	}
	return nil
}
