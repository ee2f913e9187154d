package runbook

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// ErrPage marks a page that cannot be run.
var ErrPage = errors.New("runbook: bad page")

// Step is a block of commands.
type Step struct {
	Section string // the headings above it, as "Growing / A new disk"
	Line    int    // of the block's first line
	On      []string
	Within  time.Duration // how long it may take to succeed; 0: it must at once
	Script  string
	Shows   string // what it prints; empty: anything
}

var (
	heading = regexp.MustCompile(`^(#{2,3}) (.+)$`)
	where   = regexp.MustCompile(`^<!-- on ([a-z0-9, ]+?)(?:, within ([0-9.a-z]+))? -->$`)
)

const (
	shows = "<!-- shows -->"
	fence = "```"
)

// Parse reads a page.
func Parse(text string) (steps []Step, err error) {
	lines := strings.Split(text, "\n")
	var section [2]string
	for i := 0; i < len(lines); i++ {
		if m := heading.FindStringSubmatch(lines[i]); m != nil {
			section[len(m[1])-2] = m[2]
			if len(m[1]) == 2 {
				section[1] = ""
			}
		}
		m := where.FindStringSubmatch(lines[i])
		if m == nil && lines[i] != shows {
			if i > 0 && strings.HasPrefix(lines[i], "<!-- on") {
				return nil, fmt.Errorf("%w: line %d: %s: write <!-- on NAME, NAME --> or "+
					"<!-- on NAME, within 30s -->", ErrPage, i+1, lines[i])
			}
			continue
		}
		block, end, err := blockAt(lines, i+1)
		if err != nil {
			return nil, err
		}
		switch {
		case m == nil && (len(steps) == 0 || steps[len(steps)-1].Shows != ""):
			return nil, fmt.Errorf("%w: line %d: nothing was run that shows this", ErrPage, i+1)
		case m == nil:
			steps[len(steps)-1].Shows = block
		default:
			s := Step{Section: strings.TrimSuffix(section[0]+" / "+section[1], " / "), Line: i + 3,
				Script: block}
			if s.Within, err = within(m[2]); err != nil {
				return nil, fmt.Errorf("%w: line %d: %w", ErrPage, i+1, err)
			}
			for name := range strings.SplitSeq(m[1], ",") {
				s.On = append(s.On, strings.TrimSpace(name))
			}
			steps = append(steps, s)
		}
		i = end
	}
	return steps, nil
}

func within(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	return time.ParseDuration(text)
}

// blockAt is the fenced block that begins at a line, and the line of its end.
func blockAt(lines []string, at int) (block string, end int, err error) {
	if at >= len(lines) || !strings.HasPrefix(lines[at], fence) {
		return "", 0, fmt.Errorf("%w: line %d: a block in %s must follow", ErrPage, at, fence)
	}
	for end = at + 1; end < len(lines); end++ {
		if lines[end] == fence {
			return strings.Join(lines[at+1:end], "\n") + "\n", end, nil
		}
	}
	return "", 0, fmt.Errorf("%w: line %d: the block has no end", ErrPage, at+1)
}

// Missing is the first line of what should be shown that is not in an output; "" when all are.
func Missing(want, output string) string {
	rest := strings.Split(output, "\n")
	for line := range strings.SplitSeq(strings.TrimSpace(want), "\n") {
		pattern := patternOf(line)
		found := -1
		for i, got := range rest {
			if pattern.MatchString(got) {
				found = i
				break
			}
		}
		if found < 0 {
			return line
		}
		rest = rest[found+1:]
	}
	return ""
}

// patternOf matches what a line of the page stands for.
func patternOf(line string) *regexp.Regexp {
	var parts []string
	for field := range strings.FieldsSeq(line) {
		field = regexp.QuoteMeta(field)
		parts = append(parts, strings.ReplaceAll(field, `\.\.\.`, `.*`))
	}
	return regexp.MustCompile(`^\s*` + strings.Join(parts, `\s+`) + `\s*$`)
}
