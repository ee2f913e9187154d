package main

import "testing"

func TestWorkloadIsTheSameForASeedAndStaysInItsChunks(t *testing.T) {
	a, b := workloadOf(1, 300, 2), workloadOf(1, 300, 2)
	if a.last() != phases*300+2*windowWrites {
		t.Fatalf("%d operations", a.last())
	}
	trims, large := 0, 0
	for i, o := range a.ops {
		if o != b.ops[i] || o.number != uint64(i) {
			t.Fatalf("operation %d: %+v and %+v", i, o, b.ops[i])
		}
		if i == 0 {
			continue
		}
		c1, k1, _ := place(o.first)
		c2, k2, _ := place(o.first + o.count - 1)
		if c1 != c2 || k1 != k2 || c1 < 1 || c1 > copysets || k1 >= chunks || o.count < 1 {
			t.Errorf("%+v leaves its chunk", o)
		}
		if o.trim {
			trims++
		}
		if o.count > 32 {
			large++
		}
	}
	if trims < 20 || large < 20 {
		t.Errorf("%d trims and %d large writes of %d", trims, large, a.last())
	}
}

func TestOperationsOfABatchAreDisjoint(t *testing.T) {
	for _, b := range batches(7, 2, 500, 1) {
		taken := map[int]bool{}
		for _, o := range b {
			if !take(taken, o) {
				t.Fatalf("%+v overlaps in %+v", o, b)
			}
		}
	}
}

func TestOracleTakesOnlyWhatAPowerCutMayLeave(t *testing.T) {
	r := newOracle()
	for _, o := range []op{{1, 5, 1, false}, {2, 5, 1, false}, {3, 5, 1, true}, {4, 5, 1, false}} {
		r.add(batch{o})
	}
	of := func(n uint64) []byte {
		if n == 0 {
			return make([]byte, blockSize)
		}
		return op{number: n, first: 5, count: 1}.fill()
	}
	mixed := append(of(1)[:blockSize/2:blockSize/2], of(2)[blockSize/2:]...)
	moved := op{number: 1, first: 6, count: 1}.fill()
	for _, c := range []struct {
		name         string
		found        []byte
		issued, done uint64
		fine         bool
	}{
		{"nothing sent, nothing there", of(0), 0, 0, true},
		{"nothing sent, something there", of(1), 0, 0, false},
		{"sent and not there", of(0), 1, 0, true},
		{"sent and there", of(1), 1, 0, true},
		{"acknowledged and there", of(1), 1, 1, true},
		{"acknowledged and not there", of(0), 1, 1, false},
		{"older than acknowledged", of(1), 2, 2, false},
		{"newer than acknowledged", of(2), 2, 1, true},
		{"two versions behind, both under way", of(1), 2, 0, true},
		{"not sent yet", of(2), 1, 1, false},
		{"trimmed and there still", of(2), 3, 3, false},
		{"trimmed", of(0), 3, 3, true},
		{"trim under way, old", of(2), 3, 2, true},
		{"trim under way, gone", of(0), 3, 2, true},
		{"written after the trim", of(4), 4, 4, true},
		{"trim comes back", of(0), 4, 4, false},
		{"half of each", mixed, 2, 0, false},
		{"acknowledged and yet older than what was sent", of(1), 1, 2, false},
		{"another block's", moved, 4, 0, false},
	} {
		_, err := r.check(5, c.found, c.issued, func(n uint64) bool { return n <= c.done })
		if (err == nil) != c.fine {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
