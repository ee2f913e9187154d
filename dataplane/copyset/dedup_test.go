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
		t.record(&ops[i])
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
	for _, mark := range []uint64{4, 11, 1 << 40} {
		table := newTable()
		for op := uint64(1); op <= 10; op++ {
			table.record(&Command{Session: 1, OpID: op})
		}
		table.record(&Command{Session: 1, OpID: max(mark, 11), LowWater: mark})
		for op := uint64(1); op <= 10; op++ {
			if table.judge(&Command{Session: 1, OpID: op}) != repeated {
				t.Errorf("mark %d: operation %d would take effect again", mark, op)
			}
		}
		for _, id := range table.find(0, 1).done {
			if id < mark {
				t.Errorf("mark %d: %d is still remembered", mark, id)
			}
		}
	}
}

// Against the plainest table there is: a set of all that took effect, and the highest mark.
func TestTableDecidesLikeASetOfAllThatTookEffect(t *testing.T) {
	const operations, reach = 20_000, 70
	rng := rand.New(rand.NewPCG(1, 2))
	table, did, mark := newTable(), map[uint64]bool{}, uint64(0)
	for i := range uint64(operations) {
		c := Command{Session: 1, OpID: i + rng.Uint64N(reach)}
		c.LowWater = i - min(i, rng.Uint64N(reach))
		got := table.judge(&c)
		if want := did[c.OpID] || c.OpID < mark; want != (got == repeated) {
			t.Fatalf("operation %d, mark %d: verdict %d, took effect: %v", c.OpID, mark, got, want)
		}
		if got == fresh {
			table.record(&c)
			did[c.OpID], mark = true, max(mark, c.LowWater)
		}
		if i%100 > 0 {
			continue
		}
		var again sessions
		b := table.appendTo(nil)
		if _, err := again.decode(b); err != nil || len(b) != table.size || again.size != len(b) {
			t.Fatalf("%d bytes, counted as %d, read as %d: %v", len(b), table.size, again.size, err)
		}
		table = &again
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
	table.record(&Command{Session: 1, Epoch: 2, OpID: 2, Volume: 8})
	if table.epoch(8) != 3 {
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
		table.record(&Command{Session: 1, OpID: op + 10})
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

// A session is remembered until a newer epoch fences it, however many others there are: what it
// sent long ago may still arrive.
func TestSessionIsForgottenOnlyWhenItIsFenced(t *testing.T) {
	table := newTable()
	for v := range uint64(1000) {
		table.record(&Command{Session: v + 1, Epoch: 1, OpID: 7, LowWater: 5, Volume: v + 1})
	}
	ghost := Command{Session: 1, Epoch: 1, OpID: 4, Volume: 1}
	if got := table.judge(&ghost); got != repeated {
		t.Errorf("a ghost of the first session: verdict %d", got)
	}
	if !table.fence(1, 2) || table.find(1, 1) != nil {
		t.Error("a fenced session is remembered")
	}
	if got := table.judge(&ghost); got != fenced {
		t.Errorf("and its ghost: verdict %d", got)
	}
	if want := len(table.appendTo(nil)); table.size != want {
		t.Errorf("counted as %d bytes, encoded in %d", table.size, want)
	}
}

// What a snapshot carries is bounded; nothing is forgotten for that.
func TestFullTableRefusesNewSessionsAndForgetsNothing(t *testing.T) {
	table := newTable()
	volumes := uint64(0)
	for {
		volumes++
		c := Command{Session: volumes, Epoch: 1, OpID: 1, LowWater: 1, Volume: volumes}
		if v := table.judge(&c); v == crowded {
			break
		} else if v != fresh {
			t.Fatalf("volume %d: verdict %d", volumes, v)
		}
		table.record(&c)
	}
	n := len(table.appendTo(nil))
	if n > maxTableBytes || n < maxTableBytes-100 || n != table.size {
		t.Errorf("full with %d bytes, counted as %d, bound %d", n, table.size, maxTableBytes)
	}
	judge := func(name string, c Command, want verdict) {
		t.Helper()
		c.Epoch = max(c.Epoch, 1)
		if got := table.judge(&c); got != want {
			t.Errorf("%s: verdict %d, want %d", name, got, want)
		}
	}
	judge("a repetition", Command{Session: 1, OpID: 1, Volume: 1}, repeated)
	for op := uint64(2); ; op++ {
		c := Command{Session: 1, Epoch: 1, OpID: op, Volume: 1}
		if table.judge(&c) == crowded {
			break
		}
		if op > 10 {
			t.Fatal("takes operations beyond the bound")
		}
		table.record(&c)
	}
	judge("a mark that finishes none", Command{Session: 2, OpID: 9, Volume: 2}, crowded)
	judge("others finished", Command{Session: 1, OpID: 20, Volume: 1, LowWater: 20}, fresh)
	judge("of a new volume", Command{Session: 1 << 40, OpID: 1, Volume: 1 << 40}, crowded)
	if table.hasRoom(1<<40) || !table.hasRoom(1) {
		t.Error("fences a new volume, or not a known one")
	}
	table.fence(1, 2)
	judge("of a new session", Command{Session: 1 << 40, OpID: 1, Volume: 1, Epoch: 2}, fresh)
}

func TestEqualHistoriesGiveEqualTables(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	a, b := newTable(), newTable()
	for i := range uint64(20000) {
		c := Command{Session: rng.Uint64N(500), Epoch: rng.Uint64N(4),
			OpID: i/8 + rng.Uint64N(64), Volume: rng.Uint64N(9), LowWater: i / 8}
		va, vb := a.judge(&c), b.judge(&c)
		if va != vb {
			t.Fatalf("%+v is judged %d and %d", c, va, vb)
		}
		if va == fresh {
			a.record(&c)
			b.record(&c)
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
	b := newTable(Command{Session: 1, OpID: 1, Volume: 1}, Command{Session: 1, OpID: 1, Volume: 2},
		Command{Session: 2, OpID: 2, Volume: 2}).appendTo(nil)
	for n := range b {
		if _, err := new(sessions).decode(b[:n]); err == nil {
			t.Errorf("cut to %d bytes: accepted", n)
		}
	}
	for _, at := range []int{4, 4 + 20 + 28 + 20} { // first volume, first session of the second
		c := bytes.Clone(b)
		c[at] = 2
		if _, err := new(sessions).decode(c); err == nil {
			t.Errorf("two of the same at %d: accepted", at)
		}
	}
}
