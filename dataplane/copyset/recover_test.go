package copyset

import (
	"encoding/binary"
	"errors"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/io/wal"
)

// script is records for a replay, at rising places.
type script struct{ records []wal.Record }

func (s *script) add(r wal.Record) *script {
	r.Group, r.At = 1, wal.LSN(len(s.records)+1)<<20
	s.records = append(s.records, r)
	return s
}

func (s *script) entry(term, index uint64) *script {
	c := Command{Kind: CmdZero, Session: 1, Volume: 1, Count: 1, OpID: index}
	return s.add(wal.Record{Kind: RecordEntry, Term: term, Index: index, Meta: c.AppendTo(nil)})
}

func (s *script) hard(term, vote, commit uint64) *script {
	return s.add(wal.Record{Kind: RecordHard, Term: term, Index: commit,
		Meta: binary.LittleEndian.AppendUint64(nil, vote)})
}

func (s *script) state(applied, appliedTerm uint64, h raftpb.HardState) *script {
	st := NewState(1, 1, 1, []Peer{{ReplicaID: 1}, {ReplicaID: 2}, {ReplicaID: 3}})
	st.Applied, st.AppliedTerm, st.Hard = applied, appliedTerm, h
	return s.add(wal.Record{Kind: RecordState, Payload: st.AppendTo(nil)})
}

func (s *script) replay(t *testing.T) *Recovered {
	t.Helper()
	rc := new(Recovered)
	for i := range s.records {
		if err := rc.Add(&s.records[i]); err != nil {
			t.Fatal(err)
		}
	}
	return rc
}

// replayOf replays what a fresh replica writes first.
func replayOf(t *testing.T, rc *Recovered, h *solo) {
	h.r.BeginCheckpoint()
	h.r.EndCheckpoint(&h.fx)
	h.turn()
	for _, a := range h.appends {
		for i := range a.Records {
			a.Records[i].At = 4096
			if err := rc.Add(&a.Records[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.settle()
}

func voteRequest() *Message {
	return &Message{Copyset: 1, Message: raftpb.Message{Type: raftpb.MsgVote, From: 2, To: 1,
		Term: 9, Index: 50, LogTerm: 9}}
}

var none raftpb.HardState

func TestReplayTellsDamageFromWhatRecyclingLeaves(t *testing.T) {
	for name, c := range map[string]struct {
		s       *script
		damaged bool
		first   uint64
		last    uint64
		lastT   uint64
	}{
		"new replica": {new(script).state(0, 0, none), false, 1, 0, 0},
		"log behind a new replica": {new(script).state(0, 0, none).entry(1, 1).entry(1, 2).
			hard(1, 1, 1), false, 1, 2, 1},
		"torn tail": {new(script).state(0, 0, none).entry(1, 1).hard(1, 1, 1), false, 1, 1, 1},
		"hole behind the state": {new(script).state(4, 1, none).entry(1, 6).entry(1, 7),
			true, 0, 0, 0},
		"hole in the middle": {new(script).state(4, 1, none).entry(1, 5).entry(1, 7),
			true, 0, 0, 0},
		"commit beyond the end": {new(script).state(0, 0, none).entry(1, 1).hard(1, 1, 2),
			true, 0, 0, 0},
		"log begins above the state": {new(script).entry(1, 9).state(4, 1, none), true, 0, 0, 0},
		"stale state, then the log, then the newer state": {new(script).state(4, 1, none).
			entry(1, 8).entry(1, 9).state(8, 1, none).entry(1, 10), false, 9, 10, 1},
		"state recorded in the middle of its entries": {new(script).entry(1, 7).entry(1, 8).
			state(6, 1, none).entry(1, 9), false, 7, 9, 1},
		"snapshot ahead of the log": {new(script).state(2, 1, none).entry(1, 3).state(50, 2, none).
			entry(2, 51), false, 51, 51, 2},
		"snapshot of another term than the log": {new(script).state(2, 1, none).entry(1, 3).
			entry(1, 4).state(3, 2, none), false, 4, 3, 2},
		"new leader overwrites the tail": {new(script).state(2, 1, none).entry(1, 3).entry(1, 4).
			entry(1, 5).entry(2, 4), false, 3, 4, 2},
		"first record is of an overwritten tail": {new(script).entry(1, 12).state(9, 1, none).
			entry(2, 10).entry(2, 11).entry(2, 12), false, 10, 12, 2},
		"state, then the rest of an overwritten tail": {new(script).state(9, 1, none).entry(1, 12).
			entry(2, 10).entry(2, 11), false, 10, 11, 2},
		"entries behind an older base are kept for followers": {new(script).entry(1, 5).entry(1, 6).
			entry(1, 7).state(7, 1, none), false, 6, 7, 1},
	} {
		rc := c.s.replay(t)
		st, err := rc.State()
		if errors.Is(err, ErrDamaged) != c.damaged {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err != nil {
			continue
		}
		l := &rc.entries
		lastTerm, _ := l.Term(l.last())
		if l.base+1 != c.first || l.last() != c.last || lastTerm != c.lastT {
			t.Errorf("%s: log %d..%d, last term %d, want %d..%d, %d", name, l.base+1, l.last(),
				lastTerm, c.first, c.last, c.lastT)
		}
		if _, err := New(Config{State: st, Recovered: rc, ChunkBlocks: 16, Now: 1,
			Logger: discard}); err != nil {
			t.Errorf("%s: the replica does not start: %v", name, err)
		}
	}
}

func TestVoteIsNeverTakenBack(t *testing.T) {
	for name, c := range map[string]struct {
		s    *script
		want raftpb.HardState
	}{
		"older state behind a vote": {new(script).state(0, 0, none).hard(3, 2, 0).
			state(0, 0, raftpb.HardState{Term: 2, Vote: 1}), raftpb.HardState{Term: 3, Vote: 2}},
		"same term without a vote": {new(script).state(0, 0, none).hard(3, 2, 0).
			state(0, 0, raftpb.HardState{Term: 3}), raftpb.HardState{Term: 3, Vote: 2}},
		"newer term without a vote": {new(script).state(0, 0, none).hard(3, 2, 0).hard(4, 0, 0),
			raftpb.HardState{Term: 4}},
		"commit of an older state": {new(script).state(0, 0, none).entry(1, 1).hard(1, 1, 1).
			hard(2, 1, 0), raftpb.HardState{Term: 2, Vote: 1, Commit: 1}},
	} {
		rc := c.s.replay(t)
		if _, err := rc.State(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := rc.entries.hard; got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestDamageFoundByTheLogKeepsTheReplicaDown(t *testing.T) {
	rc := new(script).state(0, 0, none).entry(1, 1).replay(t)
	rc.Damage(0, errors.New("segment 7 is unreadable"))
	if _, err := rc.State(); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
}

func TestDamageBeforeAMemberWasMadeIsNotItsOwn(t *testing.T) {
	s := new(script).state(7, 1, raftpb.HardState{Term: 3, Vote: 2, Commit: 7}).entry(3, 8).
		entry(3, 10)
	born := s.state(0, 0, none).records[3].At
	s.records[3].Payload = reborn(t, s.records[3].Payload, 9)
	rc := s.entry(1, 1).replay(t)
	rc.Damage(born-1, errors.New("frame lost"))
	st, err := rc.State()
	if err != nil || st.Replica != 9 || rc.entries.hard.Term != 0 || rc.entries.last() != 1 {
		t.Fatalf("%+v, hard state %+v, %v", st, rc.entries.hard, err)
	}
	rc.Damage(born+1, errors.New("frame lost"))
	if _, err := rc.State(); !errors.Is(err, ErrDamaged) {
		t.Errorf("damage behind its first record: %v", err)
	}
}

// reborn is an encoded state under another member's number.
func reborn(t *testing.T, b []byte, replica uint64) []byte {
	var st State
	if err := st.Decode(b); err != nil {
		t.Fatal(err)
	}
	st.Replica = replica
	return st.AppendTo(nil)
}

func TestRecordsWithoutTheirStateAreDamage(t *testing.T) {
	for name, s := range map[string]*script{"an entry": new(script).entry(1, 7),
		"a vote": new(script).hard(3, 2, 0)} {
		if st, err := s.replay(t).State(); st != nil || !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %+v, %v", name, st, err)
		}
	}
}

func TestReplicaCutOffBeforeItsFirstStateIsNone(t *testing.T) {
	if st, err := new(Recovered).State(); st != nil || err != nil {
		t.Error(st, err)
	}
}

func TestRecordsOfNewerVersionsAreRefused(t *testing.T) {
	for name, r := range map[string]wal.Record{
		"kind":       {Group: 1, Kind: 99},
		"hard state": {Group: 1, Kind: RecordHard, Meta: make([]byte, 7)},
		"state":      {Group: 1, Kind: RecordState, Payload: []byte{3}},
	} {
		if err := new(Recovered).Add(&r); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
