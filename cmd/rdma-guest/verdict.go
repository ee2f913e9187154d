package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// verdict compares the tests that a program has with those that said in the machine how they ended:
// one that says nothing has failed.
type verdict struct {
	show   bool
	lose   func(time.Duration) // has the cable lose packets of RoCE; nil: there is none
	mu     sync.Mutex          // two machines may speak
	wanted []string
	passed map[string]bool
	failed []string
	said   []string // by tests, for a failure
}

func (v *verdict) want(program, test string) { v.wanted = append(v.wanted, program+" "+test) }

var outcome = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \((.*)\)$`)

// doctor is the run whose words are shown.
const doctor = "doctor"

// figure marks a line that is printed whatever happens.
const figure = "figure: "

// losing marks a line by which a test has the cable lose packets of RoCE for the time behind it.
const losing = "cable: lose "

// line takes one line of the machine.
func (v *verdict) line(run, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	m := outcome.FindStringSubmatch(text)
	switch {
	case v.show:
		fmt.Println("  " + text)
	case m != nil:
		fmt.Printf("  %-4s %-60s %s\n", strings.ToLower(m[1]), m[2], m[3])
	case run == doctor && !strings.HasPrefix(text, "@@"):
		fmt.Println("       " + text)
	case strings.Contains(text, figure):
		_, rest, _ := strings.Cut(text, figure)
		fmt.Println("       " + rest)
	}
	if _, rest, ok := strings.Cut(text, losing); ok && v.lose != nil {
		if while, err := time.ParseDuration(strings.TrimSpace(rest)); err == nil {
			v.lose(while)
		}
	}
	if len(v.said) < linesKept {
		v.said = append(v.said, text)
	}
	if m == nil {
		return
	}
	if v.passed == nil {
		v.passed = map[string]bool{}
	}
	if m[1] == "PASS" {
		v.passed[run+" "+m[2]] = true
	} else {
		v.failed = append(v.failed, run+" "+m[2]+" ("+strings.ToLower(m[1])+")")
	}
}

// judge is nil if every test that there is has passed.
func (v *verdict) judge() error {
	var missing []string
	for _, w := range v.wanted {
		if !v.passed[w] && !slices.ContainsFunc(v.failed, func(f string) bool {
			return strings.HasPrefix(f, w+" ")
		}) {
			missing = append(missing, w)
		}
	}
	if len(v.failed)+len(missing) == 0 {
		return nil
	}
	if !v.show {
		fmt.Println(strings.Join(v.said, "\n"))
	}
	return fmt.Errorf("rdma-guest: failed: %s; no word of: %s", strings.Join(v.failed, ", "),
		strings.Join(missing, ", "))
}
