package wal

import (
	"errors"
	"flag"
	"fmt"
	"path"
	"slices"
	"testing"
	"time"

	lanes "github.com/ashlar-storage/ashlar/internal/evidence"
	"github.com/ashlar-storage/ashlar/io/disk"
)

var corruptAll = flag.Bool("corrupt.all", false, "try every mutation of every byte")

// sweepStride is no divisor of the size of a field, a record or a block.
const sweepStride = 29

// mutations of one byte; each changes it.
var mutations = []func(byte) byte{
	func(b byte) byte { return b ^ 1 },
	func(b byte) byte {
		if b == 0 {
			return 0x5A
		}
		return 0
	},
	func(b byte) byte {
		if b == 0xFF {
			return 0x7F
		}
		return 0xFF
	},
}

// sweep mutates the bytes of a log one after the other and counts the verdicts.
type sweep struct {
	d    *disk.Sim
	cfg  Config
	want []Record
	// released of want need not be replayed, and may be: the newest tail may be what is damaged.
	released int
	// free is where the frames of a segment file end: what lies beyond belongs to no structure.
	// Recovery never takes a byte of it for data, as no intact frame of the segment lies there.
	free map[string]int64

	buf []byte // of the last recovery

	tried, detected, repaired, unused int64
}

// byteAt mutates one byte in every way, recovers each time, and puts it back.
func (s *sweep) byteAt(name string, off int64, old byte) error {
	for k, mutate := range mutations {
		s.d.Corrupt(name, off, []byte{mutate(old)})
		err := s.judge(off >= s.free[name])
		s.d.Corrupt(name, off, []byte{old})
		if err != nil {
			return fmt.Errorf("%s byte %d mutation %d: %w", name, off, k, err)
		}
	}
	return nil
}

// judge recovers once. A byte of a header, a descriptor, a payload or their padding must be
// reported: as damage, or as repaired when every record is there. A free byte must change nothing.
func (s *sweep) judge(free bool) error {
	lost, rec, err := s.recover()
	if err != nil {
		return err
	}
	s.tried++
	switch {
	case free && (lost > 0 || len(rec.Damage)+len(rec.Repaired) > 0):
		return fmt.Errorf("a free byte counts: %d lost, %+v", lost, rec)
	case free:
		s.unused++
	case len(rec.Damage) > 0:
		s.detected++
	case lost > 0:
		return fmt.Errorf("%d records are lost without damage", lost)
	case len(rec.Repaired) == 1 && errors.Is(rec.Repaired[0].Err, ErrCorrupt):
		s.repaired++
	default:
		return errors.New("harmless: no report at all")
	}
	return nil
}

// recover reads the log and compares what it replays with what was written, and what is missing
// with the report. Memory for reading is kept from one recovery to the next.
func (s *sweep) recover() (lost int, rec *Recovery, err error) {
	next := 0
	var gone []uint64
	r := newRecovery(s.cfg, func(got *Record) error {
		for ; next < len(s.want); next++ {
			if same(got, &s.want[next]) {
				next++
				return nil
			}
			gone = s.miss(gone, next)
		}
		return fmt.Errorf("wrong: invented %s", describe(got))
	})
	defer r.close()
	r.win.buf = s.buf
	id, err := r.readIdentity()
	if err == nil {
		err = r.run(id)
	}
	s.buf = r.win.buf
	for ; next < len(s.want); next++ {
		gone = s.miss(gone, next)
	}
	for _, g := range gone {
		if err == nil && !slices.ContainsFunc(r.out.Damage, func(d Damage) bool {
			return len(d.Groups) == 0 || slices.Contains(d.Groups, g)
		}) {
			err = fmt.Errorf("group %d lost a record without a word", g)
		}
	}
	return len(gone), r.out, err
}

func (s *sweep) miss(gone []uint64, i int) []uint64 {
	if i < s.released {
		return gone
	}
	return append(gone, s.want[i].Group)
}

// file sweeps a whole file. Of the free bytes behind its frames a share is enough: they are all
// alike.
func (s *sweep) file(t *testing.T, name string, size int64) {
	t.Helper()
	step := int64(sweepStride)
	if *corruptAll {
		step = 1
	}
	var block []byte
	at := int64(-1)
	for off := int64(0); off < size; off += step {
		if off >= s.free[name] {
			step = sweepStride
		}
		if page := off / BlockSize * BlockSize; page != at {
			block, at = append([]byte(nil), readBlock(t, s.d, name, page)...), page
		}
		if err := s.byteAt(name, off, block[off-at]); err != nil {
			t.Fatal(err)
		}
	}
}

// record leaves the counts. Harmless and wrong are none, or the sweep has failed before.
func (s *sweep) record(t *testing.T, name string) {
	t.Helper()
	if s.detected+s.repaired+s.unused != s.tried || s.tried == 0 {
		t.Errorf("%d verdicts for %d mutations", s.detected+s.repaired+s.unused, s.tried)
	}
	lanes.Record(t, lanes.Item{Lane: "corrupt", Name: name,
		Promises: []string{"P4", "P5"}, Test: "io/wal " + t.Name(),
		Counts: map[string]int64{"mutations": s.tried, "detected": s.detected,
			"repaired": s.repaired, "rejected": 0, "free": s.unused, "harmless": 0, "wrong": 0}})
}

// fullSegment returns a log whose first segment of 64 KiB is full to its last byte, and the second
// holds one frame more.
func fullSegment(t *testing.T) *sweep {
	t.Helper()
	d := newSim()
	l := opened(t, testConfig(d))
	var want []Record
	for i, blocks := range [][]int{{0}, {1}, {2}, {1, 0}, {0, 0}, {3}, {1}, {0}} {
		var rs []Record
		for j, n := range blocks {
			rs = append(rs, record(uint64(10*i+j), uint64(100*i+j), n, 30+i))
		}
		must(t, l, rs...)
		want = append(want, rs...)
	}
	waitMarked(t, l) // and so until a segment is prepared
	closed(t, l)
	return &sweep{d: d, cfg: testConfig(d), want: want, free: map[string]int64{
		segmentName("wal", 0): smallSegment, segmentName("wal", 1): 2 * BlockSize,
		segmentName("wal", 2): BlockSize}}
}

// Every byte of a segment, three ways: 196,608 recoveries with -corrupt.all.
func TestEveryByteOfASegmentIsGuarded(t *testing.T) {
	t.Parallel()
	s := fullSegment(t)
	if s.tail(t) != smallSegment {
		t.Fatal("the first segment is not full")
	}
	s.file(t, segmentName("wal", 0), smallSegment)
	if s.unused > 0 {
		t.Errorf("%d bytes count as free in a full segment", s.unused)
	}
	s.record(t, "every byte of a full log segment")
}

// tail is where the log left its first segment.
func (s *sweep) tail(t *testing.T) int64 {
	t.Helper()
	var h segmentHeader
	if err := h.parse(readBlock(t, s.d, segmentName("wal", 1), 0)); err != nil {
		t.Fatal(err)
	}
	return int64(h.prevEnd) - smallSegment // the first segment has sequence number 1
}

// The newest segment, in part written, and a prepared one: their headers and frames are guarded,
// what is beyond the end is free and never taken for a record.
func TestNewestAndPreparedSegmentsAreGuarded(t *testing.T) {
	t.Parallel()
	s := fullSegment(t)
	for _, slot := range []int{1, 2} {
		s.file(t, segmentName("wal", slot), smallSegment)
	}
	s.record(t, "every byte of the newest and a prepared segment")
}

// A segment that is used a second time, with frames of its first life behind its end: these are
// intact, and no mutation of them makes them come back.
func TestNothingOfAnEarlierLifeComesBackByRot(t *testing.T) {
	t.Parallel()
	d := newSim()
	l := opened(t, crashConfig(d))
	var want []Record
	var used int64
	var name string
	for i := uint64(0); name == ""; i++ {
		if i == 100 {
			t.Fatal("no segment is used again")
		}
		want = append(want, record(1, i, 0, 20))
		a := must(t, l, want[i])
		active := l.segs.active
		l.Release(a.End - 1)
		stale := active.end < crashSegment && !allZero(readBlock(t, d, active.name, active.end))
		if stale && active.end > BlockSize {
			used, name = active.end, active.name
		}
	}
	waitMarked(t, l)
	closed(t, l)
	got, _, err := recovered(crashConfig(d))
	if err != nil || len(got) == 0 {
		t.Fatalf("%d records, %v", len(got), err)
	}
	s := &sweep{d: d, cfg: crashConfig(d), want: want, released: len(want) - len(got),
		free: map[string]int64{name: used}}
	s.file(t, name, crashSegment)
	if s.unused == 0 {
		t.Error("no byte of an earlier life was tried")
	}
	s.record(t, "every byte of a segment in its second life")
}

// Every byte of log.id: the identity is told by the segments, and the report says so.
func TestEveryByteOfTheIdentityIsGuarded(t *testing.T) {
	s := fullSegment(t)
	name := path.Join("wal", identityName)
	b, err := s.d.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for off := range b {
		for _, mutate := range mutations {
			bad := append([]byte(nil), b...)
			bad[off] = mutate(bad[off])
			if err := s.d.WriteFile(name, bad); err != nil {
				t.Fatal(err)
			}
			if err := s.judge(false); err != nil {
				t.Fatalf("%s byte %d: %v", name, off, err)
			}
		}
	}
	if s.repaired != s.tried {
		t.Errorf("repaired %d of %d", s.repaired, s.tried)
	}
	s.record(t, "every byte of the log's identity")
}

// The newest segments are gone: what log.id says of the log's end shows it. Their numbers are not
// used again, and the report stays until it is released.
func TestMissingNewestSegmentsAreReported(t *testing.T) {
	for _, slots := range [][]int{{2}, {1, 2}, {0, 1, 2}} {
		d, want := smallLog(t)
		for _, slot := range slots {
			if err := d.Remove(segmentName("wal", slot)); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			lost, rec, err := judgeDamage(d, want)
			if err != nil || lost == 0 || len(rec.Damage) == 0 {
				t.Errorf("segments %v: %d lost, %+v, %v", slots, lost, rec, err)
			}
			l, _, _ := reopen(t, crashConfig(d))
			must(t, l, record(900, 1, 0, 0))
			closed(t, l)
			want = append(want, record(900, 1, 0, 0))
		}
	}
}

// After a power cut log.id is as old as the last start: the newest segment is missed all the same,
// as its first frame had the header before it written again.
func TestMissingNewestSegmentIsReportedAfterAPowerCut(t *testing.T) {
	d := newSim()
	l := opened(t, crashConfig(d))
	var want []Record
	for i := range uint64(4) {
		want = append(want, record(i, i, 1, 0))
		must(t, l, want[i])
	}
	waitMarked(t, l)
	crashed := d.Crash(disk.CrashPlan{Keep: disk.KeepNothing})
	newest := l.segs.newest().name
	closed(t, l)
	if lost, rec, err := judgeDamage(crashed, want); err != nil || lost+len(rec.Damage) > 0 {
		t.Fatalf("sound log: %d lost, %+v, %v", lost, rec, err)
	}
	if err := crashed.Remove(newest); err != nil {
		t.Fatal(err)
	}
	if lost, rec, err := judgeDamage(crashed, want); err != nil || lost == 0 ||
		len(rec.Damage) == 0 {
		t.Errorf("%d lost, %+v, %v", lost, rec, err)
	}
}

// waitMarked waits until the newest segment is told of.
func waitMarked(t *testing.T, l *Log) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		behind := l.entered()
		l.mu.Unlock()
		if !behind {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the newest segment is never told of")
		}
	}
}
