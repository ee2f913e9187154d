package schedule

import "time"

// Losses are the replacements of lost replicas that a copyset has had of late. What some copyset
// makes its stores do may kill them (a bug that its content meets, a log that cannot be read), and
// then each new member would take the next store with it. So a copyset has a few at once, and
// further ones only as time passes: a token bucket, of Limits.Losses tokens, with one more each
// Limits.LossEvery. The zero value has lost nothing.
type Losses struct {
	Spent float64   // tokens, at At
	At    time.Time // of the last one
}

// Add counts one more.
func (l Losses) Add(now time.Time, lim Limits) Losses {
	return Losses{Spent: l.spent(now, lim) + 1, At: now}
}

func (l Losses) spent(now time.Time, lim Limits) float64 {
	if l.At.IsZero() {
		return 0
	}
	if lim.LossEvery <= 0 {
		return l.Spent
	}
	return max(0, l.Spent-float64(now.Sub(l.At))/float64(lim.LossEvery))
}

// wait is how long it is until another may be had; 0 or less: now.
func (l Losses) wait(now time.Time, lim Limits) time.Duration {
	over := l.spent(now, lim) + 1 - float64(lim.Losses)
	return time.Duration(over * float64(lim.LossEvery))
}
