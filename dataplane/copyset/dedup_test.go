package copyset

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

func newTable(ops ...Command) *sessions {
	t := newSessions()
	for i := range ops {
		t.record(&ops[i], uint64(i+1))
	}
	return &t
}

func TestOperationTakesEffectOnce(t *testing.T) {
	table := newTable(Command{Session: 1, OpID: 5, LowWater: 3})
	for name, c := range map[string]struct {
		c    Command
		want verdict
	}{
		"the same again":          {Command{Session: 1, OpID: 5, LowWater: 3}, repeated},
		"again with a newer mark": {Command{Session: 1, OpID: 5, LowWater: 5}, repeated},
		"a ghost below the mark":  {Command{Session: 1, OpID: 2}, repeated},
		"at the mark":             {Command{Session: 1, OpID: 3}, fresh},
		"the next":                {Command{Session: 1, OpID: 6, LowWater: 3}, fresh},
		"the id of another":       {Command{Session: 2, OpID: 5}, fresh},
	} {
		if got := table.judge(&c.c); got != c.want {
			t.Errorf("%s: verdict %d, want %d", name, got, c.want)
		}
	}
}

func TestRaisedMarkForgetsAndStillRefuses(t *testing.T) {
	for _, mark := range []uint64{4, 11, 1 << 40} { // short walk, whole table, long walk
		table := newTable()
		for op := uint64(1); op <= 10; op++ {
			table.record(&Command{Session: 1, OpID: op}, op)
		}
		table.record(&Command{Session: 1, OpID: max(mark, 11), LowWater: mark}, 11)
		for op := uint64(1); op <= 10; op++ {
			if table.judge(&Command{Session: 1, OpID: op}) != repeated {
				t.Errorf("mark %d: operation %d would take effect again", mark, op)
			}
		}
		for id := range table.byID[1].done {
			if id < mark {
				t.Errorf("mark %d: %d is still remembered", mark, id)
			}
		}
	}
}

func TestMarkNeverFalls(t *testing.T) {
	table := newTable(Command{Session: 1, OpID: 9, LowWater: 9}, Command{Session: 1, OpID: 10,
		LowWater: 2})
	if table.judge(&Command{Session: 1, OpID: 5}) != repeated {
		t.Error("a late message lowered the mark")
	}
}

func TestOlderEpochIsFencedPerVolume(t *testing.T) {
	table := newTable(Command{Session: 1, Epoch: 3, OpID: 1, Volume: 8})
	for name, c := range map[string]struct {
		c    Command
		want verdict
	}{
		"older":                {Command{Session: 2, Epoch: 2, OpID: 1, Volume: 8}, fenced},
		"older, and a repeat":  {Command{Session: 1, Epoch: 2, OpID: 1, Volume: 8}, fenced},
		"same":                 {Command{Session: 2, Epoch: 3, OpID: 1, Volume: 8}, fresh},
		"newer":                {Command{Session: 2, Epoch: 4, OpID: 1, Volume: 8}, fresh},
		"older, other volume":  {Command{Session: 2, Epoch: 2, OpID: 1, Volume: 9}, fresh},
		"the node's own entry": {Command{Volume: 8}, fresh},
	} {
		if got := table.judge(&c.c); got != c.want {
			t.Errorf("%s: verdict %d, want %d", name, got, c.want)
		}
	}
	table.record(&Command{Session: 1, Epoch: 2, OpID: 2, Volume: 8}, 9)
	if table.epochs[8] != 3 {
		t.Error("the epoch fell")
	}
	table.dropVolume(8)
	if table.judge(&Command{Session: 2, Epoch: math.MaxUint64 - 1, OpID: 1, Volume: 8}) != fenced {
		t.Error("a deleted volume can be written to")
	}
}

func TestSessionWithTooManyUnfinishedOperationsIsRefused(t *testing.T) {
	table := newTable()
	for op := range uint64(maxSessionOps) {
		table.record(&Command{Session: 1, OpID: op + 10}, op+1)
	}
	next := Command{Session: 1, OpID: maxSessionOps + 10}
	if got := table.judge(&next); got != flooded {
		t.Errorf("verdict %d, want flooded", got)
	}
	if next.LowWater = 11; table.judge(&next) != fresh {
		t.Error("refused although it finishes others")
	}
	if table.judge(&Command{Session: 1, OpID: 10}) != repeated {
		t.Error("a repetition is not recognised in a flooded session")
	}
}

func TestSessionUnusedForLongestGoesFirst(t *testing.T) {
	table := newTable()
	for s := range uint64(maxSessions) {
		table.record(&Command{Session: s + 1, OpID: 1}, s+1)
	}
	table.record(&Command{Session: 1, OpID: 2}, 1000) // the oldest is used again
	table.record(&Command{Session: 5000, OpID: 1}, 1001)
	if table.byID[2] != nil || table.byID[1] == nil || len(table.byID) != maxSessions {
		t.Errorf("session 2 kept %v, session 1 kept %v, %d sessions", table.byID[2] != nil,
			table.byID[1] != nil, len(table.byID))
	}
}

func TestEqualHistoriesGiveEqualTables(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	a, b := newTable(), newTable()
	for i := range uint64(20000) {
		c := Command{Session: rng.Uint64N(2 * maxSessions), Epoch: rng.Uint64N(4),
			OpID: i/8 + rng.Uint64N(64), Volume: rng.Uint64N(9), LowWater: i / 8}
		va, vb := a.judge(&c), b.judge(&c)
		if va != vb {
			t.Fatalf("%+v is judged %d and %d", c, va, vb)
		}
		if va == fresh {
			a.record(&c, i)
			b.record(&c, i)
		}
		if i%5000 == 99 { // one of them restarts
			if rest, err := b.decode(b.appendTo(nil)); err != nil || len(rest) != 0 {
				t.Fatal(err, rest)
			}
		}
	}
	if !bytes.Equal(a.appendTo(nil), b.appendTo(nil)) {
		t.Error("tables differ")
	}
}

func TestTableOutOfOrderIsRefused(t *testing.T) {
	b := newTable(Command{Session: 1, OpID: 1, Volume: 1}, Command{Session: 2, OpID: 1, Volume: 2},
		Command{Session: 2, OpID: 2, Volume: 2}).appendTo(nil)
	for n := range b {
		if _, err := new(sessions).decode(b[:n]); err == nil {
			t.Errorf("cut to %d bytes: accepted", n)
		}
	}
	for _, at := range []int{4, 4 + 32 + 4} { // first volume, first session
		c := bytes.Clone(b)
		c[at] = 2
		if _, err := new(sessions).decode(c); err == nil {
			t.Errorf("two of the same at %d: accepted", at)
		}
	}
}
