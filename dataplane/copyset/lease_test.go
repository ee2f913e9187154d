package copyset

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

func TestLeaseRunsFromTheOldestOfTheNewestMajority(t *testing.T) {
	const now = 1000
	for _, c := range []struct {
		voters []uint64
		acked  map[uint64]int64
		from   int64 // 0: no lease
	}{
		{[]uint64{1}, nil, now},
		{[]uint64{1, 2}, nil, 0},
		{[]uint64{1, 2}, map[uint64]int64{2: 10}, 10},
		{[]uint64{1, 2, 3}, map[uint64]int64{2: 10}, 10},
		{[]uint64{1, 2, 3}, map[uint64]int64{2: 10, 3: 30}, 30},
		{[]uint64{1, 2, 3, 4}, map[uint64]int64{2: 30}, 0},
		{[]uint64{1, 2, 3, 4}, map[uint64]int64{2: 30, 3: 20}, 20},
		{[]uint64{1, 2, 3, 4}, map[uint64]int64{2: 30, 3: 20, 4: 10}, 20},
		{[]uint64{1, 2, 3, 4, 5}, map[uint64]int64{2: 30}, 0},
		{[]uint64{1, 2, 3, 4, 5}, map[uint64]int64{2: 30, 5: 20}, 20},
		{[]uint64{1, 2, 3, 4, 5}, map[uint64]int64{2: 30, 3: 25, 4: 20, 5: 10}, 25},
		{[]uint64{1, 2, 3}, map[uint64]int64{7: 50, 8: 50}, 0},  // answers of others than voters
		{[]uint64{2, 3, 4}, map[uint64]int64{2: 10, 3: 20}, 10}, // the leader is no voter
		{nil, map[uint64]int64{2: 10}, 0},
	} {
		l := lease{acked: map[uint64]int64{}}
		for id, at := range c.acked {
			l.answer(id, at)
			l.answer(id, at-5) // a late answer takes nothing back
		}
		want := c.from + int64(leaseDuration)
		if c.from == 0 {
			want = 0
		}
		if got := l.until(1, &raftpb.ConfState{Voters: c.voters}, now); got != want {
			t.Errorf("voters %v, answers %v: until %d, want %d", c.voters, c.acked, got, want)
		}
	}
}

func TestLeaseGivenAwayComesBackInTheNextTermOnly(t *testing.T) {
	l := lease{acked: map[uint64]int64{}}
	l.reset(1)
	l.answer(2, 10)
	l.given = true
	if l.until(1, &raftpb.ConfState{Voters: []uint64{1, 2, 3}}, 20) != 0 {
		t.Error("a lease after the leadership was handed over")
	}
	l.answer(2, 30)
	if l.until(1, &raftpb.ConfState{Voters: []uint64{1, 2, 3}}, 40) != 0 {
		t.Error("an answer brought it back")
	}
	l.reset(2)
	if l.until(1, &raftpb.ConfState{Voters: []uint64{1, 2, 3}}, 40) != 0 {
		t.Error("answers of an earlier term count")
	}
	l.answer(2, 50)
	if l.until(1, &raftpb.ConfState{Voters: []uint64{1, 2, 3}}, 60) != 50+int64(leaseDuration) {
		t.Error("no lease in the new term")
	}
}

// restarted is replica 1 of three, recovered at time 100.
func restarted(t *testing.T, unproven bool) *Replica {
	t.Helper()
	h := newSolo(t, 3)
	rc := new(Recovered)
	replayOf(t, rc, h)
	st, err := rc.State()
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{State: st, Recovered: rc, ChunkBlocks: soloBlocks, Pool: h.pool, Now: 100,
		Unproven: unproven, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRestartedReplicaTakesNoPartInElectionsAtFirst(t *testing.T) {
	r := restarted(t, false)
	var fx Effects
	r.Campaign()
	r.Message(voteRequest(), 100+electionTicks*int64(TickInterval)-1, &fx)
	r.Ready(200, &fx)
	if len(fx.Messages)+len(fx.Appends) != 0 {
		t.Errorf("voted or campaigned right after the restart: %+v", fx)
	}
	r.Message(voteRequest(), 100+electionTicks*int64(TickInterval), &fx)
	r.Ready(100+electionTicks*int64(TickInterval), &fx)
	if len(fx.Appends) == 0 {
		t.Error("does not record a vote afterwards")
	}
}

func TestLeaseInAJointMembershipNeedsBothMajorities(t *testing.T) {
	conf := &raftpb.ConfState{Voters: []uint64{1, 2, 4}, VotersOutgoing: []uint64{1, 2, 3}}
	for _, c := range []struct {
		acked map[uint64]int64
		from  int64 // 0: no lease
	}{
		{map[uint64]int64{3: 10}, 0},
		{map[uint64]int64{4: 10}, 0},
		{map[uint64]int64{2: 10}, 10},
		{map[uint64]int64{3: 20, 4: 10}, 10},
	} {
		want := int64(0)
		if c.from > 0 {
			want = c.from + int64(leaseDuration)
		}
		l := lease{acked: c.acked}
		if got := l.until(1, conf, 1000); got != want {
			t.Errorf("%v answered: until %d, want %d", c.acked, got, want)
		}
	}
}
