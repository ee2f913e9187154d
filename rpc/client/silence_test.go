package client

import (
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/transport"
)

const ms = int64(time.Millisecond)

// still is a line on which nothing moves.
func still() line { return line{pinged: true} }

func TestSilenceTellsDeadFromSlow(t *testing.T) {
	for _, c := range []struct {
		name  string
		owed  bool
		reply int64 // when the ping is answered, ms; 0: never
		want  []hearing
		at    []int64
	}{
		{"owing and deaf", true, 0,
			[]hearing{heard, wantPing, heard, heard, deaf}, []int64{50, 100, 150, 450, 500}},
		{"owing but answers pings", true, 150,
			[]hearing{heard, wantPing, heard, wantPing}, []int64{50, 100, 150, 250}},
		{"idle", false, 0,
			[]hearing{heard, heard, wantPing, heard, deaf}, []int64{100, 950, 1000, 1350, 1400}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s silence
			received := uint64(0)
			for i, at := range c.at {
				if c.reply != 0 && at >= c.reply && received == 0 {
					received = 1
				}
				if got := s.look(at*ms, received, c.owed, still); got != c.want[i] {
					t.Errorf("at %d ms: %v, want %v", at, got, c.want[i])
				}
			}
		})
	}
}

func TestSilenceForgivesAStallOfThisProcess(t *testing.T) {
	var s silence
	if s.look(100*ms, 0, true, still) != wantPing {
		t.Fatal("no ping")
	}
	s.reset(5000 * ms)
	if got := s.look(5000*ms, 0, true, still); got != heard {
		t.Errorf("after the stall: %v", got)
	}
}

// Bytes are a sign of life as long as the peer, and not only its kernel, must be behind them.
func TestSilenceTellsASlowLineFromADeadPeer(t *testing.T) {
	type at struct {
		ms             int64
		in, out, taken int64
		pinged         bool
		want           hearing
	}
	for name, steps := range map[string][]at{
		"an answer comes in, slower than it may be silent": {
			{100, 0, 0, 0, false, wantPing}, {400, 10, 50, 50, true, heard},
			{700, 20, 50, 50, true, heard}, {1000, 30, 50, 50, true, heard},
			{1350, 30, 50, 50, true, heard}, {1400, 30, 50, 50, true, deaf},
		},
		"the ping waits behind what the line takes": {
			{100, 0, 90, 10, false, wantPing}, {450, 0, 90, 20, false, heard},
			{800, 0, 100, 30, true, heard}, {1150, 0, 100, 100, true, heard},
			{1500, 0, 100, 100, true, heard}, {1550, 0, 100, 100, true, deaf},
		},
		"the line takes nothing before the ping": {
			{100, 0, 90, 10, false, wantPing}, {450, 0, 90, 10, false, heard},
			{500, 0, 90, 10, false, deaf},
		},
		"the kernel of a frozen peer takes what comes after the ping": {
			{100, 0, 90, 90, false, wantPing}, {150, 0, 100, 100, true, heard},
			{300, 0, 150, 150, true, heard}, {500, 0, 200, 200, true, heard},
			{550, 0, 250, 250, true, deaf},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s silence
			for _, c := range steps {
				got := s.look(c.ms*ms, 0, true, func() line {
					return line{transport.Moved{In: c.in, Out: c.out, Taken: c.taken}, c.pinged}
				})
				if got != c.want {
					t.Fatalf("at %d ms: %v, want %v", c.ms, got, c.want)
				}
			}
		})
	}
}

func TestAttemptEndsWhenTheNodeHasHadItsTime(t *testing.T) {
	type at struct {
		ms             int64
		pinged, ponged uint64
		want           outlook
	}
	for name, steps := range map[string][]at{
		"a fast line": {
			{450, 0, 0, stays}, {500, 0, 0, asks}, {550, 1, 1, stays}, {2000, 1, 1, stays},
			{2050, 1, 1, asks}, {2100, 2, 2, spent},
		},
		"a ping that was sent before it says nothing": {
			{500, 1, 0, asks}, {550, 1, 1, asks}, {600, 2, 2, stays}, {2100, 2, 2, asks},
		},
		"it lies behind much for long, and its answer too": {
			{500, 0, 0, asks}, {5000, 1, 0, asks}, {9000, 1, 1, stays}, {10450, 1, 1, stays},
			{10500, 1, 1, asks}, {20000, 2, 1, asks}, {20050, 2, 2, spent},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var a attempt
			for _, c := range steps {
				if got := a.look(c.ms*ms, c.pinged, c.ponged); got != c.want {
					t.Fatalf("at %d ms: %v, want %v", c.ms, got, c.want)
				}
			}
		})
	}
}
