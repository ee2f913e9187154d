package copyset

import (
	"testing"

	"github.com/ashlar-storage/ashlar/io/wal"
)

// FuzzRecovered replays records that a broken log might bring: nothing panics, and what State calls
// sound can be started.
func FuzzRecovered(f *testing.F) {
	state := NewState(1, 1, 1, []Peer{{ReplicaID: 1}}).AppendTo(nil)
	c := Command{Kind: CmdZero, Session: 1, Volume: 1, Count: 1, OpID: 1}
	f.Add(uint8(RecordState), uint64(0), uint64(0), []byte{}, state, uint8(RecordEntry), uint64(1),
		uint64(1), c.AppendTo(nil))
	f.Add(uint8(RecordHard), uint64(3), uint64(9), make([]byte, 8), state, uint8(RecordConf),
		uint64(3), uint64(10), []byte{})
	f.Fuzz(func(t *testing.T, kind1 uint8, term1, index1 uint64, meta1, payload []byte,
		kind2 uint8, term2, index2 uint64, meta2 []byte) {
		rc := new(Recovered)
		for i, r := range []wal.Record{
			{Kind: RecordState, Payload: state},
			{Kind: wal.Kind(kind1), Term: term1, Index: index1, Meta: meta1, Payload: payload},
			{Kind: wal.Kind(kind2), Term: term2, Index: index2, Meta: meta2},
		} {
			r.Group, r.At = 1, wal.LSN(i+1)<<12
			if err := rc.Add(&r); err != nil {
				return
			}
		}
		st, err := rc.State()
		if err != nil || st == nil {
			return
		}
		if l := &rc.entries; l.hard.Commit > l.last() || st.Applied < l.base {
			t.Errorf("sound with commit %d, applied %d, log %d..%d", l.hard.Commit, st.Applied,
				l.base+1, l.last())
		}
	})
}
