package remote

import (
	"math/rand/v2"
	"testing"
	"time"
)

const (
	us = int64(time.Microsecond)
	ms = int64(time.Millisecond)
)

func TestDifferenceOfClocksIsKnownToHalfTheQuickestRoundTrip(t *testing.T) {
	const ahead = 5_000_000 * ms
	rng := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		var answers []asked
		least := int64(1 << 62)
		for range clockAsks {
			sent := rng.Int64N(1000 * ms)
			out, back := 20*us+rng.Int64N(5*ms), 20*us+rng.Int64N(5*ms)
			answers = append(answers, asked{sent, sent + out + back, sent + out + ahead})
			least = min(least, out+back)
		}
		c := newClock(answers)
		if off := c.here(ahead+7*ms) - 7*ms; max(off, -off) > least/2+1 {
			t.Fatalf("a time is %d ns wrong, the quickest round trip took %d", off, least)
		}
	}
}

func TestClockThatRunsFasterIsFollowed(t *testing.T) {
	const ahead, perSecond = -40_000 * ms, 200 * us // a clock that is being set
	rng := rand.New(rand.NewPCG(2, 2))
	there := func(here int64) int64 { return here + ahead + here/1000/ms*perSecond }
	c := clock{ahead: ahead}
	worst := int64(0)
	for now := int64(0); now < 60_000*ms; now += 50 * ms {
		c.frame(there(now), now+100*us+rng.Int64N(3*ms))
		off := c.here(there(now)) - now
		worst = max(worst, off, -off)
	}
	// Two windows of frames of 50 ms each are how far it is behind, in which 2 ms gather.
	if worst > 3*ms {
		t.Errorf("a time was %d ns wrong", worst)
	}
	off := c.here(there(60_000*ms)) - 60_000*ms
	t.Logf("worst %d us, at the end %d us of 12,000", worst/us, off/us)
}

func TestClockOfTheSameMachineIsBelieved(t *testing.T) {
	c := clock{same: true}
	for i := range int64(2 * clockWindow) {
		c.frame(i*ms, i*ms+i*us)
	}
	if got := c.here(12345); got != 12345 {
		t.Errorf("12345 became %d", got)
	}
}
