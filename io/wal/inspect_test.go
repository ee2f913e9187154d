package wal

import (
	"errors"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// inspect looks at a log and returns what Open would replay, and every position.
func inspect(t testing.TB, d disk.Disk) (in *Inspection, got []Record, frames []FrameInfo) {
	t.Helper()
	cfg := crashConfig(disk.ReadOnly(d))
	cfg.SegmentSize = 0 // log.id tells, or the files
	in, err := Inspect(cfg, Look{
		Frame: func(f *FrameInfo) error {
			c := *f
			c.Records = nil
			for i := range f.Records {
				c.Records = append(c.Records,
					RecordInfo{Record: clone(&f.Records[i].Record), Bad: f.Records[i].Bad})
			}
			frames = append(frames, c)
			return nil
		},
		Replay: func(r *Record) error { got = append(got, clone(r)); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return in, got, frames
}

func TestInspectTellsWhatOpenWouldAndChangesNothing(t *testing.T) {
	d, want := smallLog(t)
	before := d.Stats()
	in, got, frames := inspect(t, d)
	wantRecords(t, got, want)
	if after := d.Stats(); after.Writes != before.Writes || after.Syncs != before.Syncs ||
		after.DurableWrites != before.DurableWrites {
		t.Fatalf("the disk was written: %+v, %+v", before, after)
	}
	if in.IdentityErr != nil || in.Epoch != 1 || in.SegmentSize != crashConfig(d).SegmentSize {
		t.Fatalf("%+v", in)
	}
	var shown []Record
	for i := range frames {
		for k := range frames[i].Records {
			if frames[i].Verdict != "replay" || !frames[i].Intact {
				t.Fatalf("frame %+v", frames[i])
			}
			shown = append(shown, frames[i].Records[k].Record)
		}
	}
	wantRecords(t, shown, want)
	live := 0
	for _, f := range in.Files {
		if f.Use == useLive && f.HeaderErr == nil && f.Known == "header" {
			live++
		}
	}
	if live != in.Segments || live < 2 {
		t.Fatalf("%d live files of %d segments: %+v", live, in.Segments, in.Files)
	}
}

// A flip anywhere of a segment: the inspection and the next Open agree, and Inspect names the
// blocks that fail.
func TestInspectAgreesWithOpenOnDamagedLogs(t *testing.T) {
	d, _ := smallLog(t)
	const name = "wal/00000001.seg"
	f, err := d.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	image := alignedBytes(int(f.Size()))
	if _, err := f.ReadAt(image, 0); err != nil {
		t.Fatal(err)
	}
	tried, damaged, named := 0, 0, 0
	for at := 0; at < len(image); at += 97 {
		d.Corrupt(name, int64(at), []byte{image[at] ^ 0x40})
		in, got, frames := inspect(t, d)
		again := d.Crash(disk.CrashPlan{Keep: disk.KeepAll})
		want, rec, err := recovered(crashConfig(again))
		if err != nil {
			t.Fatal(err)
		}
		wantRecords(t, got, want)
		if len(rec.Damage) != len(in.Damage) || rec.Torn != in.Torn ||
			rec.TruncatedAt != in.TruncatedAt || rec.Headers != in.Headers {
			t.Fatalf("byte %d: inspected %+v, recovered %+v", at, in.Recovery, rec)
		}
		tried++
		damaged += min(len(in.Damage), 1)
		for i := range frames {
			for k := range frames[i].Records {
				named += len(frames[i].Records[k].Bad)
			}
		}
		d.Corrupt(name, int64(at), image[at:at+1])
	}
	if damaged == 0 || named == 0 {
		t.Fatalf("%d damaged, %d blocks named: the test does not reach it", damaged, named)
	}
	t.Logf("flips tried %d, damage found %d, blocks named %d", tried, damaged, named)
}

func TestInspectShowsSupersededFramesWhenAsked(t *testing.T) {
	d := newSim()
	l := opened(t, crashConfig(d))
	var last *Append
	for i := range uint64(12) {
		last = must(t, l, record(1, i, 1, 20))
	}
	l.Release(last.End)
	must(t, l, record(1, 99, 1, 20))
	must(t, l, record(1, 100, 1, 20))
	closed(t, l)
	count := func(superseded bool) (live, old int) {
		_, err := Inspect(crashConfig(disk.ReadOnly(d)), Look{Superseded: superseded,
			Frame: func(f *FrameInfo) error {
				if f.Verdict == useSuperseded {
					old++
				} else if f.Verdict == "replay" {
					live++
				}
				return nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		return live, old
	}
	if _, old := count(false); old != 0 {
		t.Fatal("superseded frames are shown unasked")
	}
	if live, old := count(true); live == 0 || old == 0 {
		t.Fatalf("%d live, %d superseded", live, old)
	}
}

func TestInspectSurvivesALostIdentityAndRefusesAForeignOne(t *testing.T) {
	d, want := smallLog(t)
	if err := d.WriteFile("wal/log.id", []byte("x")); err != nil {
		t.Fatal(err)
	}
	in, got, _ := inspect(t, d)
	if !errors.Is(in.IdentityErr, ErrCorrupt) {
		t.Fatal(in.IdentityErr)
	}
	wantRecords(t, got, want)
	cfg := crashConfig(d)
	cfg.StoreID = otherStore
	if _, err := Inspect(cfg, Look{}); !errors.Is(err, ErrForeign) {
		t.Fatal(err)
	}
}
