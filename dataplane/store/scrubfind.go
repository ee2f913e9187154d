package store

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
)

// badBlock is a block that stays bad, because no replica has it any better, or stays different in
// the replicas. Every cycle meets it again, and must not take it for another one.
type badBlock struct {
	Chunk    chunkfile.ID `json:"chunk"`
	Block    uint32       `json:"block"`
	Diverged bool         `json:"diverged,omitempty"`
}

// unrepaired counts the blocks that stay bad.
func (c *scrubState) unrepaired() (n int) {
	for _, b := range c.Standing {
		if !b.Diverged {
			n++
		}
	}
	return n
}

// note counts what a piece had.
func (c *scrubState) note(id chunkfile.ID, p *copyset.PeerRead) {
	var fresh, lost, mended []uint32
	for _, n := range p.Bad {
		known := slices.Contains(c.Standing, badBlock{Chunk: id, Block: n})
		if !known {
			fresh = append(fresh, n)
		}
		if !slices.Contains(p.Lost, n) {
			mended = append(mended, n)
		} else if !known {
			lost = append(lost, n)
		}
	}
	c.CycleBad += uint64(len(p.Bad))
	c.Bad += uint64(len(fresh))
	c.Repaired += uint64(len(mended))
	c.forget(func(b badBlock) bool {
		return !b.Diverged && b.Chunk == id && b.Block >= p.First && b.Block-p.First < p.Count
	})
	for _, n := range p.Lost[:min(len(p.Lost), maxStanding-len(c.Standing))] {
		c.Standing = append(c.Standing, badBlock{Chunk: id, Block: n})
	}
	c.findBlocks(id, mended, "replaced by another replica's")
	c.findBlocks(id, lost, "no other replica had them")
}

// forget drops what no longer stays bad.
func (c *scrubState) forget(gone func(badBlock) bool) {
	c.Standing = slices.DeleteFunc(slices.Clone(c.Standing), gone)
}

func (c *scrubState) findBlocks(id chunkfile.ID, blocks []uint32, what string) {
	if len(blocks) > 0 {
		c.find(id, fmt.Sprintf("bad blocks %v: %s", blocks[:min(len(blocks), findingBlocks)], what))
	}
}

// find keeps a finding, and of all findings the newest.
func (c *scrubState) find(id chunkfile.ID, what string) {
	c.Findings = append(c.Findings, fmt.Sprintf("%s: copyset %d, volume %d, chunk %d: %s",
		time.Now().UTC().Format(time.RFC3339), id.Group, id.Volume, id.Index, what))
	c.Findings = c.Findings[max(0, len(c.Findings)-maxFindings):]
}

// scrubMeta has a chunk compare its metadata on the device with what it has in memory.
func (s *Store) scrubMeta(id chunkfile.ID) {
	chunk, ok := s.chunks.Get(id)
	if !ok {
		return
	}
	found, err := chunk.CheckMeta()
	if found == nil || errors.Is(err, chunkfile.ErrDeleted) || errors.Is(err, chunkfile.ErrClosed) {
		return
	}
	s.log.Error("bad metadata of a chunk", "chunk", id, "found", found, "err", err)
	s.scrubMu.Lock()
	s.scrub.BadMeta++
	if err == nil {
		s.scrub.RepairedMeta++
	}
	s.scrub.find(id, fmt.Sprintf("its metadata was not what was written: %v", found))
	s.scrubMu.Unlock()
	if err != nil {
		s.fail(err)
	}
}
