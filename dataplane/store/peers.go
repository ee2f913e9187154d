package store

import (
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

const (
	// repairTime is how long peers that have not applied enough yet are asked for a block again,
	// and repairPause how often. An idle follower learns what is committed from a heartbeat.
	repairTime  = time.Second
	repairPause = copyset.TickInterval / 2
)

// PeerGone tells the store that the process of the node at an address has ended, as far as one can
// see. The followers of what led there doubt it, each when its time comes, and no leader waits for
// a replica there to take over from it.
func (s *Store) PeerGone(addr string) {
	for _, o := range s.owners {
		o.post(func() { o.suspect(addr) })
	}
}

func (o *Owner) suspect(addr string) {
	now := o.store.clock()
	for _, m := range o.replicas {
		for _, p := range m.Peers() {
			if p.Addr != addr {
				continue
			}
			o.touch(m)
			if at := m.Gone(p.ReplicaID, now); at != 0 {
				time.AfterFunc(time.Duration(at-now), func() { o.post(func() { o.wake(m) }) })
			}
		}
	}
}

// wake gives a replica its turn in an election, unless it is gone by now.
func (o *Owner) wake(m *member) {
	if o.replicas[m.ID()] == m {
		m.Wake(o.store.clock())
		o.touch(m)
	}
}

// repair asks the other members for blocks that are bad here.
func (o *Owner) repair(job *copyset.RepairJob) {
	job.Good, job.CRCs = map[uint32]copyset.Payload{}, map[uint32]uint32{}
	group := job.Replica.ID()
	var peers []copyset.Peer
	o.Do(func() {
		for _, p := range job.Replica.Peers() {
			if p.ReplicaID != job.Replica.Self() {
				peers = append(peers, p)
			}
		}
	})
	for _, n := range job.Blocks {
		for end := time.Now().Add(repairTime); o.repairBlock(job, n, peers) &&
			time.Now().Before(end) && o.store.pause(repairPause); {
		}
	}
	o.queue.post(event{copyset: group, repair: job})
}

// repairBlock asks each peer for a block. It reports whether none gave it and one may soon: a
// follower learns a little later than the leader what is committed.
func (o *Owner) repairBlock(job *copyset.RepairJob, n uint32, peers []copyset.Peer) (again bool) {
	s, group := o.store, job.Replica.ID()
	for _, p := range peers {
		data, crcs, err := s.host.PeerBlocks(p, group, copyset.PeerRead{Chunk: job.Chunk, First: n,
			Count: 1, Applied: job.Applied})
		if err == nil {
			job.Good[n] = data
			if len(crcs) > 0 {
				job.CRCs[n] = crcs[0]
			}
			s.repaired.Add(1)
			s.log.Info("block repaired from a peer", "copyset", group, "chunk", job.Chunk,
				"block", n, "from", p.ReplicaID)
			return false
		}
		again = again || wire.StatusOf(err) == wire.StatusRetry
		s.log.Warn("no good copy there", "copyset", group, "block", n, "peer", p.ReplicaID,
			"err", err)
	}
	return again
}

// pause waits; false when the store stops meanwhile.
func (s *Store) pause(d time.Duration) bool {
	if d <= 0 {
		select {
		case <-s.stop:
			return false
		default:
			return true
		}
	}
	select {
	case <-s.stop:
		return false
	case <-time.After(d):
		return true
	}
}
