package wal

import (
	"errors"
	"sync"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// putHere is put with Write in place of Append's start. It reports whether the caller wrote it.
func putHere(l *Log, records ...Record) (a *Append, here bool) {
	before := l.Stats().Alone
	done := make(chan struct{})
	a = &Append{Records: records, Done: func(*Append) { close(done) }}
	l.Queue(a)
	l.Write()
	here = l.Stats().Alone > before
	if !here {
		<-done
		return a, false
	}
	select {
	case <-done:
	default:
		panic("written here, and not done")
	}
	return a, true
}

// roomy has segments that take all that these tests write.
func roomy(d disk.Disk) Config {
	cfg := testConfig(d)
	cfg.SegmentSize = 1 << 20
	return cfg
}

// warm makes appends that are alone, until the next one is written where it is asked for.
func warm(t *testing.T, l *Log) (index uint64) {
	t.Helper()
	settle(l)
	for range loneAfter {
		index++
		must(t, l, record(1, index, 1, 8))
	}
	return index
}

func TestALoneAppendIsDurableWhenWriteReturns(t *testing.T) {
	d := newSim()
	cfg := roomy(d)
	var after []bool
	cfg.AfterBatch = func(more bool) { after = append(after, more) }
	l := opened(t, cfg)
	index := warm(t, l)
	l.awaitIdle()
	after = nil
	for range 10 {
		index++
		if a, here := putHere(l, record(1, index, 1, 8)); !here || a.Err != nil || a.End == 0 {
			t.Fatalf("append %d: done by then %v, at %d, %v", index, here, a.End, a.Err)
		}
	}
	if len(after) != 10 || after[0] {
		t.Errorf("told after the batches: %v", after)
	}
	cut := d.Crash(disk.CrashPlan{Keep: disk.KeepNothing})
	closed(t, l)
	l, rec, got := reopen(t, roomy(cut))
	defer closed(t, l)
	if rec.Torn || uint64(len(got)) != index {
		t.Errorf("%d records of %d are there after a power cut, torn %v", len(got), index, rec.Torn)
	}
}

// awaitIdle waits until the log's goroutine waits for appends.
func (l *Log) awaitIdle() {
	for {
		l.mu.Lock()
		idle := l.idle
		l.mu.Unlock()
		if idle {
			return
		}
	}
}

func TestAppendsThatDoNotComeAloneAreNotWaitedFor(t *testing.T) {
	l := opened(t, roomy(newSim()))
	defer closed(t, l)
	if _, here := putHere(l, record(1, 1, 1, 8)); here {
		t.Error("the very first one is")
	}
	index := warm(t, l) + 100
	l.awaitIdle()
	var wg sync.WaitGroup
	wg.Add(2)
	for range 2 {
		index++
		l.Queue(&Append{Records: []Record{record(1, index, 1, 8)},
			Done: func(*Append) { wg.Done() }})
	}
	l.Write()
	wg.Wait()
	l.awaitIdle()
	if _, here := putHere(l, record(1, index+1, 1, 8)); here {
		t.Error("one after a batch of two is")
	}
}

func TestALoneAppendThatFailsStopsTheLog(t *testing.T) {
	d := newSim()
	l := opened(t, roomy(d))
	index := warm(t, l)
	l.awaitIdle()
	d.FailWrites(func(string, int64) error { return disk.ErrIO })
	a, here := putHere(l, record(1, index+1, 1, 8))
	if !here || !errors.Is(a.Err, ErrFailed) || !errors.Is(a.Err, disk.ErrIO) {
		t.Errorf("done by then %v: %v", here, a.Err)
	}
	d.FailWrites(nil)
	if a, _ := putHere(l, record(1, index+2, 1, 8)); !errors.Is(a.Err, ErrFailed) {
		t.Errorf("the next: %v", a.Err)
	}
	_ = l.Close()
}

// TestALoneAppendNeverWaitsForASegment: who calls Write may be the one who frees it.
func TestALoneAppendNeverWaitsForASegment(t *testing.T) {
	cfg := testConfig(newSim())
	l := opened(t, cfg)
	defer closed(t, l)
	index := warm(t, l)
	for range 4 * int(l.size) / (2 * BlockSize) {
		index++
		l.awaitIdle()
		l.mu.Lock()
		left := l.size - l.segs.active.end
		l.mu.Unlock()
		if _, here := putHere(l, record(1, index, 1, 8)); here && left < 2*BlockSize {
			t.Fatalf("with %d bytes left in the segment", left)
		}
		l.Release(l.Head())
		settle(l)
	}
}
