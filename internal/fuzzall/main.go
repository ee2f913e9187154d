package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/internal/evidence"
)

// rooms are searched for fuzz targets.
var rooms = []string{"io/*", "dataplane/*", "rpc/wire", "rpc/rdma"}

var (
	each = flag.Duration("time", 10*time.Second, "for each target")
	only = flag.String("only", "", "run the targets whose name contains this")
)

func main() {
	flag.Parse()
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

// target is one fuzz function.
type target struct{ pkg, name string }

func run(out io.Writer) error {
	targets, err := find()
	if err != nil {
		return err
	}
	var total int64
	for _, t := range targets {
		if !strings.Contains(t.name, *only) {
			continue
		}
		execs, added, err := t.fuzz()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%-20s %-18s %10d executions, %4d new inputs\n", t.pkg, t.name, execs,
			added)
		if err := t.leaveEvidence(execs); err != nil {
			return err
		}
		total += execs
	}
	fmt.Fprintf(out, "fuzz: %d targets, %d executions, nothing found\n", len(targets), total)
	return nil
}

var declaration = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// find lists the targets of the rooms, in the order of their files.
func find() (targets []target, err error) {
	for _, room := range rooms {
		files, err := filepath.Glob(filepath.Join(room, "*_test.go"))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				return nil, err
			}
			for _, m := range declaration.FindAllSubmatch(text, -1) {
				targets = append(targets, target{filepath.Dir(f), string(m[1])})
			}
		}
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("no targets in %v: run it from the root of the tree", rooms)
	}
	return targets, nil
}

// tries bounds how often a target is run again whose workers did not end with its time.
const tries = 3

// fuzz runs a target for its time and returns what the go command counted.
func (t *target) fuzz() (execs, added int64, err error) {
	for range tries {
		var late bool
		if execs, added, late, err = t.once(); !late {
			break
		}
	}
	return execs, added, err
}

// once is one run. late: the go command gave up on a worker that was busy when the time was over,
// and found nothing wrong; it does so now and then.
func (t *target) once() (execs, added int64, late bool, err error) {
	cmd := exec.Command("go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime",
		each.String(), "./"+t.pkg)
	text, err := cmd.CombinedOutput()
	if err != nil {
		return 0, 0, tooLate(string(text)), fmt.Errorf("%s %s: %w\n%s", t.pkg, t.name, err,
			text)
	}
	execs, added, ok := counts(string(text))
	if !ok {
		return 0, 0, false, fmt.Errorf("%s %s: the go command counted nothing:\n%s", t.pkg, t.name,
			text)
	}
	return execs, added, false, nil
}

func tooLate(text string) bool {
	return strings.Contains(text, "context deadline exceeded") &&
		!strings.Contains(text, "Failing input written")
}

var progress = regexp.MustCompile(`execs: (\d+) .*new interesting: (\d+)`)

// counts takes the last line of progress.
func counts(text string) (execs, added int64, ok bool) {
	all := progress.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return 0, 0, false
	}
	last := all[len(all)-1]
	execs, err := strconv.ParseInt(last[1], 10, 64)
	if err != nil {
		return 0, 0, false
	}
	added, err = strconv.ParseInt(last[2], 10, 64)
	return execs, added, err == nil
}

// leaveEvidence keeps the counts where the environment asks for them.
func (t *target) leaveEvidence(execs int64) error {
	where := t.pkg + " " + t.name
	item := evidence.Item{Lane: "fuzz", Name: where, Promises: []string{"P10"}, Test: where,
		Counts: map[string]int64{"executions": execs, "found": 0}}
	return item.Leave()
}
