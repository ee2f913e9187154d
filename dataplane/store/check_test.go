package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
)

// checked is a check of a simulated disk, which must not be written to.
func checked(t *testing.T, sim *disk.Sim) *CheckReport {
	t.Helper()
	before := sim.Stats()
	r, err := Check(context.Background(), CheckConfig{Disk: disk.ReadOnly(sim), Path: "disk0",
		Data: true})
	if err != nil {
		t.Fatal(err)
	}
	after := sim.Stats()
	writes := func(s disk.Stats) uint64 { return s.Writes + s.DurableWrites + s.Syncs }
	if writes(after) != writes(before) {
		t.Fatalf("the check wrote: %+v, %+v", before, after)
	}
	return r
}

// written is the disk of a lone store with data in chunks 1/1/0, 1/1/1 and 2/1/0, closed in order.
func written(t *testing.T) *disk.Sim {
	t.Helper()
	r := newRig(t, 1, nil)
	for seed, at := range []struct {
		id, chunk uint64
		off       uint32
	}{{1, 0, 0}, {1, 1, 8 * block}, {2, 0, 3 * block}} {
		r.mustWrite(at.id, at.chunk, at.off, pattern(byte(seed), 4))
	}
	r.checkpoint(0)
	r.mustWrite(1, 0, 2*block, pattern(77, 4))
	r.close(0)
	return r.disks[0].Crash(disk.CrashPlan{Keep: disk.KeepAll})
}

func TestACheckOfAStoreStoppedInOrderIsCleanAndLooksAtEverything(t *testing.T) {
	r := checked(t, written(t))
	if len(r.Findings) != 0 || r.Damaged() != 0 {
		t.Fatalf("%+v", r.Findings)
	}
	want := map[string]uint64{AreaIdentity: 2, AreaCopysets: copysets, AreaData: 14}
	for _, a := range r.Areas {
		if n, ok := want[a.Name]; ok && n != a.Objects || a.Objects == 0 {
			t.Errorf("area %s: %d %s, want %d", a.Name, a.Objects, a.Unit, n)
		}
	}
}

func TestACheckTellsALossThatWasNotedFromANewOne(t *testing.T) {
	sim := written(t)
	f := firstFrame(t, sim)
	flip(t, sim, f.File, f.Offset+int64(f.Records[0].At-f.At)+5)
	before := checked(t, sim).Damaged()
	list := lostList{Format: lostFormat, Version: lostVersion,
		Replicas: []*lostReplica{{Copyset: f.Records[0].Group, Replica: 1, Reason: "rot"}}}
	list.CRC = noteCRC(list.Replicas)
	data, err := json.Marshal(&list)
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.WriteFile(lostFile, data); err != nil {
		t.Fatal(err)
	}
	r := checked(t, sim)
	noted := 0
	for _, f := range r.Findings {
		if f.Severity == Note && f.Area == AreaCopysets {
			noted++
		}
	}
	if noted != 2 || r.Damaged() != before-1 {
		t.Fatalf("%d notes, damage %d, before %d: %+v", noted, r.Damaged(), before, r.Findings)
	}
}

// findSlotOf returns the slot file of a chunk and an inspector.
func findSlotOf(t *testing.T, sim *disk.Sim, id chunkfile.ID) *ChunkDump {
	t.Helper()
	d, err := DumpChunk(disk.ReadOnly(sim), "disk0", ChunkQuery{ID: id, To: 7})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// flip changes a bit of a file.
func flip(t *testing.T, sim *disk.Sim, name string, at int64) {
	t.Helper()
	f, err := sim.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pool, err := buf.NewPool(buf.Config{Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	b, err := pool.Get(block)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	if _, err := f.ReadAt(b.Bytes(), at/block*block); err != nil {
		t.Fatal(err)
	}
	sim.Corrupt(name, at, []byte{b.Bytes()[at%block] ^ 4})
}

// double puts a chunk into a second slot.
func double(t *testing.T, sim *disk.Sim, d *ChunkDump) {
	t.Helper()
	meta, err := readIdentity(sim, "disk0")
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Rename(d.File, "chunks/aside"); err != nil {
		t.Fatal(err)
	}
	p, err := chunkfile.Open(chunkfile.Config{Disk: sim, Dir: chunkDir, StoreID: meta.UUID,
		ChunkSize: meta.ChunkSize, Reserve: -1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Create(d.ID)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	c.Checkpoint(1, func(err error) { done <- err })
	if err := errors.Join(<-done, p.Close(), sim.Rename("chunks/aside", d.File)); err != nil {
		t.Fatal(err)
	}
}

// firstFrame is the place of a frame of the log whose first record has payload, not the last one.
func firstFrame(t *testing.T, sim *disk.Sim) *DumpFrame {
	t.Helper()
	d, err := DumpLog(context.Background(), disk.ReadOnly(sim), "disk0", LogQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range d.Frames {
		if d.Frames[i].Records[0].Command != nil {
			return &d.Frames[i]
		}
	}
	t.Fatal("no frame with a command")
	return nil
}

var ruinedChunk = chunkfile.ID{Group: 1, Volume: 1, Index: 1}

// ruins are ways to damage what written made, and what the check must say.
var ruins = map[string]struct {
	ruin     func(t *testing.T, sim *disk.Sim)
	area     string
	severity string
	text     string // of file, means, expected and got together
}{
	"a block of data": {func(t *testing.T, sim *disk.Sim) {
		d := findSlotOf(t, sim, ruinedChunk)
		flip(t, sim, d.File, d.Blocks[0].Offset+8*block+100)
	}, AreaData, Damage, "block 8 of chunk 1/1/1"},
	"the newest copy of a slot's metadata": {func(t *testing.T, sim *disk.Sim) {
		d := findSlotOf(t, sim, ruinedChunk)
		flip(t, sim, d.File, d.Halves[d.Newest].Offset+40)
	}, AreaSlots, Damage, "chunk 1/1/1"},
	"the newest table": {func(t *testing.T, sim *disk.Sim) {
		d := findSlotOf(t, sim, ruinedChunk)
		flip(t, sim, d.File, d.Halves[d.Newest].Offset+2*block+12)
	}, AreaSlots, Damage, "bitmap and table"},
	"the superseded table": {func(t *testing.T, sim *disk.Sim) {
		d := findSlotOf(t, sim, ruinedChunk)
		flip(t, sim, d.File, d.Halves[1-d.Newest].Offset+2*block+12)
	}, AreaSlots, Note, "one of the two copies"},
	"a slot file that is gone": {func(t *testing.T, sim *disk.Sim) {
		if err := sim.Remove("chunks/slot-0000000000"); err != nil {
			t.Fatal(err)
		}
	}, AreaSlots, Damage, "slot files are missing"},
	"a chunk in two slots": {func(t *testing.T, sim *disk.Sim) {
		double(t, sim, findSlotOf(t, sim, ruinedChunk))
	}, AreaSlots, Damage, "nobody can tell which is the truth"},
	"a slot file in another's place": {func(t *testing.T, sim *disk.Sim) {
		err := sim.Rename(findSlotOf(t, sim, ruinedChunk).File, "chunks/slot-0000000009")
		if err != nil {
			t.Fatal(err)
		}
	}, AreaSlots, Damage, "header of slot"},
	"payload in the log": {func(t *testing.T, sim *disk.Sim) {
		f := firstFrame(t, sim)
		flip(t, sim, f.File, f.Offset+int64(f.Records[0].At-f.At)+5)
	}, AreaLog, Damage, "was acknowledged and does not fit"},
	"a frame of the log": {func(t *testing.T, sim *disk.Sim) {
		f := firstFrame(t, sim)
		flip(t, sim, f.File, f.Offset+60)
	}, AreaLog, Damage, "any copyset of the store"},
	"the log's identity": {func(t *testing.T, sim *disk.Sim) {
		if err := sim.WriteFile("log/log.id", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}, AreaIdentity, Damage, "log.id"},
	"the list of lost replicas": {func(t *testing.T, sim *disk.Sim) {
		if err := sim.WriteFile(lostFile, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}, AreaIdentity, Damage, "the list of lost replicas is unreadable"},
	"the whole log": {func(t *testing.T, sim *disk.Sim) {
		names, err := sim.List("log")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := sim.Remove("log/" + name); err != nil {
				t.Fatal(err)
			}
		}
	}, AreaCopysets, Damage, "the log does not know"},
	"a half-made slot file": {func(t *testing.T, sim *disk.Sim) {
		if err := sim.WriteFile("chunks/new-0000000099", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}, AreaSlots, Note, "a file that is no slot"},
}

func TestACheckFindsWhatIsDamagedAndSaysWhere(t *testing.T) {
	for name, tc := range ruins {
		t.Run(name, func(t *testing.T) {
			sim := written(t)
			tc.ruin(t, sim)
			r := checked(t, sim)
			for _, f := range r.Findings {
				text := strings.Join([]string{f.File, f.Means, f.Expected, f.Got}, " ")
				if f.Area == tc.area && f.Severity == tc.severity &&
					strings.Contains(text, tc.text) {
					if f.Do == "" || f.Means == "" || f.File == "" {
						t.Errorf("it lacks what to do: %+v", f)
					}
					if (tc.severity == Damage) != (r.Damaged() > 0) {
						t.Errorf("%d findings are damage", r.Damaged())
					}
					return
				}
			}
			t.Fatalf("not found: %+v", r.Findings)
		})
	}
}

// Whatever a power cut leaves, the check calls nothing of it damage.
func TestACheckAfterAPowerCutFindsNoDamage(t *testing.T) {
	cuts, notes := 0, uint64(0)
	for seed := range uint64(4) {
		r := newRig(t, 1, nil)
		var mu sync.Mutex
		var after []*disk.Sim
		steps := uint64(0)
		sim := r.disks[0]
		sim.OnStep(func(disk.Step) { // in the middle of whatever the store does
			mu.Lock()
			defer mu.Unlock()
			if steps++; steps%2 == 0 {
				after = append(after, sim.Crash(disk.CrashPlan{Seed: seed*1000 + steps}))
			}
		})
		for i := range 24 {
			r.mustWrite(uint64(1+i%copysets), uint64(i%3), uint32(i%5*block), pattern(byte(i), 3))
			if i%7 == 6 {
				r.checkpoint(0)
			}
		}
		sim.OnStep(nil)
		r.close(0)
		for i, crashed := range after {
			report := checked(t, crashed)
			if report.Damaged() != 0 {
				t.Fatalf("seed %d, cut %d: %+v", seed, i, report.Findings)
			}
			for _, a := range report.Areas {
				notes += a.Notes
			}
		}
		cuts += len(after)
	}
	t.Logf("power cuts %d, notes %d, damage 0", cuts, notes)
	if notes == 0 {
		t.Fatal("no cut left anything to note: the test does not reach it")
	}
}

func TestADumpOfTheLogNamesEveryCommand(t *testing.T) {
	sim := written(t)
	all, err := DumpLog(context.Background(), disk.ReadOnly(sim), "disk0", LogQuery{Payload: true})
	if err != nil {
		t.Fatal(err)
	}
	var writes []string
	records := 0
	for _, f := range all.Frames {
		records += len(f.Records)
		for _, rec := range f.Records {
			if c := rec.Command; c != nil && c.Kind == copyset.CmdWrite {
				writes = append(writes, fmt.Sprintf("%d:%d/%d+%d", rec.Group, c.Chunk,
					c.First, c.Count))
				if len(rec.Payload) != int(c.Count)*block {
					t.Errorf("payload of %d bytes", len(rec.Payload))
				}
			}
			if strings.Contains(rec.Detail, "unreadable") || rec.Detail == "" {
				t.Errorf("%+v", rec)
			}
		}
	}
	if want := "[1:0/0+4 1:1/8+4 2:0/3+4 1:0/2+4]"; fmt.Sprint(writes) != want {
		t.Errorf("writes %v, want %v", writes, want)
	}
	some, err := DumpLog(context.Background(), disk.ReadOnly(sim), "disk0",
		LogQuery{Group: 2, Limit: 2})
	if err != nil || !some.More {
		t.Fatal(err, some)
	}
	for _, f := range some.Frames {
		for _, rec := range f.Records {
			if rec.Group != 2 {
				t.Errorf("a record of copyset %d", rec.Group)
			}
		}
	}
	later, err := DumpLog(context.Background(), disk.ReadOnly(sim), "disk0",
		LogQuery{From: all.Frames[2].At})
	if err != nil || len(later.Frames) >= len(all.Frames) || later.Frames[0].At > all.Frames[2].At {
		t.Fatal(err, len(later.Frames))
	}
	none, err := DumpLog(context.Background(), disk.ReadOnly(sim), "disk0",
		LogQuery{OneFile: true, Segment: 99})
	if err != nil || len(none.Frames) != 0 {
		t.Fatal(err, none)
	}
}

func TestADumpOfAChunkShowsWhatFitsAndWhatDoesNot(t *testing.T) {
	sim := written(t)
	id := chunkfile.ID{Group: 1, Volume: 1, Index: 0}
	d := findSlotOf(t, sim, id)
	if fmt.Sprint(d.Written) != "[{0 5}]" || len(d.Blocks) != 8 || !d.Used || d.Newest < 0 {
		t.Fatalf("%+v", d)
	}
	flip(t, sim, d.File, d.Blocks[2].Offset)
	for _, b := range findSlotOf(t, sim, id).Blocks {
		if b.Written != (b.Block < 6) || b.Written && (b.Want == b.Got) != (b.Block != 2) {
			t.Errorf("%+v", b)
		}
	}
	if _, err := DumpChunk(sim, "disk0", ChunkQuery{BySlot: true, Slot: 99}); err == nil {
		t.Error("a slot that is not there is shown")
	}
}
