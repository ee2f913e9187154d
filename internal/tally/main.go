package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// item is what a tally needs of an evidence file.
type item struct {
	Name   string           `json:"name"`
	Counts map[string]int64 `json:"counts"`
}

func main() {
	lane := flag.String("lane", "", "the lane whose counts are wanted, as crash")
	count := flag.String("count", "states", "what is counted")
	least := flag.Int64("least", 1, "fail when the total is below")
	flag.Parse()
	if *lane == "" || flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "tally: give -lane and the folder that EVIDENCE named")
		os.Exit(2)
	}
	if err := run(os.Stdout, flag.Arg(0), *lane, *count, *least); err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
}

// run prints the table of a lane and judges it.
func run(w io.Writer, folder, lane, count string, least int64) error {
	items, err := read(filepath.Join(folder, lane))
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
		line(it.Name, thousands(it.Counts[count]))
		total += it.Counts[count]
		if n := it.Counts["violations"]; n != 0 {
			bad = append(bad, fmt.Errorf("%s: %s: %d violations", lane, it.Name, n))
		}
	}
	line("total", thousands(total))
	if total < least {
		bad = append(bad, fmt.Errorf("%s: %d %s, at least %d are asked for", lane, total, count,
			least))
	}
	return errors.Join(bad...)
}

// read returns the items of a lane by name.
func read(folder string) ([]item, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: nothing was counted: run the lane with EVIDENCE set", folder)
	}
	items := make([]item, len(files))
	for i, name := range files {
		data, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(data, &items[i])
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.Name, b.Name) })
	return items, nil
}

// thousands writes a number with commas.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for at := len(s) - 3; at > 0 && s[at-1] != '-'; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}
