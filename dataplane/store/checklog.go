package store

import (
	"fmt"
	"slices"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/wal"
)

// foundCopyset is what the log holds of one copyset.
type foundCopyset struct {
	rec     copyset.Recovered
	records uint64
	err     error // the first record that cannot be understood
}

// blockRange names a chunk: what pending writes are looked up by.
type blockRange = chunkfile.ID

// pendingWrite is blocks that an entry of the log changes when it is redone.
type pendingWrite struct {
	index       uint64
	first, last uint32
}

const (
	doRebuild = "start the node: the copysets concerned do not vote and refuse to serve here, " +
		"and their other replicas have the data; if all replicas are damaged, restore from a backup"
	doNothing = "nothing: the next start deals with it"
)

// checkLog reads the log as recovery does.
func (c *check) checkLog() error {
	c.checkLost()
	c.log = logFacts{found: map[uint64]*foundCopyset{}, pending: map[blockRange][]pendingWrite{}}
	named := map[string]bool{} // file and offset of damage whose blocks were named
	in, err := wal.Inspect(wal.Config{Disk: c.cfg.Disk, Dir: logDir, StoreID: c.meta.UUID,
		Logger: c.cfg.Logger}, wal.Look{
		Frame:  func(f *wal.FrameInfo) error { return c.checkFrame(f, named) },
		Replay: c.replay,
	})
	if c.ctx.Err() != nil {
		return c.progress(AreaLog, 0)
	}
	if err != nil {
		c.log.missing = true
		f := Finding{Severity: Damage, Area: AreaLog, File: logDir, Got: err.Error(),
			Means: "the log cannot be read at all: what was written since the last checkpoint, " +
				"and the state of every copyset, is lost on this store", Do: doRebuild}
		if absent(err) {
			f.Severity, f.Means = Note, "there is no log: the store was made and never started"
			f.Do = doNothing
		}
		c.find(f)
		return nil
	}
	c.areas[AreaLog].Bytes = uint64(in.Bytes)
	c.checkSegments(in)
	c.checkDamage(in, named)
	c.checkCopysets(in.Damage)
	return nil
}

// replay gathers what the log says of each copyset.
func (c *check) replay(r *wal.Record) error {
	f := c.log.found[r.Group]
	if f == nil {
		f = new(foundCopyset)
		c.log.found[r.Group] = f
	}
	f.records++
	c.count(AreaLog, 1, 0)
	err := f.rec.Add(r)
	if meta := entryCommand(r); len(meta) > 0 {
		var cmd copyset.Command
		if bad := cmd.Decode(meta); bad != nil {
			err = bad
		} else if cmd.OnBlocks() {
			id := blockRange{Group: r.Group, Volume: cmd.Volume, Index: cmd.Chunk}
			c.log.pending[id] = append(c.log.pending[id],
				pendingWrite{r.Index, cmd.First, cmd.First + cmd.Count - 1})
		}
	}
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("record at %s: %w", lsnText(r.At), err)
	}
	return c.progress(AreaLog, 0)
}

// entryCommand is the encoded command of an entry; empty for other records.
func entryCommand(r *wal.Record) []byte {
	switch r.Kind {
	case copyset.RecordEntry:
		return r.Meta
	case copyset.RecordPlaced:
		if _, command, err := copyset.PlacedCommand(r.Meta); err == nil {
			return command
		}
	}
	return nil
}

// checkFrame names the blocks that fail in a frame that was durable.
func (c *check) checkFrame(f *wal.FrameInfo, named map[string]bool) error {
	if f.Verdict != "lost records" {
		return nil
	}
	for i := range f.Records {
		r := &f.Records[i]
		for _, b := range r.Bad {
			named[place(f.File, f.Offset)] = true
			c.find(Finding{Severity: Damage, Area: AreaLog, File: f.File,
				Offset: f.Offset + int64(b.At-f.At), Length: wal.BlockSize,
				Expected: fmt.Sprintf("crc32c %08x", b.Want),
				Got:      fmt.Sprintf("crc32c %08x", b.Got),
				Means: fmt.Sprintf("payload block %d of %s record, term %d, index %d, of copyset "+
					"%d was acknowledged and does not fit its checksum", b.Block,
					copyset.KindName(r.Kind), r.Term, r.Index, r.Group), Do: doRebuild})
		}
	}
	return nil
}

func place(file string, off int64) string { return fmt.Sprintf("%s:%d", file, off) }

// checkSegments looks at the files themselves.
func (c *check) checkSegments(in *wal.Inspection) {
	c.count(AreaIdentity, 1, 0)
	if in.IdentityErr != nil {
		c.find(Finding{Severity: Damage, Area: AreaIdentity, File: logDir + "/log.id",
			Got: in.IdentityErr.Error(), Means: "the identity of the log is lost; the segments " +
				"say the same, so nothing else is", Do: doNothing})
	}
	var newest uint64
	for _, f := range in.Files {
		newest = max(newest, f.Seq)
	}
	for _, f := range in.Files {
		if f.Size != in.SegmentSize {
			c.find(Finding{Severity: Note, Area: AreaLog, File: f.File, Length: f.Size,
				Expected: fmt.Sprintf("%d bytes", in.SegmentSize),
				Got:      fmt.Sprintf("%d bytes", f.Size),
				Do:       doNothing,
				Means:    "a segment file of another size is not written to any more"})
		}
		if f.Use != "live" || f.HeaderErr == nil {
			continue
		}
		h := Finding{Severity: Damage, Area: AreaLog, File: f.File, Length: wal.BlockSize,
			Got: f.HeaderErr.Error(), Means: "the header of a segment is lost; the frames behind " +
				"it say the same, so nothing else is", Do: doNothing}
		if f.Seq == newest {
			h.Severity, h.Means = Note, "the newest segment has no header, as a crash leaves it"
		}
		c.find(h)
	}
	if in.Torn {
		c.find(Finding{Severity: Note, Area: AreaLog, File: logDir,
			Got: lsnText(in.TruncatedAt), Means: "the log ends in a write that a crash " +
				"interrupted: nobody was told that it was durable", Do: doNothing})
	}
}

// checkDamage takes over what recovery calls damage, but for what checkFrame said in more detail.
func (c *check) checkDamage(in *wal.Inspection, named map[string]bool) {
	for _, d := range in.Damage {
		if named[place(d.File, d.Offset)] {
			continue
		}
		f := Finding{Severity: Damage, Area: AreaLog, File: d.File, Offset: d.Offset,
			Got: d.Err.Error(), Means: "a stretch of the log that was durable is lost; it held " +
				"records of " + groupsText(d.Groups), Do: doRebuild}
		if d.To > d.From {
			f.Length = int64(d.To - d.From)
		}
		c.find(f)
	}
}

// checkCopysets asks of each copyset what a start would.
func (c *check) checkCopysets(damage []wal.Damage) {
	for _, id := range sortedKeys(c.log.found) {
		f := c.log.found[id]
		c.count(AreaCopysets, 1, 0)
		lost := false
		for _, d := range damage {
			if len(d.Groups) == 0 || slices.Contains(d.Groups, id) {
				f.rec.Damage(d.To, d.Err)
				lost = true
			}
		}
		st, err := f.rec.State()
		if st != nil {
			c.expects[id] = st.Applied
		}
		if f.err != nil {
			c.find(Finding{Severity: Damage, Area: AreaCopysets, File: logDir, Got: f.err.Error(),
				Means: fmt.Sprintf("a record of copyset %d is intact and cannot be understood: "+
					"the store does not start", id),
				Do: "use the release that wrote it; if that is this one, replace the store and " +
					"let its replicas be made anew"})
			continue
		}
		c.checkCopyset(id, st, err, lost)
	}
}

// checkLost reads the list of replicas that the store has lost before.
func (c *check) checkLost() {
	data, err := c.cfg.Disk.ReadFile(lostFile)
	if absent(err) {
		return
	}
	c.count(AreaIdentity, 1, uint64(len(data)))
	var list []*lostReplica
	if err == nil {
		list, err = decodeLost(data)
	}
	if err != nil {
		c.find(Finding{Severity: Damage, Area: AreaIdentity, File: lostFile, Got: err.Error(),
			Means: "the list of lost replicas is unreadable, so no replica here can be trusted",
			Do:    doRebuild})
	}
	for _, l := range list {
		c.lost[l.Copyset] = l.Replica
		if l.Retired {
			c.find(Finding{Severity: Note, Area: AreaCopysets, File: lostFile, Got: l.Reason,
				Means: fmt.Sprintf("replica %d of copyset %d was here once and is no member any "+
					"more", l.Replica, l.Copyset), Do: "nothing"})
			continue
		}
		c.find(Finding{Severity: Note, Area: AreaCopysets, File: lostFile, Got: l.Reason,
			Means: fmt.Sprintf("replica %d of copyset %d was lost here before", l.Replica,
				l.Copyset), Do: "nothing: the control plane has it rebuilt as a new member"})
	}
}

// gone says whether the store has noted that a copyset's replica is lost.
func (c *check) gone(id, replica uint64) bool {
	lost, ok := c.lost[id]
	return ok && replica <= lost
}

func (c *check) checkCopyset(id uint64, st *copyset.State, err error, lost bool) {
	f := Finding{Area: AreaCopysets, File: logDir, Severity: Damage, Do: doRebuild}
	switch {
	case lost && err != nil: // without an error the damage lies before the replica was made
		f.Got = err.Error()
		f.Means = fmt.Sprintf("copyset %d lost records in damage of the log: its replica here may "+
			"have acknowledged what it no longer has, and does not start", id)
	case err != nil:
		f.Got = err.Error()
		f.Means = fmt.Sprintf("the log contradicts itself about copyset %d: its replica here does "+
			"not start", id)
	case st == nil:
		f.Severity, f.Do = Note, doNothing
		f.Means = fmt.Sprintf("copyset %d was being made when the power went: it promised nothing",
			id)
	case st.Copyset != id:
		f.Expected, f.Got = fmt.Sprintf("copyset %d", id), fmt.Sprintf("copyset %d", st.Copyset)
		f.Means = "the state of one copyset stands in the records of another"
	default:
		return
	}
	if c.gone(id, c.log.found[id].rec.Replica()) {
		f.Severity = Note
		f.Do = "nothing: the store has noted the loss, and the replica is rebuilt as a new member"
	}
	c.find(f)
}

// redone says whether the log redoes a block behind a copyset's state: then its bytes in the chunk
// file may be newer than its checksum there.
func (c *check) redone(id blockRange, block uint32) bool {
	for _, w := range c.log.pending[id] {
		if w.index > c.expects[id.Group] && w.first <= block && block <= w.last {
			return true
		}
	}
	return false
}
