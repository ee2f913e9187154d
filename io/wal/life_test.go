package wal

import (
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// frameAt reads n blocks of a segment file.
func frameAt(t *testing.T, d disk.Disk, name string, off int64, n int) (b []byte) {
	t.Helper()
	for i := range int64(n) {
		b = append(b, readBlock(t, d, name, off+i*BlockSize)...)
	}
	return b
}

// A frame written in an earlier life, at the place where this life's next frame would be, with
// the same sequence number: what two writes in flight and two power cuts can leave.
func TestAFrameOfAnEarlierLifeIsNotReplayed(t *testing.T) {
	for lives := range 3 {
		earlier, d := newSim(), newSim()
		for range lives {
			closed(t, opened(t, testConfig(earlier)))
			closed(t, opened(t, testConfig(d)))
		}
		l := opened(t, testConfig(earlier))
		must(t, l, record(1, 1, 1, 0))
		must(t, l, record(1, 2, 1, 0))
		closed(t, l)
		stale := frameAt(t, earlier, segmentName("wal", 0), 3*BlockSize, 2)

		closed(t, opened(t, testConfig(d))) // that life, as far as this disk knows
		l = opened(t, testConfig(d))
		want := []Record{record(2, 1, 1, 0)}
		must(t, l, want...)
		crashed := d.Crash(disk.CrashPlan{Keep: disk.KeepAll})
		closed(t, l)
		crashed.Corrupt(segmentName("wal", 0), 3*BlockSize, stale)
		got, rec, err := recovered(testConfig(crashed))
		if err != nil || len(rec.Damage) != 0 {
			t.Fatalf("recovery %+v, %v", rec, err)
		}
		wantRecords(t, got, want)
	}
}

func TestAFrameInAnotherPlaceIsNotReplayed(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	want := []Record{record(1, 1, 1, 0), record(1, 2, 1, 0)}
	must(t, l, want[0])
	must(t, l, want[1])
	closed(t, l)
	name := segmentName("wal", 0)
	d.Corrupt(name, 5*BlockSize, frameAt(t, d, name, 3*BlockSize, 2))
	got, rec, err := recovered(testConfig(d))
	if err != nil || len(rec.Damage) != 0 {
		t.Fatalf("recovery %+v, %v", rec, err)
	}
	wantRecords(t, got, want)
}

func TestFramesOfAnotherStoreAreNotReplayed(t *testing.T) {
	other := newSim()
	cfg := testConfig(other)
	cfg.StoreID = otherStore
	l := opened(t, cfg)
	must(t, l, record(1, 1, 1, 0))
	closed(t, l)
	name := segmentName("wal", 0)
	frame := frameAt(t, other, name, BlockSize, 2)
	d := newSim()
	closed(t, opened(t, testConfig(d)))
	d.Corrupt(name, BlockSize, frame)
	got, rec, err := recovered(testConfig(d))
	if err != nil || len(got) != 0 || len(rec.Damage) != 0 {
		t.Errorf("%d records, %+v, %v", len(got), rec, err)
	}
}

// Without a clean end the watermarks of later frames tell damage from an interrupted write.
func TestDamageBeforeALaterFrameIsNeverTakenForATornTail(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	var want []Record
	for i := range uint64(6) {
		want = append(want, record(i, i, 1, 0))
		must(t, l, want[i])
	}
	crashed := d.Crash(disk.CrashPlan{Keep: disk.KeepAll})
	closed(t, l)
	for i := range 5 {
		for _, off := range []int64{40, BlockSize + 40} {
			c := crashed.Crash(disk.CrashPlan{Keep: disk.KeepAll})
			c.Corrupt(segmentName("wal", 0), BlockSize+int64(i)*2*BlockSize+off, []byte("rot"))
			got, rec, err := recovered(testConfig(c))
			if err != nil || rec.Torn || len(rec.Damage) != 1 || len(got) != 5 {
				t.Errorf("frame %d byte %d: %d records, %+v, %v", i, off, len(got), rec, err)
			}
			if gone, err := missing(got, want); err != nil || gone[0].Group != uint64(i) {
				t.Errorf("frame %d: %v lost, %v", i, gone, err)
			}
		}
	}
}

// As a hole within a segment, with the later write already in the next one.
func TestAHoleBeforeTheNextSegmentIsCutAndStaysCut(t *testing.T) {
	d := newSim()
	l := opened(t, crashConfig(d))
	kept := record(1, 1, 0, 0)
	must(t, l, kept)
	must(t, l, record(1, 2, 1, 0))
	must(t, l, record(1, 3, 0, 0))
	crashed := d.Crash(disk.CrashPlan{Keep: disk.KeepAll})
	closed(t, l)
	first, second := segmentName("wal", 0), segmentName("wal", 1)
	before := LSN(crashSegment + 2*BlockSize)
	// The preparer may or may not have been there to mark the first.
	for _, name := range []string{first, second} {
		head := readBlock(t, crashed, name, 0)
		var sh segmentHeader
		if err := sh.parse(head); err != nil {
			t.Fatal(err)
		}
		sh.watermark = before
		sh.put(head)
		crashed.Corrupt(name, 0, head)
	}
	frame := readBlock(t, crashed, second, BlockSize)
	var fh frameHeader
	if err := fh.parse(frame); err != nil {
		t.Fatal(err)
	}
	fh.watermark = before
	fh.put(frame)
	crashed.Corrupt(second, BlockSize, frame)
	crashed.Corrupt(first, 2*BlockSize, make([]byte, 512))
	id := identity{store: testStore, epoch: 1, size: crashSegment, watermark: before}
	if err := crashed.WriteFile("wal/"+identityName, id.encode()); err != nil {
		t.Fatal(err)
	}

	l, rec, got := reopen(t, crashConfig(crashed))
	wantRecords(t, got, []Record{kept})
	if !rec.Torn || len(rec.Damage) != 0 {
		t.Errorf("recovery %+v", rec)
	}
	next := record(2, 1, 0, 0)
	if a := must(t, l, next); l.seq(a.Records[0].At) != 3 {
		t.Errorf("the log goes on at %d, segment 2 has been used", a.Records[0].At)
	}
	closed(t, l)
	l, rec, got = reopen(t, crashConfig(crashed))
	wantRecords(t, got, []Record{kept, next})
	if rec.Torn || len(rec.Damage) != 0 {
		t.Errorf("recovery %+v", rec)
	}
	closed(t, l)
}

func TestASegmentIsNotUsedAgainBeforeTheTailIsDurable(t *testing.T) {
	g := segments{layout: layout{size: 100}, prepared: 1, nextSeq: 3}
	g.live = []*segment{
		{hdr: segmentHeader{stamp: stamp{seq: 1}}, end: 90},
		{hdr: segmentHeader{stamp: stamp{seq: 2}}, end: 50},
	}
	g.active = g.live[1]
	g.released = 250
	g.advanceTail()
	if g.tail != 200 {
		t.Fatalf("tail %d", g.tail)
	}
	if n := g.recycle(); n != 0 {
		t.Fatalf("%d segments are used again while the durable tail is %d", n, g.durableTail)
	}
	g.durableTail = g.tail
	if n := g.recycle(); n != 1 || len(g.ready) != 1 || len(g.live) != 1 {
		t.Errorf("%d segments, ready %v", n, g.ready)
	}
}

func TestCompletionsKeepTheOrderOfAppends(t *testing.T) {
	d := newSim()
	cfg := testConfig(d)
	cfg.SegmentSize = 4 << 20
	l := opened(t, cfg)
	g := gateWrites(d)
	r := record(1, 1, 64, 0)
	const n = 300
	order := make(chan uint64, n)
	add := func(i int) {
		a := &Append{Records: []Record{r}, Done: func(a *Append) { order <- a.Records[0].Index }}
		a.Records[0].Index = uint64(i)
		l.Append(a)
	}
	for i := range n {
		add(i)
		switch i {
		case 0:
			<-g.entered
		case n / 2: // more than a batch waits, more comes while it is written
			close(g.open)
		}
	}
	for i := range uint64(n) {
		if got := <-order; got != i {
			t.Fatalf("append %d completed in place of %d", got, i)
		}
	}
	closed(t, l)
}

// On a device of two segments every release must reach the disk before its space is used.
func TestCrashesOnAFullDeviceKeepWhatWasAcknowledged(t *testing.T) {
	b := budget(t)
	var n tally
	for _, work := range []string{"bbrbbrb", "bbrbrbrb", "mmmbrbrmmmrb", "brbrbrb"} {
		d := disk.NewSim(disk.SimConfig{Seed: 1, Inline: true, Bytes: 2*crashSegment + 4096})
		x := newExplorer(d, newHistory(), b.subsets, 4, &n)
		for _, c := range x.run(t, work, 0) {
			c.verify(t, work)
		}
	}
	n.record(t, "log, full device")
}
