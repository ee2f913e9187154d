package lane

import (
	"math/rand/v2"
	"testing"
)

func op(mode Mode, first, count uint32) *Op {
	return &Op{Chunk: Chunk{1, 7}, First: first, Count: count, Mode: mode}
}

func TestConflictTableIsSymmetric(t *testing.T) {
	for a := range modes {
		for b := range modes {
			if conflicts[a][b] != conflicts[b][a] {
				t.Errorf("modes %d and %d disagree", a, b)
			}
		}
	}
}

func TestReadWaitsForFlushOfTheSameBlocksOnly(t *testing.T) {
	var tab Table
	flush := op(Flush, 4, 4)
	if !tab.Enter(flush) {
		t.Fatal("first operation must start")
	}
	if tab.Enter(op(Read, 7, 1)) {
		t.Error("overlapping read must wait")
	}
	if !tab.Enter(op(Read, 8, 1)) || !tab.Enter(op(Read, 0, 4)) {
		t.Error("reads beside the flush must start")
	}
	other := &Op{Chunk: Chunk{1, 8}, First: 4, Count: 4, Mode: Read}
	if !tab.Enter(other) {
		t.Error("another chunk must not wait")
	}
	if got := tab.Leave(flush, nil); len(got) != 1 || got[0].First != 7 {
		t.Errorf("granted %v", got)
	}
}

func TestReplacementHoldsThePlaceOfTheOther(t *testing.T) {
	for _, neighbours := range []int{0, 1} {
		var tab Table
		read, heir, flush := op(Read, 0, 2), &Op{User: "heir"}, op(Flush, 1, 1)
		for range neighbours {
			tab.Enter(op(Read, 8, 1))
		}
		tab.Enter(read)
		if tab.Enter(flush) {
			t.Fatal("the flush must wait for the read")
		}
		tab.Replace(read, heir)
		if heir.User != "heir" || tab.Len() != 2+neighbours {
			t.Errorf("user %v, %d operations", heir.User, tab.Len())
		}
		if tab.Enter(read) {
			t.Error("the one replaced is free, and waits behind the flush")
		}
		if got := tab.Leave(heir, nil); len(got) != 1 || got[0] != flush {
			t.Errorf("granted %v", got)
		}
		if got := tab.Leave(flush, nil); len(got) != 1 || got[0] != read {
			t.Errorf("granted %v", got)
		}
	}
}

func TestReadBehindWaitingFlushWaitsToo(t *testing.T) {
	var tab Table
	first, flush, late := op(Read, 0, 1), op(Flush, 0, 1), op(Read, 0, 1)
	if !tab.Enter(first) || tab.Enter(flush) || tab.Enter(late) {
		t.Fatal("want: run, wait, wait")
	}
	if got := tab.Leave(first, nil); len(got) != 1 || got[0] != flush {
		t.Fatalf("granted %v", got)
	}
	if got := tab.Leave(flush, nil); len(got) != 1 || got[0] != late {
		t.Fatalf("granted %v", got)
	}
}

// Whatever enters and leaves, no two running operations conflict, the order of conflicting ones is
// the order of arrival, and everything runs in the end.
func TestRandomOperationsNeverOverlapAndAllRun(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var tab Table
	running := map[*Op]int{}
	arrival, waiting := 0, map[*Op]int{}
	start := func(o *Op, at int) {
		for r := range running {
			if r.excludes(o) {
				t.Fatalf("%+v runs beside %+v", o, r)
			}
		}
		for w, n := range waiting {
			if n < at && w.excludes(o) && !o.Ahead {
				t.Fatalf("operation %d overtook %d", at, n)
			}
		}
		running[o] = at
	}
	for step := 0; step < 20000 || len(running) > 0; step++ {
		if step < 20000 && rng.IntN(2) == 0 {
			o := op(Mode(rng.IntN(int(modes))), rng.Uint32N(16), 1+rng.Uint32N(4))
			o.Ahead = rng.IntN(4) == 0
			arrival++
			free := true
			for r := range running {
				free = free && !r.excludes(o)
			}
			begins := tab.Enter(o)
			if o.Ahead && begins != free {
				t.Fatalf("ahead: begins %v, nothing in its way runs: %v", begins, free)
			}
			if begins {
				start(o, arrival)
			} else {
				waiting[o] = arrival
			}
			continue
		}
		for r := range running {
			delete(running, r)
			for _, g := range tab.Leave(r, nil) {
				at := waiting[g]
				delete(waiting, g)
				start(g, at)
			}
			break
		}
	}
	if tab.Len() != 0 || len(waiting) != 0 {
		t.Fatalf("%d operations never ran", len(waiting))
	}
}

// A read that what runs may depend on does not wait for what waits for that.
func TestReadAheadPassesAFlushThatWaits(t *testing.T) {
	var tab Table
	merge, flush, read := op(Merge, 0, 4), op(Flush, 0, 8), op(Read, 2, 4)
	read.Ahead = true
	if !tab.Enter(merge) || tab.Enter(flush) {
		t.Fatal("want: run, wait")
	}
	if !tab.Enter(read) {
		t.Fatal("waits for a flush that has not begun")
	}
	if got := tab.Leave(merge, nil); len(got) != 0 {
		t.Errorf("granted %v while the blocks are read", got)
	}
	second := op(Read, 2, 4)
	second.Ahead = true
	if !tab.Enter(second) {
		t.Error("a second one waits")
	}
	tab.Leave(read, nil)
	if got := tab.Leave(second, nil); len(got) != 1 || got[0] != flush {
		t.Fatalf("granted %v", got)
	}
	if tab.Enter(read) {
		t.Error("reads what is being flushed")
	}
	if got := tab.Leave(flush, nil); len(got) != 1 || got[0] != read {
		t.Errorf("granted %v", got)
	}
}

// What begins together with others has not begun while it waits for them: a read goes ahead.
func TestReadAheadTakesAPartBackThatHasNotBegun(t *testing.T) {
	var tab Table
	merge, one, two := op(Merge, 0, 1), op(Flush, 0, 1), op(Flush, 4, 1)
	one.Part, two.Part = true, true
	if !tab.Enter(merge) || tab.Enter(one) || !tab.Enter(two) {
		t.Fatal("want: run, wait, free")
	}
	read := op(Read, 0, 8)
	read.Ahead = true
	if !tab.Enter(read) {
		t.Fatal("waits for a part that has not begun")
	}
	if two.Free() {
		t.Error("a part is free though its blocks are read")
	}
	tab.Leave(merge, nil)
	if got := tab.Leave(read, nil); len(got) != 2 || !one.Free() || !two.Free() {
		t.Fatalf("granted %v", got)
	}
	tab.Begin(one)
	tab.Begin(two)
	if tab.Enter(read) {
		t.Error("does not wait for what has begun")
	}
}

func TestEnterAndLeaveAllocateNothing(t *testing.T) {
	var tab Table
	a, b := op(Merge, 0, 8), op(Write, 1, 1)
	granted := make([]*Op, 0, 4)
	n := testing.AllocsPerRun(100, func() {
		tab.Enter(a)
		tab.Enter(b)
		granted = tab.Leave(a, granted[:0])
		granted = tab.Leave(b, granted)
	})
	if n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// parts are n flushes of a block each, apart from each other by a block.
func parts(n uint32) (ops []*Op) {
	for i := range n {
		o := op(Flush, 2*i, 1)
		o.Part = true
		ops = append(ops, o)
	}
	return ops
}

// Parts that enter and leave together hold up, and are held up by, what the same parts do that
// enter and leave one after the other.
func TestPartsTogetherAreLikeOneAfterTheOther(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		var tabs [2]Table
		var lists [2][]*Op
		enter := func(o *Op) {
			for i := range tabs {
				copied := *o
				tabs[i].Enter(&copied)
				lists[i] = append(lists[i], &copied)
			}
		}
		some := func() {
			for range rng.IntN(6) {
				o := op(Mode(rng.IntN(int(modes))), rng.Uint32N(16), 1+rng.Uint32N(4))
				o.Ahead = rng.IntN(4) == 0
				enter(o)
			}
		}
		some()
		one, all := parts(8), parts(8)
		for _, o := range one {
			tabs[0].Enter(o)
		}
		tabs[1].EnterParts(all)
		some()
		for i := range one {
			if one[i].blockers != all[i].blockers {
				t.Fatalf("part %d: %d in its way, together %d", i, one[i].blockers, all[i].blockers)
			}
		}
		granted := [2]map[uint64]bool{{}, {}}
		for _, o := range one {
			for _, g := range tabs[0].Leave(o, nil) {
				granted[0][g.came] = true
			}
		}
		for _, g := range tabs[1].LeaveParts(all, nil) {
			granted[1][g.came] = true
		}
		for i, o := range lists[0] {
			p := lists[1][i]
			if o.blockers != p.blockers || granted[0][o.came] != granted[1][p.came] {
				t.Fatalf("%+v after one by one, %+v after all at once", o, p)
			}
		}
	}
}

// BenchmarkParts is a flush job of 256 runs, entering and leaving beside four reads.
func BenchmarkParts(b *testing.B) {
	var tab Table
	for i := range uint32(4) {
		tab.Enter(op(Read, 1000+i, 1))
	}
	ops := parts(256)
	b.Run("together", func(b *testing.B) {
		for range b.N {
			tab.EnterParts(ops)
			tab.LeaveParts(ops, nil)
		}
	})
	b.Run("one after the other", func(b *testing.B) {
		for range b.N {
			for _, o := range ops {
				tab.Enter(o)
			}
			for _, o := range ops {
				tab.Leave(o, nil)
			}
		}
	})
}
