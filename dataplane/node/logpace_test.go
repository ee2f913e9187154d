package node

import (
	"testing"
	"time"
)

func TestPaceOfALogIsThatOfManyWrites(t *testing.T) {
	const ms = time.Millisecond
	var p logPace
	at := time.Unix(1_900_000_000, 0)
	var writes uint64
	var took time.Duration
	for i, step := range []struct {
		after      time.Duration // since the heartbeat before
		writes     uint64
		mean, want time.Duration
	}{
		{0, 100, ms, 0}, // nothing is known of the time before
		{500 * ms, 100, ms, ms},
		{500 * ms, 10, 60 * ms, ms}, // one long time may be one long write
		{500 * ms, 10, 50 * ms, 50 * ms},
		{50 * ms, 1, 10 * ms, 50 * ms}, // too few to say anything new
		{500 * ms, paceWrites - 1, 10 * ms, 10 * ms},
		{paceStale, 1, ms, 0},
		{500 * ms, 100, 50 * ms, 0},
		{500 * ms, 100, 40 * ms, 40 * ms},
	} {
		at = at.Add(step.after)
		writes += step.writes
		took += time.Duration(step.writes) * step.mean
		if got := p.note(at, writes, took); got != step.want {
			t.Errorf("heartbeat %d: %v, want %v", i, got, step.want)
		}
	}
}
