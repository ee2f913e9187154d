package schedule

import (
	"fmt"
	"strconv"
	"time"
)

// Setting is a limit that can be changed by its name.
type Setting struct {
	Name  string
	About string

	// One of the two: a number with its bounds, or a time with its bounds.
	number          func(*Limits) *int
	least, most     int
	time            func(*Limits) *time.Duration
	shortest, limit time.Duration
}

const day = 24 * time.Hour

func number(name, about string, of func(*Limits) *int, least, most int) Setting {
	return Setting{Name: name, About: about, number: of, least: least, most: most}
}

func span(name, about string, of func(*Limits) *time.Duration, least, most time.Duration) Setting {
	return Setting{Name: name, About: about, time: of, shortest: least, limit: most}
}

// Settings are all limits, in the order in which they are shown.
func Settings() []Setting {
	return []Setting{
		span("lost-after", "how long a store is waited for before its replicas move",
			func(l *Limits) *time.Duration { return &l.LostAfter }, time.Second, 30*day),
		number("cluster-fills", "new replicas filled at a time in all, or one for each ten stores",
			func(l *Limits) *int { return &l.Cluster }, 0, 1<<16),
		number("store-fills", "new replicas that one store fills at a time",
			func(l *Limits) *int { return &l.Rebuilds }, 0, 1024),
		number("store-feeds", "new replicas that the leaders of one store feed at a time",
			func(l *Limits) *int { return &l.Sources }, 0, 1024),
		number("store-drains", "replicas that leave one draining store at a time",
			func(l *Limits) *int { return &l.Drains }, 0, 1024),
		number("balances", "replicas that move for balance at a time, or one for each hundred "+
			"stores; 0: none", func(l *Limits) *int { return &l.Balances }, 0, 1<<16),
		number("balance-slack", "per cent of the mean number of replicas by which stores may "+
			"differ", func(l *Limits) *int { return &l.BalanceSlack }, 0, 100),
		number("balance-looks", "copysets that balance looks at in one second; 0: all it needs",
			func(l *Limits) *int { return &l.Looks }, 0, 1<<24),
		number("leader-slack", "led copysets by which stores may differ",
			func(l *Limits) *int { return &l.Slack }, 1, 1<<16),
		number("round", "changes of a kind that begin in one second",
			func(l *Limits) *int { return &l.PerRound }, 0, 1<<16),
		span("cool-down", "between two changes of one copyset",
			func(l *Limits) *time.Duration { return &l.CoolDown }, 0, day),
		span("settle", "how long a store must be up before it is given anything",
			func(l *Limits) *time.Duration { return &l.Settle }, 0, day),
		span("hold", "until something that was cancelled begins again",
			func(l *Limits) *time.Duration { return &l.Hold }, 0, 30*day),
		number("losses", "lost replicas of one copyset that are replaced at once",
			func(l *Limits) *int { return &l.Losses }, 1, 1024),
		span("loss-every", "how often it may have one more replaced",
			func(l *Limits) *time.Duration { return &l.LossEvery }, time.Second, 30*day),
	}
}

// Value is the limit as Set takes it.
func (s *Setting) Value(l Limits) string {
	if s.number != nil {
		return strconv.Itoa(*s.number(&l))
	}
	return s.time(&l).String()
}

// Bounds are the least and the most that Set takes.
func (s *Setting) Bounds() (least, most string) {
	if s.number != nil {
		return strconv.Itoa(s.least), strconv.Itoa(s.most)
	}
	return s.shortest.String(), s.limit.String()
}

// Set changes the limit. Its error says what would do.
func (s *Setting) Set(l *Limits, text string) error {
	least, most := s.Bounds()
	if s.number != nil {
		n, err := strconv.Atoi(text)
		if err != nil || n < s.least || n > s.most {
			return fmt.Errorf("want a number from %s to %s", least, most)
		}
		*s.number(l) = n
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < s.shortest || d > s.limit {
		return fmt.Errorf("want a time such as 90s or 15m, from %s to %s", least, most)
	}
	*s.time(l) = d
	return nil
}
