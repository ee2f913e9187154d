package copyset

import (
	"fmt"
	"maps"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// apply makes a committed entry take effect: in the exactly-once table, in the overlay, and for
// the client that waits for it.
func (r *Replica) apply(e *raftpb.Entry, fx *Effects) {
	if e.Index != r.applied+1 {
		if e.Index <= r.applied {
			return // a snapshot had it already
		}
		r.fail(fmt.Errorf("copyset %d: entry %d after %d", r.id, e.Index, r.applied))
		return
	}
	status := wire.StatusOK
	switch {
	case e.Type == raftpb.EntryNormal && len(e.Data) > 0:
		status = r.applyCommand(e)
	case e.Type == raftpb.EntryConfChangeV2:
		var cc raftpb.ConfChangeV2
		if err := cc.Unmarshal(e.Data); err == nil {
			r.applyConf(cc)
		}
	}
	r.applied, r.appliedTerm = e.Index, e.Term
	r.told(e.Index)
	r.lastCommit = r.now
	if q := r.waiting[e.Index]; q != nil {
		delete(r.waiting, e.Index)
		if q.term != e.Term {
			status = wire.StatusNotLeader // another leader's entry came in the place of its own
		}
		r.answer(Reply{Request: q, Status: status}, fx)
	}
}

func (r *Replica) applyCommand(e *raftpb.Entry) wire.Status {
	c := &r.cmd
	if err := c.Decode(e.Data); err != nil {
		r.fail(fmt.Errorf("copyset %d: committed entry %d: %w", r.id, e.Index, err))
		return wire.StatusInternal
	}
	switch c.Kind {
	case CmdFence:
		return r.applyFence(c)
	case CmdErased:
		return r.applyErased(c)
	}
	switch r.sessions.judge(c) {
	case repeated:
		r.counters.Repeated++
		return wire.StatusOK
	case fenced:
		r.counters.Fenced++
		return wire.StatusStaleEpoch
	case flooded:
		return wire.StatusBadRequest
	case crowded:
		return wire.StatusOverloaded
	}
	r.sessions.record(c)
	r.outdate(c)
	if c.OnBlocks() {
		r.touched[Chunk{Volume: c.Volume, Index: c.Chunk}] = e.Index
	}
	switch c.Kind {
	case CmdWrite:
		r.counters.Writes++
		r.counters.WriteBytes += uint64(c.Count) * BlockSize
		r.applyBlocks(c, c.First, int(c.Count), 0, e.Index)
	case CmdZero:
		r.counters.Zeroes++
		r.applyZero(c, e.Index)
	case CmdDeleteVolume:
		r.applyDelete(c.Volume)
	}
	return wire.StatusOK
}

func (r *Replica) applyFence(c *Command) wire.Status {
	switch {
	case !r.sessions.hasRoom(c.Volume):
		return wire.StatusOverloaded
	case !r.sessions.fence(c.Volume, c.Epoch):
		return wire.StatusStaleEpoch
	}
	return wire.StatusOK
}

func (r *Replica) applyErased(c *Command) wire.Status {
	if !r.sessions.erase(Volumes{First: c.Volume, Last: c.Chunk}) {
		return wire.StatusOverloaded
	}
	return wire.StatusOK
}

// applyBlocks puts count payload blocks, from number at on, into the overlay.
func (r *Replica) applyBlocks(c *Command, first uint32, count, at int, index uint64) {
	p := r.entries.get(index).payload
	chunk := Chunk{Volume: c.Volume, Index: c.Chunk}
	for i := range count {
		b := overlayBlock{index: index, crc: c.CRCs[at+i], data: p.only(at + i)}
		b.data.Retain()
		r.overlay.put(chunk, first+uint32(i), b)
	}
}

func (r *Replica) applyZero(c *Command, index uint64) {
	chunk := Chunk{Volume: c.Volume, Index: c.Chunk}
	if c.First == 0 && c.Count == r.chunkBlocks && c.Flags == 0 {
		r.overlay.zeroChunk(chunk, index)
		return
	}
	first, end := c.First, c.First+c.Count
	at := 0
	if c.Flags&flagHead != 0 {
		r.applyBlocks(c, first, 1, 0, index)
		first, at = first+1, 1
	}
	if c.Flags&flagTail != 0 {
		end--
		r.applyBlocks(c, end, 1, at, index)
	}
	for n := first; n < end; n++ {
		r.overlay.put(chunk, n, overlayBlock{index: index, crc: wire.ZeroCRC, zero: true})
	}
}

// applyDelete forgets a volume; its chunk files go when no flush is under way.
func (r *Replica) applyDelete(volume uint64) {
	for c := range r.overlay.chunks {
		if c.Volume == volume {
			r.overlay.drop(c)
		}
	}
	maps.DeleteFunc(r.touched, func(c Chunk, _ uint64) bool { return c.Volume == volume })
	r.sessions.dropVolume(volume)
	r.deletes = append(r.deletes, volume)
}

// DeleteVolume proposes that the copyset drops every chunk of a volume. Only a leader does; the
// control plane asks again until no replica has any.
func (r *Replica) DeleteVolume(volume uint64) {
	if r.err != nil || !r.Serving() {
		return
	}
	r.wake()
	c := Command{Kind: CmdDeleteVolume, Volume: volume}
	r.ignore(r.node.Propose(c.AppendTo(nil)))
}

const (
	// cacheBytes is how much payload one copyset keeps in memory for its followers beyond what
	// they have acknowledged; further back they are served from the log on disk.
	cacheBytes = 8 << 20
	// cacheSlack is how much may be cached before the followers' progress is looked at.
	cacheSlack = 256 << 10
)

// trimCache lets payloads go that every follower in touch has, or all applied ones when they are
// too many: the log on disk has them.
func (r *Replica) trimCache() {
	if r.entries.cached <= cacheSlack {
		return
	}
	limit := r.applied
	if r.leading() && r.entries.cached <= cacheBytes {
		r.node.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
			if p.RecentActive && id != r.self {
				limit = min(limit, p.Match)
			}
		})
	}
	r.entries.strip(min(limit, r.applied))
}
