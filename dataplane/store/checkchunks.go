package store

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
)

const doRestoreChunk = "start the node: reads of what is damaged fail here and are never " +
	"answered with wrong bytes; the copyset's other replicas have the data"

// checkChunks looks at every slot file, and compares the chunks with the copysets.
func (c *check) checkChunks() error {
	in, err := chunkfile.NewInspector(chunkfile.Config{Disk: c.cfg.Disk, Dir: chunkDir,
		Name: c.cfg.Path, StoreID: c.meta.UUID, ChunkSize: c.meta.ChunkSize, Logger: c.cfg.Logger})
	if err != nil {
		return fmt.Errorf("store %s: %w", c.cfg.Path, err)
	}
	numbers, strays, err := in.Slots()
	if absent(err) {
		c.find(Finding{Severity: Note, Area: AreaSlots, File: chunkDir, Do: doNothing,
			Means: "there is no folder of chunks: the store was made and never started"})
		return nil
	} else if err != nil {
		return fmt.Errorf("store %s: %w", c.cfg.Path, err)
	}
	for _, name := range strays {
		c.find(Finding{Severity: Note, Area: AreaSlots, File: chunkDir + "/" + name, Do: doNothing,
			Means: "a file that is no slot: half-made by a crash, or not the store's"})
	}
	c.checkGaps(numbers)
	where := map[chunkfile.ID]*chunkfile.SlotInfo{}
	for _, n := range numbers {
		s := in.Slot(n)
		c.count(AreaSlots, 1, uint64(max(in.Offset(0), 0)))
		c.checkSlot(s, where)
		if c.cfg.Data && s.Used && s.Err == nil {
			if err := c.checkData(in, s); err != nil {
				return err
			}
		}
		if err := c.progress(AreaSlots, uint64(len(numbers))); err != nil {
			return err
		}
	}
	return nil
}

// checkGaps reports slot files that are missing below others: they are made in order.
func (c *check) checkGaps(numbers []uint64) {
	next := uint64(0)
	for _, n := range numbers {
		if n > next {
			last := ""
			if n > next+1 {
				last = fmt.Sprintf(" to %d", n-1)
			}
			c.find(Finding{Severity: Damage, Area: AreaSlots, File: chunkDir,
				Expected: fmt.Sprintf("slot files %d%s", next, last), Got: "no such files",
				Means: "slot files are missing: a chunk that was there reads as never written",
				Do: "put the files back if they were moved away; otherwise take the store out of " +
					"its node and let its replicas be made anew"})
		}
		next = n + 1
	}
}

// checkSlot judges one slot file and what it holds.
func (c *check) checkSlot(s *chunkfile.SlotInfo, where map[chunkfile.ID]*chunkfile.SlotInfo) {
	if s.Err != nil {
		c.findDamagedSlot(s)
		return
	}
	for i := range s.Halves {
		if err := s.Halves[i].Err; err != nil {
			f := Finding{Severity: Note, Area: AreaSlots, File: s.File, Got: err.Error(),
				Means: "one of the two copies of a slot's metadata is not valid, as a crash " +
					"during a checkpoint leaves it; the other is the truth", Do: doNothing}
			f.at(err, s.Halves[i].Offset)
			c.find(f)
		}
	}
	if !s.Used {
		return
	}
	if other, ok := where[s.ID]; ok && (s.MovedFrom(other) || other.MovedFrom(s)) {
		c.find(Finding{Severity: Note, Area: AreaSlots, File: s.File,
			Got: fmt.Sprintf("chunk %v", s.ID), Do: doNothing,
			Means: fmt.Sprintf("the chunk was moving between this slot and %s: the next start "+
				"frees the one that it has left", other.File)})
		return
	} else if ok {
		c.find(Finding{Severity: Damage, Area: AreaSlots, File: s.File,
			Got: fmt.Sprintf("chunk %v", s.ID), Expected: "a chunk that no other slot holds",
			Means: fmt.Sprintf("the chunk is in %s too: nobody can tell which is the truth",
				other.File),
			Do: doRestoreChunk})
		return
	}
	where[s.ID] = s
	c.compare(s)
}

// findDamagedSlot reports a slot that cannot be used, once for each part that says why.
func (c *check) findDamagedSlot(s *chunkfile.SlotInfo) {
	means := "no copy of the slot's metadata can be used, and nothing says which chunk it held: " +
		"any chunk that the store does not know may be this one"
	if s.Used {
		means = fmt.Sprintf("no copy of the metadata of chunk %v can be used: its data is lost "+
			"here", s.ID)
	}
	f := Finding{Severity: Damage, Area: AreaSlots, File: s.File, Got: s.Err.Error(), Means: means,
		Do: doRestoreChunk}
	if s.Free {
		f.Severity, f.Do = Note, doNothing
		f.Means = "the metadata of a free slot is damaged: no chunk is lost, and the next start " +
			"makes it anew"
	}
	f.at(s.Err, 0)
	for i := range s.Halves {
		if err := s.Halves[i].Err; err != nil {
			f.Got = s.Rule + ": " + err.Error()
			f.at(err, s.Halves[i].Offset)
		}
	}
	if f.Got == s.Err.Error() && s.Rule != "" {
		f.Got = s.Rule
	}
	c.find(f)
}

// at takes over from an error which bytes it is about.
func (f *Finding) at(err error, otherwise int64) {
	f.Offset = otherwise
	var bad *chunkfile.CorruptError
	if !errors.As(err, &bad) {
		return
	}
	f.Offset, f.Length = bad.Offset, bad.Length
	if bad.Want != bad.Got {
		f.Expected = fmt.Sprintf("crc32c %08x", bad.Want)
		f.Got = fmt.Sprintf("crc32c %08x: %s", bad.Got, bad.Reason)
	}
}

// compare holds a chunk against what the log says of its copyset.
func (c *check) compare(s *chunkfile.SlotInfo) {
	if c.log.missing {
		return
	}
	top := &s.Halves[s.Newest]
	f := c.log.found[s.ID.Group]
	if f == nil {
		if c.gone(s.ID.Group, 0) {
			return // what a lost replica leaves is deleted when the next one begins
		}
		c.find(Finding{Severity: Damage, Area: AreaCopysets, File: s.File,
			Expected: fmt.Sprintf("a state of copyset %d in the log", s.ID.Group), Got: "none",
			Means: fmt.Sprintf("chunk %v has data of a copyset that the log does not know: its "+
				"replica does not start here, or the log is not the one that belongs to it", s.ID),
			Do: doRebuild})
		return
	}
	_, last := f.rec.Span()
	if limit := max(last, c.expects[s.ID.Group]); top.Applied > limit {
		c.find(Finding{Severity: Note, Area: AreaCopysets, File: s.File,
			Expected: fmt.Sprintf("applied at most up to %d", limit),
			Got:      fmt.Sprintf("applied up to %d", top.Applied),
			Means: fmt.Sprintf("chunk %v is ahead of the log of its copyset: a crash between the "+
				"two, or the end of the log is lost", s.ID),
			Do: "start the node: the replica catches up from its peers"})
	}
}

// checkData reads every written block of a chunk.
func (c *check) checkData(in *chunkfile.Inspector, s *chunkfile.SlotInfo) error {
	n, err := in.Verify(s, func(b chunkfile.BadBlock) {
		f := Finding{Severity: Damage, Area: AreaData, File: s.File, Offset: b.Offset,
			Length:   chunkfile.BlockSize,
			Expected: fmt.Sprintf("crc32c %08x", b.Want), Got: fmt.Sprintf("crc32c %08x", b.Got),
			Means: fmt.Sprintf("block %d of chunk %v does not fit its checksum", b.Block, s.ID),
			Do: "start the node: the block is never answered, and is repaired from another " +
				"replica when it is read"}
		if b.Err != nil {
			f.Expected, f.Got = "", b.Err.Error()
			f.Means = fmt.Sprintf("block %d of chunk %v cannot be read", b.Block, s.ID)
		}
		if c.redone(s.ID, uint32(b.Block)) {
			f.Severity, f.Do = Note, doNothing
			f.Means = fmt.Sprintf("block %d of chunk %v was being written when the store ended; "+
				"the log has it and writes it again", b.Block, s.ID)
		}
		c.find(f)
	})
	c.count(AreaData, uint64(n), uint64(n)*chunkfile.BlockSize)
	if err != nil && !errors.Is(err, disk.ErrNotExist) {
		return fmt.Errorf("store %s: %w", c.cfg.Path, err)
	}
	return nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
