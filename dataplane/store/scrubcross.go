package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// A block that fits its checksum may be the wrong block all the same: a device that lost the write
// of a block and that of its checksum, or a fault of this program. It shows only beside the other
// replicas. So the leader asks each for the checksums it has on record, and compares.
//
// Replicas are never at one place of the log for long. The others answer when they have applied at
// least what the leader had; what differs then may have been written meanwhile, and is looked at
// again, at uneven intervals. A difference counts when no replica's checksum of the block has
// changed over all the looks: a write in between would have made all of them equal, or changed one.
//
// A replica whose bytes do not fit its checksum is damaged: asked for the blocks, it finds out and
// repairs itself. Where all fit, nobody can tell here who is right, and nothing is changed: the
// finding says who differs from a majority, if there is one.

// replicaSums is what one replica has on record for a range.
type replicaSums struct {
	replica uint64
	peer    copyset.Peer
	crcs    []uint32
}

// crossing is the comparison of one range.
type crossing struct {
	id           chunkfile.ID
	first, count uint32
	self         uint64
	peers        []copyset.Peer // without this one
	unread       bool           // some could not be read
}

// crossCheck compares a range in all replicas, if the one here leads.
func (s *Store) crossCheck(id chunkfile.ID, first, count uint32) {
	x := crossing{id: id, first: first, count: count}
	leads := false
	asked := s.Owner(id.Group).Do(func() {
		m := s.Owner(id.Group).replicas[id.Group]
		if leads = m != nil && m.Leader() == m.Self(); leads {
			x.self = m.Self()
			x.peers = slices.Clone(m.Peers())
		}
	})
	if !asked {
		return // stopping
	}
	x.peers = slices.DeleteFunc(x.peers, func(p copyset.Peer) bool { return p.ReplicaID == x.self })
	if !leads || len(x.peers) == 0 {
		s.crossed(&x, nil, nil, false) // what was found here before is another leader's to tell
		return
	}
	if time.Now().Before(s.crossAfter) {
		return
	}
	all, differ, ok := s.settledDifference(&x)
	if !ok {
		s.crossAfter = time.Now().Add(crossRest)
		return
	}
	mended := false
	if len(differ) > 0 {
		x.unread = !s.haveRead(&x, differ)
		was := len(differ)
		if all, differ, ok = s.settledDifference(&x); !ok {
			return
		}
		mended = len(differ) < was
	}
	s.crossed(&x, all, differ, mended)
}

// settledDifference finds the blocks whose checksums differ and stay what they are.
func (s *Store) settledDifference(x *crossing) (all []replicaSums, differ []uint32, ok bool) {
	for try := range crossLooks {
		now := s.sumsOf(x)
		if len(now) < 2 || try > 0 && len(now) != len(all) {
			return nil, nil, false
		}
		var still []uint32
		for n := range x.count {
			if differs(now, n) && (try == 0 || slices.Contains(differ, n) && same(now, all, n)) {
				still = append(still, n)
			}
		}
		if all, differ = now, still; len(differ) == 0 {
			return all, nil, true
		}
		if !s.pause(crossPause/2 + rand.N(crossPause)) {
			return nil, nil, false
		}
	}
	return all, differ, true
}

func differs(all []replicaSums, n uint32) bool {
	return slices.ContainsFunc(all, func(r replicaSums) bool { return r.crcs[n] != all[0].crcs[n] })
}

func same(a, b []replicaSums, n uint32) bool {
	return slices.EqualFunc(a, b, func(a, b replicaSums) bool {
		return a.replica == b.replica && a.crcs[n] == b.crcs[n]
	})
}

// sumsOf asks every replica, this one first; who does not answer is left out.
func (s *Store) sumsOf(x *crossing) (all []replicaSums) {
	r := copyset.PeerRead{Chunk: copyset.Chunk{Volume: x.id.Volume, Index: x.id.Index},
		First: x.first, Count: x.count}
	here := r
	here.Sums = true
	crcs, st := s.ask(x.id.Group, &here)
	if st != wire.StatusOK {
		return nil
	}
	all = append(all, replicaSums{replica: x.self, crcs: crcs})
	r.Applied = here.At
	for _, p := range x.peers {
		crcs, err := s.host.PeerSums(p, x.id.Group, r)
		for try := 0; wire.StatusOf(err) == wire.StatusRetry && try < crossLooks &&
			s.pause(repairPause); try++ {
			crcs, err = s.host.PeerSums(p, x.id.Group, r)
		}
		if err == nil {
			all = append(all, replicaSums{replica: p.ReplicaID, peer: p, crcs: crcs})
		}
	}
	return all
}

// haveRead has the other replicas read blocks and repair what is bad there. Two at a time, because
// a question for a single block is itself a repair and does not begin another. It reports whether
// all could be read.
func (s *Store) haveRead(x *crossing, differ []uint32) bool {
	good := len(differ) <= findingBlocks
	for _, n := range differ[:min(len(differ), findingBlocks)] {
		first := x.first + n&^1
		r := copyset.PeerRead{Chunk: copyset.Chunk{Volume: x.id.Volume, Index: x.id.Index},
			First: first, Count: min(2, x.first+x.count-first)}
		for _, p := range x.peers {
			data, _, err := s.host.PeerBlocks(p, x.id.Group, r)
			if err == nil {
				data.Release()
			}
			good = good && err == nil
		}
	}
	return good
}

// crossed notes what a comparison came to.
func (s *Store) crossed(x *crossing, all []replicaSums, differ []uint32, mended bool) {
	s.scrubMu.Lock()
	defer s.scrubMu.Unlock()
	c := &s.scrub
	known := c.Standing
	c.forget(func(b badBlock) bool {
		return b.Diverged && b.Chunk == x.id && b.Block >= x.first && b.Block-x.first < x.count
	})
	if len(all) == len(x.peers)+1 && len(x.peers) > 0 {
		c.Compared += uint64(x.count)
	}
	if mended {
		c.find(x.id, "blocks differed between replicas until one repaired what it had")
	}
	told := map[string][]uint32{}
	for _, n := range differ {
		b := badBlock{Chunk: x.id, Block: x.first + n, Diverged: true}
		if !slices.Contains(known, b) {
			v := verdict(all, n, len(x.peers)+1)
			told[v] = append(told[v], b.Block)
		}
		if len(c.Standing) < maxStanding {
			c.Standing = append(c.Standing, b)
		}
	}
	for _, v := range sortedKeys(told) {
		s.log.Error("replicas differ", "chunk", x.id, "blocks", told[v], "who", v)
		fit := ", and all fit their checksums"
		if x.unread {
			fit = ""
		}
		c.find(x.id, fmt.Sprintf("blocks %v differ%s: %s",
			told[v][:min(len(told[v]), findingBlocks)], fit, v))
	}
}

// verdict says who differs from whom. Only more than half of all members are a majority, those that
// did not answer too.
func verdict(all []replicaSums, n uint32, members int) string {
	by := map[uint32][]uint64{}
	var most, rest []uint64
	for _, r := range all {
		crc := r.crcs[n]
		by[crc] = append(by[crc], r.replica)
		if 2*len(by[crc]) > members {
			most = by[crc]
		}
	}
	for _, r := range all {
		if !slices.Contains(most, r.replica) {
			rest = append(rest, r.replica)
		}
	}
	if most == nil {
		return fmt.Sprintf("replicas %v, no majority", rest)
	}
	return fmt.Sprintf("replicas %v from the majority %v", rest, most)
}
