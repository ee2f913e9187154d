package wal

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

func TestAppendedRecordsAreReplayedInOrder(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	var want []Record
	for i := range uint64(50) {
		r := []Record{record(i%3, 2*i, int(i%4), int(i*13%300)), record(i%5, 2*i+1, 1, 0)}
		a := must(t, l, r...)
		for j := range r {
			r[j].At = a.Records[j].At
		}
		if a.End != l.Head() {
			t.Fatalf("End is %d, Head %d", a.End, l.Head())
		}
		want = append(want, r...)
	}
	closed(t, l)
	l, rec, got := reopen(t, testConfig(d))
	defer closed(t, l)
	wantRecords(t, got, want)
	for i := range got {
		if got[i].At != want[i].At {
			t.Errorf("%s was at %d", describe(&got[i]), want[i].At)
		}
	}
	if rec.Torn || len(rec.Damage) != 0 || rec.Records != len(want) || rec.Segments < 4 {
		t.Errorf("recovery is %+v", rec)
	}
}

func TestALoneBlockTakesOneWriteOfTwoBlocks(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	defer closed(t, l)
	must(t, l, record(1, 1, 1, 20))
	settle(l) // the preparer's writes are not counted below
	before, device := l.Stats(), d.Stats()
	must(t, l, record(1, 2, 1, 20))
	s, dev := l.Stats(), d.Stats()
	if s.Writes-before.Writes != 1 || s.WriteBytes-before.WriteBytes != 8192 {
		t.Errorf("%d writes of %d bytes", s.Writes-before.Writes, s.WriteBytes-before.WriteBytes)
	}
	if dev.DurableWrites-device.DurableWrites != 1 || dev.Syncs != device.Syncs {
		t.Errorf("device: %+v, before %+v", dev, device)
	}
}

// gate holds the device's first write to a segment until it is opened.
type gate struct {
	entered, open chan struct{}
	once          sync.Once
}

func gateWrites(d *disk.Sim) *gate {
	g := &gate{entered: make(chan struct{}), open: make(chan struct{})}
	d.OnStep(func(s disk.Step) {
		if s.Kind == disk.StepWrite {
			g.once.Do(func() {
				close(g.entered)
				<-g.open
			})
		}
	})
	return g
}

func TestAppendsGatherWhileAWriteIsInFlight(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	defer closed(t, l)
	g := gateWrites(d)
	var wg sync.WaitGroup
	var order []uint64
	appendOne := func(i uint64) {
		wg.Add(1)
		l.Append(&Append{Records: []Record{record(1, i, 1, 8)}, Done: func(a *Append) {
			order = append(order, a.Records[0].Index)
			wg.Done()
		}})
	}
	appendOne(0)
	<-g.entered
	for i := range uint64(10) {
		appendOne(i + 1)
	}
	close(g.open)
	wg.Wait()
	if s := l.Stats(); s.Writes != 2 || s.Batches[0] != 1 || s.Batches[3] != 1 {
		t.Errorf("stats %+v, want a write of 1 and a write of 10", s)
	}
	for i := range order {
		if order[i] != uint64(i) {
			t.Fatalf("completed in order %v", order)
		}
	}
}

func TestABatchStopsAtItsBound(t *testing.T) {
	d := newSim()
	cfg := testConfig(d)
	cfg.SegmentSize = 8 << 20
	l := opened(t, cfg)
	g := gateWrites(d)
	var wg sync.WaitGroup
	wg.Add(40)
	r := record(1, 1, 16, 8)
	for i := range 40 {
		l.Append(&Append{Records: []Record{r}, Done: func(*Append) { wg.Done() }})
		if i == 0 {
			<-g.entered
		}
	}
	close(g.open)
	wg.Wait()
	// 39 of 64 KiB wait: 16 of them make 1 MiB.
	if s := l.Stats(); s.Writes != 4 || s.Batches[4] != 2 || s.Batches[2] != 1 {
		t.Errorf("stats %+v", s)
	}
	closed(t, l)
}

func TestAnAppendOfAnySizeWithinTheLimitsSurvives(t *testing.T) {
	d := newSim()
	cfg := testConfig(d)
	cfg.SegmentSize = 8 << 20
	l := opened(t, cfg)
	var want []Record
	single := record(1, 1, 1, 0)
	many := make([]Record, MaxAppendRecords)
	for i := range many {
		many[i] = single
		many[i].Index = uint64(i)
		many[i].Meta = make([]byte, MaxAppendMeta/MaxAppendRecords)
	}
	for _, rs := range [][]Record{{record(1, 2, 1024, MaxMeta)}, many, {record(2, 1, 0, 0)}} {
		must(t, l, rs...)
		want = append(want, rs...)
	}
	closed(t, l)
	l, _, got := reopen(t, cfg)
	defer closed(t, l)
	wantRecords(t, got, want)
}

func TestMalformedAppendsAreRefusedByName(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	defer closed(t, l)
	good := record(1, 1, 1, 8)
	shifted := good
	shifted.Payload = alignedBytes(2 * BlockSize)[512 : 512+BlockSize]
	for _, c := range []struct {
		name string
		r    Record
		err  error
	}{
		{"kind", Record{}, ErrInvalid},
		{"meta", Record{Kind: 1, Meta: make([]byte, MaxMeta+1)}, ErrInvalid},
		{"length", Record{Kind: 1, Payload: make([]byte, 100)}, ErrInvalid},
		{"crcs", Record{Kind: 1, Payload: good.Payload}, ErrInvalid},
		{"alignment", shifted, ErrInvalid},
		{"segment", record(1, 1, 16, 0), ErrTooLarge},
	} {
		if a := put(l, good, c.r); !errors.Is(a.Err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, a.Err, c.err)
		}
	}
	many := make([]Record, MaxAppendRecords+1)
	for i := range many {
		many[i].Kind = 1
	}
	if a := put(l, many...); !errors.Is(a.Err, ErrTooLarge) {
		t.Errorf("many records: %v", a.Err)
	}
	if s := l.Stats(); s.Records != 0 || s.Writes != 0 {
		t.Errorf("stats %+v", s)
	}
	must(t, l, good)
}

func TestAnAppendWithoutRecordsIsABarrier(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	defer closed(t, l)
	if a := must(t, l); a.End != 0 {
		t.Errorf("End of nothing is %d", a.End)
	}
	g := gateWrites(d)
	done := make(chan string, 2)
	first := []Record{record(1, 1, 1, 0)}
	l.Append(&Append{Records: first, Done: func(*Append) { done <- "write" }})
	<-g.entered
	l.Append(&Append{Done: func(*Append) { done <- "barrier" }})
	close(g.open)
	if a, b := <-done, <-done; a != "write" || b != "barrier" {
		t.Errorf("completed %s, then %s", a, b)
	}
}

func TestReleasedSegmentsAreUsedAgain(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	var want []Record
	for i := range uint64(400) {
		r := record(1, i, 1, 8)
		a := must(t, l, r)
		if i%8 == 7 {
			l.Release(a.End)
		}
		want = append(want, r)
	}
	s := l.Stats()
	if s.Rotations < 50 || s.Created > 8 || s.Recycled+s.Created < s.Rotations {
		t.Errorf("stats %+v", s)
	}
	tail := l.Tail()
	closed(t, l)
	l, rec, got := reopen(t, testConfig(d))
	defer closed(t, l)
	if len(rec.Damage) != 0 || l.Tail() != tail {
		t.Errorf("recovery %+v, tail %d, was %d", rec, l.Tail(), tail)
	}
	if len(got) == 0 || len(got) > 30 {
		t.Fatalf("%d records are replayed", len(got))
	}
	wantRecords(t, got, want[len(want)-len(got):])
}

func TestAPinnedSegmentIsKeptUntilItIsUnpinned(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	defer closed(t, l)
	r := record(1, 0, 2, 8)
	at := must(t, l, r).Records[0].At
	unpin := l.Pin(at)
	fillSegments(t, l, 4)
	l.Release(l.Head())
	fillSegments(t, l, 1)
	p := alignedBytes(2 * BlockSize)
	if err := l.ReadPayload(at, p); err != nil || !bytes.Equal(p, r.Payload) {
		t.Fatalf("pinned payload: %v", err)
	}
	if err := l.ReadPayload(at+BlockSize, p[:BlockSize]); err != nil ||
		!bytes.Equal(p[:BlockSize], r.Payload[BlockSize:]) {
		t.Fatalf("second block: %v", err)
	}
	waitMarked(t, l) // the preparer pins the segment too while it marks the one behind it
	unpin()
	unpin()
	if err := l.ReadPayload(at, p); !errors.Is(err, ErrReleased) {
		t.Errorf("after the release: %v", err)
	}
}

// fillSegments appends and lets go until n segments more have begun.
func fillSegments(t testing.TB, l *Log, n uint64) {
	t.Helper()
	r := record(9, 9, 1, 0)
	for goal := l.Stats().Rotations + n; l.Stats().Rotations < goal; {
		must(t, l, r)
	}
}

func TestReadPayloadRefusesWhatIsNotInTheLog(t *testing.T) {
	l := opened(t, testConfig(newSim()))
	defer closed(t, l)
	at := must(t, l, record(1, 1, 1, 0)).Records[0].At
	p := alignedBytes(2 * BlockSize)
	for _, c := range []struct {
		at  LSN
		p   []byte
		err error
	}{
		{at, p, ErrReleased},
		{at + smallSegment, p[:BlockSize], ErrReleased},
		{0, p[:BlockSize], ErrReleased},
		{at + 1, p[:BlockSize], ErrInvalid},
		{at, p[:100], ErrInvalid},
		{at, p[512 : 512+BlockSize], ErrInvalid},
	} {
		if err := l.ReadPayload(c.at, c.p); !errors.Is(err, c.err) {
			t.Errorf("%d bytes at %d: %v, want %v", len(c.p), c.at, err, c.err)
		}
	}
}

func TestAFailedWriteStopsTheLogForGood(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	first := record(1, 1, 1, 8)
	must(t, l, first)
	cause := errors.New("medium error")
	d.FailWrites(func(name string, off int64) error {
		if name == "wal/"+identityName {
			return nil
		}
		return cause
	})
	a := put(l, record(1, 2, 1, 8))
	if !errors.Is(a.Err, ErrFailed) || !errors.Is(a.Err, disk.ErrIO) {
		t.Fatalf("append: %v", a.Err)
	}
	d.FailWrites(nil)
	if a = put(l, record(1, 3, 1, 8)); !errors.Is(a.Err, ErrFailed) {
		t.Errorf("append after the failure: %v", a.Err)
	}
	if err := l.Failed(); !errors.Is(err, ErrFailed) {
		t.Errorf("Failed: %v", err)
	}
	p := alignedBytes(BlockSize)
	if err := l.ReadPayload(l.Head()-BlockSize, p); err != nil ||
		!bytes.Equal(p, first.Payload) {
		t.Errorf("reading goes on: %v", err)
	}
	closed(t, l)
	l, _, got := reopen(t, testConfig(d))
	defer closed(t, l)
	wantRecords(t, got, []Record{first})
}

func TestAFullDeviceDelaysAppendsUntilRelease(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	defer closed(t, l)
	must(t, l, record(1, 1, 1, 0))
	settle(l)
	d.SetBytes(2 * smallSegment)
	n := 0
	var end LSN
	done := make(chan *Append, 1)
	for blocked := false; !blocked; n++ {
		l.Append(&Append{Records: []Record{record(1, 1, 4, 0)},
			Done: func(a *Append) { done <- a }})
		for waiting := true; waiting; {
			select {
			case a := <-done:
				end, waiting = a.End, false
			default:
				blocked = l.Stats().Starved > 0
				waiting = !blocked
			}
		}
	}
	if n > 6 {
		t.Fatalf("%d appends fit two segments", n)
	}
	waitMarked(t, l)
	if s := l.Stats(); s.HeaderWrites != 1 {
		t.Fatalf("nothing tells of the newest segment: %+v", s)
	}
	l.Release(end)
	if a := <-done; a.Err != nil {
		t.Errorf("append after the release: %v", a.Err)
	}
	// The second is the release's; a third may tell of the segment that the append went to.
	if s := l.Stats(); s.HeaderWrites != 2 && s.HeaderWrites != 3 {
		t.Errorf("stats %+v", s)
	}
}

func TestCloseEndsAppendsThatWaitForASegment(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	d.SetBytes(smallSegment)
	var mu sync.Mutex
	failures := 0
	for i := range uint64(64) {
		l.Append(&Append{Records: []Record{record(1, i, 4, 0)}, Done: func(a *Append) {
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(a.Err, ErrClosed) {
				failures++
			}
		}})
	}
	closed(t, l)
	if failures == 0 {
		t.Error("nothing waited")
	}
	if a := put(l, record(1, 1, 1, 0)); !errors.Is(a.Err, ErrClosed) {
		t.Errorf("append after close: %v", a.Err)
	}
	err := l.ReadPayload(smallSegment+2*BlockSize, alignedBytes(BlockSize))
	if !errors.Is(err, ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}

func TestAnotherStoresLogIsRefused(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	must(t, l, record(1, 1, 1, 0))
	closed(t, l)
	cfg := testConfig(d)
	cfg.StoreID = otherStore
	if _, _, err := Open(cfg, nil); !errors.Is(err, ErrForeign) {
		t.Errorf("open: %v", err)
	}
	if err := d.Remove("wal/" + identityName); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(cfg, nil); !errors.Is(err, ErrForeign) {
		t.Errorf("open without identity: %v", err)
	}
	cfg = testConfig(d)
	cfg.SegmentSize *= 2
	if _, _, err := Open(cfg, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("open with another segment size: %v", err)
	}
}

func TestANewerVersionIsRefused(t *testing.T) {
	bump := func(b []byte) {
		b[8] = formatVersion + 1
		putCRC(b)
	}
	frame := int64(BlockSize)
	for _, off := range []int64{0, frame} {
		d := newSim()
		l := opened(t, testConfig(d))
		must(t, l, record(1, 1, 1, 0))
		closed(t, l)
		name := segmentName("wal", 0)
		block := readBlock(t, d, name, off)
		bump(block)
		d.Corrupt(name, off, block)
		if _, _, err := Open(testConfig(d), nil); !errors.Is(err, ErrVersion) {
			t.Errorf("version at %d: %v", off, err)
		}
	}
	d := newSim()
	closed(t, opened(t, testConfig(d)))
	id, err := d.ReadFile("wal/" + identityName)
	if err != nil {
		t.Fatal(err)
	}
	bump(id)
	if err := d.WriteFile("wal/"+identityName, id); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(testConfig(d), nil); !errors.Is(err, ErrVersion) {
		t.Errorf("identity: %v", err)
	}
}

func TestALostIdentityIsMadeAnew(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	want := []Record{record(1, 1, 1, 0)}
	must(t, l, want...)
	epoch := l.epoch
	closed(t, l)
	if err := d.WriteFile("wal/"+identityName, []byte("rot")); err != nil {
		t.Fatal(err)
	}
	l, _, got := reopen(t, testConfig(d))
	defer closed(t, l)
	wantRecords(t, got, want)
	if l.epoch < epoch+epochJump {
		t.Errorf("epoch %d after %d", l.epoch, epoch)
	}
}

func TestConfigurationErrorsNameTheField(t *testing.T) {
	for field, change := range map[string]func(*Config){
		"Disk":             func(c *Config) { c.Disk = nil },
		"Dir":              func(c *Config) { c.Dir = "" },
		"StoreID":          func(c *Config) { c.StoreID = [16]byte{} },
		"SegmentSize":      func(c *Config) { c.SegmentSize = 5000 },
		"PreparedSegments": func(c *Config) { c.PreparedSegments = -1 },
	} {
		cfg := testConfig(newSim())
		change(&cfg)
		_, _, err := Open(cfg, nil)
		if !errors.Is(err, ErrInvalid) || !bytes.Contains([]byte(err.Error()), []byte(field)) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestAReplayErrorEndsOpen(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	must(t, l, record(1, 1, 1, 0))
	closed(t, l)
	stop := errors.New("stop")
	_, _, err := Open(testConfig(d), func(*Record) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("open: %v", err)
	}
}

func TestConcurrentAppendsReleasesAndReadsAgree(t *testing.T) {
	d := newSim()
	cfg := testConfig(d)
	cfg.SegmentSize = 256 << 10
	l := opened(t, cfg)
	const writers, each = 8, 200
	var wg sync.WaitGroup
	errs := make(chan error, writers)
	for w := range uint64(writers) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			p := alignedBytes(BlockSize)
			for i := range uint64(each) {
				r := record(w, i, 1, 16)
				a := put(l, r)
				unpin := l.Pin(a.End - BlockSize)
				if err := l.ReadPayload(a.Records[0].At, p); a.Err == nil && err == nil {
					if !bytes.Equal(p, r.Payload) {
						errs <- fmt.Errorf("writer %d reads other bytes", w)
					}
				} else if !errors.Is(err, ErrReleased) {
					errs <- fmt.Errorf("append %v, read %v", a.Err, err)
				}
				unpin()
				if i%32 == 0 {
					l.Release(l.Head())
					l.Usage()
					l.Tail()
				}
			}
		}()
	}
	wg.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
	closed(t, l)
	next := map[uint64]uint64{}
	l, rec, got := reopen(t, cfg)
	defer closed(t, l)
	for i := range got {
		g := got[i].Group
		if n, ok := next[g]; ok && got[i].Index != n {
			t.Fatalf("group %d has index %d after %d", g, got[i].Index, n-1)
		}
		next[g] = got[i].Index + 1
	}
	for g, n := range next {
		if n != each {
			t.Errorf("group %d ends at %d", g, n)
		}
	}
	if len(rec.Damage) > 0 {
		t.Errorf("damage %+v", rec.Damage)
	}
}
