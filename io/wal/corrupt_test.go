package wal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// smallLog returns a disk with a log over three segments, and its records.
func smallLog(t testing.TB) (*disk.Sim, []Record) {
	t.Helper()
	d := newSim()
	l := opened(t, crashConfig(d))
	var want []Record
	for i, blocks := range [][]int{{0}, {1}, {1, 0}, {0, 0}, {0}, {0}} {
		var rs []Record
		for j, b := range blocks {
			rs = append(rs, record(uint64(10*i+j), uint64(100*i+j), b, 30+i))
		}
		must(t, l, rs...)
		want = append(want, rs...)
	}
	closed(t, l)
	return d, want
}

// missing returns the records of want that are not in got. It fails if got has others, or has
// them in another order.
func missing(got, want []Record) (lost []Record, err error) {
	i := 0
	for w := range want {
		if i < len(got) && same(&got[i], &want[w]) {
			i++
			continue
		}
		lost = append(lost, want[w])
	}
	if i < len(got) {
		return nil, fmt.Errorf("invented: %s", describe(&got[i]))
	}
	return lost, nil
}

// judgeDamage recovers a log that was closed cleanly and then damaged, and checks that
// nothing is lost without a report that covers it.
func judgeDamage(d disk.Disk, want []Record) (lost int, rec *Recovery, err error) {
	return judgeLog(crashConfig(d), want)
}

func judgeLog(cfg Config, want []Record) (lost int, rec *Recovery, err error) {
	got, rec, err := recovered(cfg)
	if err != nil {
		return 0, rec, err
	}
	gone, err := missing(got, want)
	if err != nil {
		return 0, rec, err
	}
	for i := range gone {
		if !slices.ContainsFunc(rec.Damage, func(d Damage) bool {
			return len(d.Groups) == 0 || slices.Contains(d.Groups, gone[i].Group)
		}) {
			return 0, rec, fmt.Errorf("lost without a word: %s", describe(&gone[i]))
		}
	}
	for _, d := range rec.Damage {
		if !errors.Is(d.Err, ErrCorrupt) || !strings.Contains(d.Err.Error(), d.File) {
			return 0, rec, fmt.Errorf("damage %+v", d)
		}
		for _, g := range d.Groups {
			if !slices.ContainsFunc(gone, func(r Record) bool { return r.Group == g }) {
				return 0, rec, fmt.Errorf("group %d lost nothing", g)
			}
		}
	}
	return len(gone), rec, nil
}

func TestAnUnreadableBlockCostsItsFrameOnly(t *testing.T) {
	d, want := smallLog(t)
	for slot := range 3 {
		for off := int64(0); off < crashSegment; off += BlockSize {
			name := segmentName("wal", slot)
			bad := off
			d.FailReads(func(n string, off int64) error {
				if n == name && off <= bad && bad < off+scanWindow {
					if off == bad || off == 0 {
						return errors.New("medium error")
					}
				}
				return nil
			})
			lost, rec, err := judgeDamage(d, want)
			if err != nil || lost > 2 {
				t.Errorf("%s block %d: %d lost, %+v, %v", name, off, lost, rec, err)
			}
		}
	}
}

func TestALostOrMisdirectedWriteIsReported(t *testing.T) {
	for where, redirect := range map[string]func(off int64) (int64, bool){
		"lost":              func(off int64) (int64, bool) { return off, false },
		"one block further": func(off int64) (int64, bool) { return off + BlockSize, true },
		"one block before":  func(off int64) (int64, bool) { return off - BlockSize, true },
	} {
		for victim := 1; victim < 6; victim++ {
			d := newSim()
			l := opened(t, testConfig(d))
			var want []Record
			for i := range 8 {
				if i == victim {
					d.RedirectWrites(func(_ string, off int64) (int64, bool) {
						return redirect(off)
					})
				}
				r := record(uint64(i), uint64(i), i%2, 10)
				must(t, l, r)
				d.RedirectWrites(nil)
				want = append(want, r)
			}
			closed(t, l)
			cfg := testConfig(d)
			got, rec, err := recovered(cfg)
			if err != nil {
				t.Fatal(err)
			}
			gone, err := missing(got, want)
			if err != nil || len(rec.Damage) == 0 {
				t.Errorf("%s, write %d: %v, %+v", where, victim, err, rec)
			}
			if len(gone) == 0 || len(gone) > 2 {
				t.Errorf("%s, write %d: %d records lost", where, victim, len(gone))
			}
		}
	}
}

func TestAMissingSegmentIsReported(t *testing.T) {
	for slot := range 3 {
		d, want := smallLog(t)
		if err := d.Remove(segmentName("wal", slot)); err != nil {
			t.Fatal(err)
		}
		lost, rec, err := judgeDamage(d, want)
		if err != nil || lost == 0 || len(rec.Damage) == 0 {
			t.Errorf("segment %d: %d lost, %+v, %v", slot, lost, rec, err)
		}
	}
}

// The report stays until what is damaged is released: the store may crash before it has
// acted on it.
func TestDamageIsReportedUntilItIsReleased(t *testing.T) {
	for what, harm := range map[string]func(d *disk.Sim){
		"frame": func(d *disk.Sim) {
			d.Corrupt(segmentName("wal", 0), BlockSize+200, []byte{0x55, 0x55})
		},
		"file": func(d *disk.Sim) {
			d.Corrupt(segmentName("wal", 0), 0, make([]byte, crashSegment-BlockSize))
			d.Corrupt(segmentName("wal", 0), 0, []byte("rot"))
			d.Corrupt(segmentName("wal", 0), 5000, []byte("rot"))
		},
		"missing": func(d *disk.Sim) {
			if err := d.Remove(segmentName("wal", 0)); err != nil {
				panic(err)
			}
		},
	} {
		d, _ := smallLog(t)
		harm(d)
		for range 3 {
			l, rec, _ := reopen(t, crashConfig(d))
			if len(rec.Damage) == 0 {
				t.Fatalf("%s: no damage is reported", what)
			}
			must(t, l, record(50, 50, 1, 0))
			closed(t, l)
		}
		damage := []Damage{{}}
		for try := 0; try < 5 && len(damage) > 0; try++ { // files go some time after the release
			l, _, _ := reopen(t, crashConfig(d))
			a := must(t, l, record(50, 50, 1, 0))
			l.Release(a.End)
			fillSegments(t, l, 3)
			closed(t, l)
			l, rec, _ := reopen(t, crashConfig(d))
			damage = rec.Damage
			closed(t, l)
		}
		if len(damage) != 0 {
			t.Errorf("%s: still reported after the release: %+v", what, damage)
		}
	}
}

func TestTornTailIsCutAndReported(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	kept := record(1, 1, 1, 0)
	must(t, l, kept)
	var torn *disk.Sim
	d.OnStep(func(s disk.Step) {
		if s.Kind == disk.StepWrite && s.Off > 0 && torn == nil {
			torn = d.Crash(disk.CrashPlan{Keep: func(i int, _ disk.Sector) bool { return i < 12 }})
		}
	})
	must(t, l, record(1, 2, 1, 0))
	closed(t, l)
	got, rec, err := recovered(testConfig(torn))
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(t, got, []Record{kept})
	if at := LSN(smallSegment + 3*BlockSize); !rec.Torn || rec.TruncatedAt != at {
		t.Errorf("recovery %+v, want a cut at %d", rec, at)
	}
}

// Two writes in flight may leave the second without the first. Neither was acknowledged: the
// log is cut at the first, and stays cut.
func TestAHoleThatNoWatermarkCoversIsCut(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	kept := record(1, 1, 1, 0)
	must(t, l, kept)
	settle(l) // log.id covers the first and, until the next segment, no more
	must(t, l, record(1, 2, 1, 0))
	must(t, l, record(1, 3, 1, 0))
	at := l.Head() - 2*BlockSize
	crashed := d.Crash(disk.CrashPlan{Keep: disk.KeepAll}) // no clean end
	closed(t, l)

	// Rewrite the third frame as a second one in flight would have been: its watermark is
	// where the second frame starts.
	name, off := segmentName("wal", 0), int64(at)%smallSegment
	b := readBlock(t, crashed, name, off)
	var h frameHeader
	if err := h.parse(b); err != nil {
		t.Fatal(err)
	}
	h.watermark -= 2 * BlockSize
	h.put(b)
	crashed.Corrupt(name, off, b)
	crashed.Corrupt(name, off-BlockSize, make([]byte, 512))

	for range 2 {
		l, rec, got := reopen(t, testConfig(crashed))
		wantRecords(t, got, []Record{kept})
		if len(rec.Damage) != 0 || !rec.Torn {
			t.Errorf("recovery %+v", rec)
		}
		closed(t, l)
	}
	l, _, _ = reopen(t, testConfig(crashed))
	next := record(2, 1, 1, 0)
	must(t, l, next)
	closed(t, l)
	l, rec, got := reopen(t, testConfig(crashed))
	wantRecords(t, got, []Record{kept, next})
	if rec.Torn || len(rec.Damage) != 0 {
		t.Errorf("recovery %+v", rec)
	}
	closed(t, l)
}

// A live segment whose file was cut short is kept, with what it still has, until it is released;
// what is gone of it is reported. Its size need not be whole blocks.
func TestASegmentFileThatWasCutShortIsKeptUntilItIsReleased(t *testing.T) {
	for slot := range 3 {
		for _, size := range []int64{BlockSize, 2*BlockSize + 100, 3 * BlockSize} {
			d, want := smallLog(t)
			name := segmentName("wal", slot)
			cutFile(t, d, name, size)
			lost, rec, err := judgeDamage(d, want)
			if err != nil || lost > 0 && len(rec.Damage) == 0 {
				t.Fatalf("segment %d of %d bytes: %d lost, %+v, %v", slot, size, lost, rec, err)
			}
			for range 2 { // the preparer has removed what it may when a log is closed
				l, again, got := reopen(t, crashConfig(d))
				gone, err := missing(got, want)
				if err != nil || len(gone) != lost || len(again.Damage) != len(rec.Damage) {
					t.Fatalf("segment %d of %d bytes: %d lost, before %d, %+v, %v", slot, size,
						len(gone), lost, again, err)
				}
				settle(l)
				closed(t, l)
			}
			l, _, _ := reopen(t, crashConfig(d))
			a := must(t, l, record(50, 50, 1, 0))
			l.Release(a.End)
			fillSegments(t, l, 3)
			settle(l)
			closed(t, l)
			l, rec, _ = reopen(t, crashConfig(d))
			if len(rec.Damage) != 0 {
				t.Errorf("segment %d of %d bytes: after the release: %+v", slot, size, rec)
			}
			settle(l)
			closed(t, l)
			f, err := d.Open(name)
			if err == nil {
				t.Errorf("%s of %d bytes is still there", name, f.Size())
				err = f.Close()
			}
			if err != nil && !errors.Is(err, disk.ErrNotExist) {
				t.Error(err)
			}
		}
	}
}

// cutFile leaves the beginning of a file.
func cutFile(t testing.TB, d *disk.Sim, name string, size int64) {
	t.Helper()
	data, err := d.ReadFile(name)
	if err == nil {
		err = d.WriteFile(name, data[:size])
	}
	if err != nil {
		t.Fatal(err)
	}
}
