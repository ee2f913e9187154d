package node

import "time"

const (
	// paceWrites is how many writes of a log are looked at together.
	paceWrites = 8
	// paceStale is how long it may take until there were so many; then nothing is known.
	paceStale = 3 * time.Second
)

// logPace is what the durable writes of a store's log take. Heartbeats come as they will, so it
// counts by writes.
type logPace struct {
	writes uint64        // counted before those that are looked at now
	took   time.Duration // by them
	since  time.Time
	before time.Duration // mean of those looked at last; 0: unknown
	now    time.Duration
}

// note takes what the log has counted and gives the shorter mean of the last two times that there
// were enough writes: one long write, as every device has them, makes nobody slow. 0: unknown.
func (p *logPace) note(at time.Time, writes uint64, took time.Duration) time.Duration {
	n := writes - p.writes
	if n < paceWrites && at.Sub(p.since) < paceStale {
		return p.now
	}
	mean := time.Duration(0)
	if n >= paceWrites {
		mean = (took - p.took) / time.Duration(n)
	}
	*p = logPace{writes: writes, took: took, since: at, before: mean, now: min(mean, p.before)}
	return p.now
}
