package copyset

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

var errSimNet = errors.New("peer does not answer")

// send puts a message on the network in its encoded form, and gives its payloads back.
func (s *sim) send(from *simNode, m *Message) {
	defer m.Release()
	to := int(m.To) - 1
	for i := range m.Payloads {
		p := &m.Payloads[i]
		if p.Len == 0 || p.B != nil {
			continue
		}
		b, err := from.pool.Get(p.Len)
		if err != nil {
			from.post(func(int64) { from.r.Unreachable(m.To) })
			return
		}
		p.B, p.Buf = b.Bytes(), b
		for k := 0; k < p.Len; k += BlockSize {
			block := from.log.block(p.At + wal.LSN(k))
			if block == nil {
				s.fail("replica %d: an entry to send is not in the log at %d", from.id, p.At)
				return
			}
			copy(p.B[k:], block)
		}
		s.mark("sent from the log")
	}
	for _, part := range m.Split(nil) {
		meta, err := part.AppendTo(nil)
		if err != nil {
			s.fail("encode: %v", err)
			return
		}
		pieces, err := part.Body(nil)
		if err != nil {
			s.fail("encode: %v", err)
			return
		}
		body := slices.Concat(pieces...)
		if len(meta) > wire.MaxMeta || len(body) > wire.MaxPayload {
			s.fail("frame of %d + %d bytes", len(meta), len(body))
			return
		}
		s.note(from.id, m.To, uint64(m.Type), m.Term, part.Index, uint64(len(part.Entries)))
		s.carry(from, s.nodes[to], m.Type == raftpb.MsgApp, meta, body)
	}
}

// simWay is a connection: appends have one of their own.
type simWay struct {
	from, to int
	data     bool
}

// carry brings a message over once, never, or twice.
func (s *sim) carry(from, to *simNode, data bool, meta, body []byte) {
	times := 1
	if s.chance(s.cfg.dup) {
		times = 2
		s.mark("message repeated")
	}
	for range times {
		if s.chance(s.cfg.drop) {
			s.mark("message lost")
			continue
		}
		s.after(s.arrival(simWay{from.i, to.i, data}), func() {
			if s.cuts[from.i][to.i] || !to.up {
				return
			}
			b := to.buffer(body)
			if b == nil && len(body) > 0 {
				return
			}
			m := new(Message)
			if err := m.Decode(meta, b); err != nil {
				s.fail("decode: %v", err)
				return
			}
			if b != nil {
				b.Release()
			}
			to.post(func(now int64) { to.r.Message(m, now, &to.fx) })
		})
	}
}

// arrival is how long a message takes on a way. A connection keeps the order, until it breaks and
// there is another: now and then a message is overtaken by what was sent after it.
func (s *sim) arrival(w simWay) time.Duration {
	held := time.Duration(max(0, s.clogs[w.from][w.to]-s.now))
	at := s.now + int64(held+s.delay())
	if s.cfg.shuffle || s.chance(0.02) {
		return time.Duration(at - s.now)
	}
	at = max(at, s.arrived[w]+1)
	s.arrived[w] = at
	return time.Duration(at - s.now)
}

// delay is short, and now and then so long that later messages overtake.
func (s *sim) delay() time.Duration {
	d := s.around(s.cfg.delay)
	if s.chance(0.02) {
		d += s.around(50 * s.cfg.delay)
	}
	return d
}

// ask reads blocks from another replica, or their checksums. done is called once, in the life that
// asked, or never.
func (s *sim) ask(n *simNode, peer *simNode, r PeerRead, done func([]byte, []uint32, error)) {
	life := n.life
	answer := func(data []byte, crcs []uint32, err error) {
		if done == nil {
			return
		}
		if f := done; n.life == life && n.up {
			done = nil
			f(data, crcs, err)
		}
	}
	s.after(2*time.Second, func() { answer(nil, nil, errSimNet) })
	r.Done = func(status wire.Status, body [][]byte, crcs []uint32, hold []Payload) {
		var data []byte
		for _, p := range body {
			data = append(data, p...)
		}
		for i := range hold {
			hold[i].Release()
		}
		if status != wire.StatusOK {
			s.mark("peer refused " + status.String())
			s.after(s.delay(), func() { answer(nil, nil, status.Err()) })
			return
		}
		if !r.Sums && len(data) != int(r.Count)*BlockSize || len(crcs) != int(r.Count) {
			s.fail("peer read of %d blocks gave %d bytes, %d checksums", r.Count, len(data),
				len(crcs))
			return
		}
		for k, crc := range crcs {
			if !r.Sums && wire.CRC32C(data[k*BlockSize:(k+1)*BlockSize]) != crc {
				s.fail("peer read: block %d does not fit its checksum", k)
			}
		}
		if s.cuts[peer.i][n.i] {
			return
		}
		s.after(s.delay(), func() { answer(data, crcs, nil) })
	}
	s.after(s.delay(), func() {
		if !s.cuts[n.i][peer.i] {
			peer.post(func(now int64) { peer.r.Fetch(&r, now, &peer.fx) })
		}
	})
}

// repair asks the others for every bad block, one after the other.
func (n *simNode) repair(job *RepairJob) {
	n.s.mark("repair")
	job.Good, job.CRCs = map[uint32]Payload{}, map[uint32]uint32{}
	j := n.begin(func() { n.r.RepairDone(job, n.clock(), &n.fx) })
	n.repairNext(job, j, 0, 0)
}

func (n *simNode) repairNext(job *RepairJob, j *simJob, block, peer int) {
	all := n.s.members.wanted()
	for peer < len(all) && (all[peer] == n || !all[peer].up) {
		peer++
	}
	if block == len(job.Blocks) {
		if n.end(j) {
			n.post(func(now int64) { n.r.RepairDone(job, now, &n.fx) })
		}
		return
	}
	if peer >= len(all) {
		n.s.mark("no good copy")
		n.repairNext(job, j, block+1, 0)
		return
	}
	b := job.Blocks[block]
	n.s.ask(n, all[peer], PeerRead{Chunk: job.Chunk, First: b, Count: 1,
		Applied: job.Applied}, func(data []byte, _ []uint32, err error) {
		p := n.buffer(data)
		if err != nil || p == nil {
			n.repairNext(job, j, block, peer+1)
			return
		}
		n.s.mark("block repaired")
		job.Good[b], job.CRCs[b] = NewPayload(p), wire.CRC32C(data)
		n.repairNext(job, j, block+1, 0)
	})
}

// fetch brings the chunk files to the leader's, chunk by chunk, in pieces.
func (n *simNode) fetch(job *SnapshotJob) {
	n.s.mark("fetch")
	leader := n.s.nodes[job.Leader.ReplicaID-1]
	j := n.begin(func() { job.Err = errPower; n.r.SnapshotDone(job, n.clock(), &n.fx) })
	finish := func(err error) {
		if n.end(j) {
			if job.Err = err; err == nil {
				n.s.mark("fetched")
			}
			n.post(func(now int64) { n.r.SnapshotDone(job, now, &n.fx) })
		}
	}
	life := n.life
	n.s.after(n.s.delay(), func() {
		if n.life != life || !n.up || !leader.up || n.s.cuts[n.i][leader.i] {
			n.s.after(time.Second, func() { finish(errSimNet) })
			return
		}
		if status := leader.r.Lists(job.Index); status != wire.StatusOK {
			finish(status.Err())
			return
		}
		theirs := map[Chunk]bool{}
		for _, c := range append(leader.chunks.list(), leader.r.Chunks()...) {
			theirs[c] = true
		}
		var needed []Chunk
		for _, c := range sortedChunks(theirs) {
			listed := ListedChunk{Chunk: c, LastWrite: leader.r.LastWrite(c)}
			if _, ok := n.chunks.now[c]; ok && job.UpToDate(listed) {
				n.s.mark("chunk up to date")
				continue
			}
			needed = append(needed, c)
		}
		n.fetchNext(job, leader, needed, 0, func(err error) {
			for _, c := range n.chunks.list() {
				if err == nil && !theirs[c] {
					n.chunks.drop(c)
				}
			}
			finish(err)
		})
	})
}

const simFetch = 5 // blocks of one read

func (n *simNode) fetchNext(job *SnapshotJob, leader *simNode, list []Chunk, first uint32,
	finish func(error)) {
	if len(list) == 0 {
		finish(nil)
		return
	}
	c := list[0]
	count := min(simFetch, simChunkBlocks-first)
	n.fetchRange(job, leader, c, first, count, func(err error) {
		switch next := first + count; {
		case err != nil:
			finish(err)
		case next < simChunkBlocks:
			n.fetchNext(job, leader, list, next, finish)
		default:
			n.chunks.syncChunk(c)
			n.fetchNext(job, leader, list[1:], 0, finish)
		}
	})
}

// fetchRange fetches the blocks that the leader has, and of those that it has lost the checksum.
func (n *simNode) fetchRange(job *SnapshotJob, leader *simNode, c Chunk, first, count uint32,
	done func(error)) {
	n.s.ask(n, leader, PeerRead{Chunk: c, First: first, Count: count, Applied: job.Index,
		Mend: count > 1}, func(data []byte, _ []uint32, err error) {
		switch {
		case err == nil:
			done(n.keepFetched(c, first, count, data))
		case wire.StatusOf(err) != wire.StatusCorrupt:
			done(err)
		case count == 1:
			n.fetchRecord(job, leader, c, first, done)
		default:
			n.fetchSingly(job, leader, c, first, first+count, done)
		}
	})
}

func (n *simNode) fetchSingly(job *SnapshotJob, leader *simNode, c Chunk, first, end uint32,
	done func(error)) {
	n.fetchRange(job, leader, c, first, 1, func(err error) {
		if err != nil || first+1 == end {
			done(err)
			return
		}
		n.fetchSingly(job, leader, c, first+1, end, done)
	})
}

func (n *simNode) keepFetched(c Chunk, first, count uint32, data []byte) error {
	if err := n.room(c); err != nil {
		return err
	}
	for k := range count {
		n.chunks.write(c, first+k, data[k*BlockSize:(k+1)*BlockSize])
	}
	return nil
}

// fetchRecord keeps what is here if it is what the leader has lost, or a block that is bad here
// too.
func (n *simNode) fetchRecord(job *SnapshotJob, leader *simNode, c Chunk, block uint32,
	done func(error)) {
	n.s.ask(n, leader, PeerRead{Chunk: c, First: block, Count: 1, Applied: job.Index, Sums: true},
		func(_ []byte, crcs []uint32, err error) {
			if err == nil {
				err = n.room(c)
			}
			if err != nil {
				done(err)
				return
			}
			b, ok := n.chunks.now[c][block]
			if !b.bad && sumOnRecord(b, ok) == crcs[0] {
				n.s.mark("kept what the leader has lost")
				done(nil)
				return
			}
			if data := n.held(c, block, crcs[0]); data != nil {
				n.s.mark("wrote what the leader has lost")
				n.chunks.write(c, block, data)
				done(nil)
				return
			}
			n.s.mark("fetched as a bad block")
			n.chunks.write(c, block, zeroes[:BlockSize])
			n.chunks.now[c][block] = simBlock{data: zeroes[:BlockSize], sum: crcs[0], bad: true}
			done(nil)
		})
}

// held is a copy of what the replica has of a block outside the chunk file; nil: nothing.
func (n *simNode) held(c Chunk, block, crc uint32) []byte {
	p, ok := n.r.Held(c, block, crc)
	defer p.Release()
	switch {
	case !ok:
		return nil
	case p.B != nil:
		return bytes.Clone(p.B)
	case p.At != 0:
		return n.log.block(p.At)
	}
	return zeroes[:BlockSize]
}
