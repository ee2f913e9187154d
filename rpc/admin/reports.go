package admin

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// A node has a report for each of its replicas, and most of them say the same for hours. A partial
// heartbeat has those that changed, and a sum over all, so that who hears it knows whether it has
// the others as they are. What changes all the time are the indexes of a log that is written to;
// nobody decides by them but by whether a replica has caught up, so a report counts as changed when
// that does.

// CatchUpSlack is how many log entries a follower may be behind its leader's commit and still count
// as caught up: under load nobody is ever level.
const CatchUpSlack = 1024

// CaughtUp reports whether a follower has what its leader's report says is committed.
func CaughtUp(leader *v1.ReplicaReport, p *v1.PeerProgress) bool {
	return p.GetMatchIndex()+CatchUpSlack >= leader.GetCommitIndex()
}

// ReportSum is a checksum of a report as it was sent. The sums of a node's reports are added up,
// modulo 2^64, so that one can be taken out and another put in.
func ReportSum(r *v1.ReplicaReport) uint64 { return sum(r, true) }

// ReportSense is a checksum of what of a report somebody decides by: all but the indexes
// themselves.
func ReportSense(r *v1.ReplicaReport) uint64 { return sum(r, false) }

func sum(r *v1.ReplicaReport, exact bool) uint64 {
	var room [512]byte
	b := room[:0]
	word := func(v uint64) { b = binary.LittleEndian.AppendUint64(b, v) }
	flag := func(v bool) {
		if v {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	text := func(s string) { word(uint64(len(s))); b = append(b, s...) }
	for _, v := range []uint64{r.CopysetId, r.ReplicaId, r.StoreId, r.LeaderReplicaId, r.Term} {
		word(v)
	}
	if r.GivenUpReplicaId != 0 { // releases before do not know it
		word(r.GivenUpReplicaId)
	}
	flag(r.Leader)
	flag(r.Joint)
	flag(r.Recorded)
	text(r.State)
	text(r.Detail)
	for _, list := range [][]uint64{r.Voters, r.Learners} {
		word(uint64(len(list)))
		for _, v := range list {
			word(v)
		}
	}
	for _, p := range r.Progress {
		word(p.GetReplicaId())
		flag(p.GetActive())
		flag(CaughtUp(r, p))
		if exact {
			word(p.GetMatchIndex())
		}
	}
	if exact {
		word(r.CommitIndex)
		word(r.AppliedIndex)
	}
	return xxhash.Sum64(b)
}
