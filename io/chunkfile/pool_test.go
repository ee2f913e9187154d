package chunkfile

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// reopen opens the pool of a disk that has no pool open on it, and closes it with the test.
func reopen(t testing.TB, d disk.Disk) *Pool {
	t.Helper()
	p := openPool(t, testConfig(d))
	t.Cleanup(func() {
		if err := p.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return p
}

// fatal returns the damage that lost something.
func fatal(p *Pool) (list []Damage) {
	for _, d := range p.Damage() {
		if d.Fatal {
			list = append(list, d)
		}
	}
	return list
}

func TestChunksOfACopysetAreListedInOrder(t *testing.T) {
	_, p, _ := newChunk(t, nil)
	for _, id := range []ID{{1, 9, 0}, {1, 2, 1}, {2, 0, 0}, {1, 2, 0}} {
		create(t, p, id)
	}
	if got := fmt.Sprint(p.List(1)); got != "[1/2/0 1/2/1 1/2/3 1/9/0]" {
		t.Fatal(got)
	}
	if got := p.List(3); len(got) != 0 {
		t.Fatal(got)
	}
	if _, ok := p.Get(ID{1, 9, 1}); ok {
		t.Fatal("a chunk nobody created")
	}
	if _, err := p.Create(ID{1, 9, 0}); !errors.Is(err, ErrExists) {
		t.Fatal(err)
	}
}

func TestChunksAreWalkedInOrder(t *testing.T) {
	_, p, _ := newChunk(t, nil) // 1/2/3
	for _, id := range []ID{{1, 9, 0}, {2, 0, 0}, {1, 2, 11}} {
		create(t, p, id)
	}
	for _, c := range []struct {
		after ID
		n     int
		want  string
	}{
		{ID{}, 9, "[1/2/3 1/2/11 1/9/0 2/0/0] 0 4"},
		{ID{}, 2, "[1/2/3 1/2/11] 0 4"},
		{ID{1, 2, 11}, 2, "[1/9/0 2/0/0] 2 4"},
		{ID{1, 2, 12}, 1, "[1/9/0] 2 4"}, // behind one that is gone
		{ID{2, 0, 0}, 9, "[] 4 4"},
	} {
		list, before, total := p.After(c.after, c.n)
		if got := fmt.Sprint(list, before, total); got != c.want {
			t.Errorf("after %v: %s, want %s", c.after, got, c.want)
		}
	}
}

func TestConfigurationErrorsNameTheField(t *testing.T) {
	sim := disk.NewSim(disk.SimConfig{})
	for field, change := range map[string]func(*Config){
		"Config.Disk":        func(c *Config) { c.Disk = nil },
		"Config.Dir":         func(c *Config) { c.Dir = "" },
		"Config.ChunkSize":   func(c *Config) { c.ChunkSize = 3 * BlockSize },
		"Config.LimitBytes":  func(c *Config) { c.LimitBytes = -1 },
		"Config.SpareBytes":  func(c *Config) { c.SpareBytes = -1 },
		"Config.CacheChunks": func(c *Config) { c.CacheChunks = -1 },
	} {
		cfg := testConfig(sim)
		change(&cfg)
		_, err := Open(cfg)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(fmt.Sprint(err), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestLimitIsNamedWithItsUseAndOldChunksGoOn(t *testing.T) {
	one := newGeometry(testChunk).slotBytes()
	_, p, c := newChunk(t, func(cfg *Config) { cfg.LimitBytes = 2*one + 1 })
	create(t, p, idB)
	_, err := p.Create(ID{Group: 9})
	if !errors.Is(err, ErrNoSpace) || !errors.Is(err, disk.ErrNoSpace) {
		t.Fatal(err)
	}
	for _, part := range []string{"nvme7", fmt.Sprint(2 * one), fmt.Sprint(2*one + 1)} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not name %s", err, part)
		}
	}
	write(t, c, 0, 1)
	checkpoint(t, c, 1)
	if err := p.Delete(idB); err != nil {
		t.Fatal(err)
	}
	create(t, p, ID{Group: 9})
	if s := p.Stats(); s.Slots != 2 || s.Used != 2 || s.Free != 0 || s.UsedBytes != 2*one {
		t.Fatalf("%+v", s)
	}
}

func TestFullDiskIsNoSpaceAndLeavesNoDraft(t *testing.T) {
	one := newGeometry(testChunk).slotBytes()
	sim := disk.NewSim(disk.SimConfig{Bytes: one + 100})
	p := reopen(t, sim)
	create(t, p, idA)
	if _, err := p.Create(idB); !errors.Is(err, ErrNoSpace) ||
		!strings.Contains(err.Error(), fmt.Sprint(one+100)) {
		t.Fatal(err)
	}
	names, err := sim.List("chunks")
	if err != nil || fmt.Sprint(names) != "[slot-0000000000]" {
		t.Fatal(names, err)
	}
}

func TestFillerKeepsTheReserveReady(t *testing.T) {
	sim := disk.NewSim(disk.SimConfig{})
	cfg := testConfig(sim)
	cfg.Reserve = 3
	p := openPool(t, cfg)
	defer closePool(t, p)
	wait := func(slots, free int) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for s := p.Stats(); s.Slots != slots || s.Free != free; s = p.Stats() {
			if time.Now().After(deadline) {
				t.Fatalf("%+v, want %d slots, %d free", s, slots, free)
			}
			runtime.Gosched()
		}
	}
	wait(3, 3)
	create(t, p, idA)
	create(t, p, idB)
	wait(5, 3)
}

func TestFillerLeavesWhatOthersAreToHave(t *testing.T) {
	one := newGeometry(testChunk).slotBytes()
	sim := disk.NewSim(disk.SimConfig{Bytes: 5 * one})
	cfg := testConfig(sim)
	cfg.SpareBytes = 2 * one
	p := openPool(t, cfg)
	defer closePool(t, p)
	p.cfg.Reserve = 100
	if err := p.refill(); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	if s := p.Stats(); s.Slots != 3 {
		t.Fatalf("%d slots were made, want 3", s.Slots)
	}
	for i := range uint64(5) {
		create(t, p, ID{Group: i})
	}
}

func TestFillerStopsAtTheLimit(t *testing.T) {
	sim := disk.NewSim(disk.SimConfig{})
	cfg := testConfig(sim)
	cfg.Reserve = 100
	cfg.LimitBytes = 4 * newGeometry(testChunk).slotBytes()
	p := openPool(t, cfg)
	for i := range uint64(4) {
		create(t, p, ID{Index: i})
	}
	if _, err := p.Create(idA); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	closePool(t, p)
	if s := p.Stats(); s.Slots != 4 {
		t.Fatalf("%+v", s)
	}
}

func TestConcurrentCreatesGetSlotsOfTheirOwn(t *testing.T) {
	sim := disk.NewSim(disk.SimConfig{})
	cfg := testConfig(sim)
	cfg.Reserve = 2
	p := openPool(t, cfg)
	defer closePool(t, p)
	var wait sync.WaitGroup
	for i := range uint64(8) {
		wait.Go(func() {
			for k := range uint64(8) {
				c, err := p.Create(ID{Group: i, Index: k})
				if err != nil {
					t.Error(err)
					return
				}
				if err := perform(c, writeIO(0, 1+i*8+k), true); err != nil {
					t.Error(err)
				}
				if err := checkpointErr(c, 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	for i := range uint64(8) {
		for k := range uint64(8) {
			expect(t, get(t, p, ID{Group: i, Index: k}), 0, 1+i*8+k)
		}
	}
}

func TestDataOfARecycledSlotIsNeverReadThroughTheNewChunk(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	old := []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	write(t, c, 0, old...)
	checkpoint(t, c, 1)
	if err := p.Delete(idA); err != nil {
		t.Fatal(err)
	}
	fresh := create(t, p, idB)
	if fresh.Slot() != c.Slot() {
		t.Fatal("the slot was not recycled")
	}
	want := make([]uint64, testBlocks)
	expect(t, fresh, 0, want...)
	write(t, fresh, 3, 99)
	want[3] = 99
	expect(t, fresh, 0, want...)
	crashed := sim.Crash(disk.CrashPlan{Keep: disk.KeepAll})
	again := reopen(t, crashed)
	if len(again.List(1)) != 0 || len(again.Damage()) != 0 {
		t.Fatalf("before its checkpoint: chunks %v, damage %v", again.List(1), again.Damage())
	}
	checkpoint(t, fresh, 2)
	again = reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
	expect(t, get(t, again, idB), 0, want...)
	if _, ok := again.Get(idA); ok {
		t.Fatal("the deleted chunk is back")
	}
}

func TestDeleteIsDurableAndRefusesLaterIO(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	write(t, c, 0, 1)
	checkpoint(t, c, 5)
	if err := p.Delete(idA); err != nil {
		t.Fatal(err)
	}
	if err := perform(c, readIO(0, 1), false); !errors.Is(err, ErrDeleted) {
		t.Fatal(err)
	}
	if err := checkpointErr(c, 6); !errors.Is(err, ErrDeleted) {
		t.Fatal(err)
	}
	if _, _, err := c.BlockState(0); !errors.Is(err, ErrDeleted) {
		t.Fatal(err)
	}
	c.Zero(0, 1)
	if err := p.Delete(idA); !errors.Is(err, ErrNotExist) {
		t.Fatal(err)
	}
	again := reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
	if s := again.Stats(); s.Free != 1 || s.Used != 0 || len(again.Damage()) != 0 {
		t.Fatalf("%+v", s)
	}
	if s := p.Stats(); s.Dirty != 0 || s.Resident != 0 {
		t.Fatalf("%+v", s)
	}
}

func TestDeleteWaitsForIOInFlight(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	write(t, c, 0, 1)
	var landed atomic.Bool
	hold, held := make(chan struct{}), make(chan struct{})
	sim.OnStep(func(s disk.Step) {
		if s.Kind == disk.StepWrite && s.Off == p.geometry.dataOffset(2) {
			close(held)
			<-hold
			landed.Store(true)
		}
	})
	x := writeIO(2, 3)
	x.Done = func(*IO) {}
	c.Write(x)
	go sim.Flush()
	<-held
	deleted := make(chan error)
	go func() { deleted <- p.Delete(idA) }()
	select {
	case err := <-deleted:
		close(hold)
		t.Fatalf("deleted with a write in flight: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(hold)
	if err := <-deleted; err != nil || !landed.Load() {
		t.Fatal(err, landed.Load())
	}
}

func TestCloseWaitsAndLaterCallsAreRefused(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	var done atomic.Bool
	x := writeIO(0, 1)
	x.Done = func(*IO) { done.Store(true) }
	c.Write(x) // not flushed: Close does
	closePool(t, p)
	if !done.Load() {
		t.Fatal("closed before the write was done")
	}
	if err := perform(c, readIO(0, 1), false); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"Close": p.Close(), "Delete": p.Delete(idA), "Discard": p.Discard(0),
		"Create":     func() error { _, err := p.Create(idB); return err }(),
		"Checkpoint": checkpointErr(c, 1),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := sim.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCacheKeepsItsBoundAndTablesComeBack(t *testing.T) {
	sim, p, _ := newChunk(t, func(cfg *Config) { cfg.CacheChunks = 3 })
	const chunks = 20
	for i := range uint64(chunks) {
		c := create(t, p, ID{Group: 7, Index: i})
		write(t, c, int(i%testBlocks), 100+i)
		checkpoint(t, c, i)
	}
	checkpoint(t, get(t, p, idA), 1)
	if s := p.Stats(); s.Resident > 3 || s.TableEvictions == 0 || s.Dirty != 0 {
		t.Fatalf("%+v", s)
	}
	for range 3 {
		for i := range uint64(chunks) {
			c := get(t, p, ID{Group: 7, Index: i})
			expect(t, c, int(i%testBlocks), 100+i)
			if ok, _, err := c.BlockState(int(i % testBlocks)); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
	}
	if s := p.Stats(); s.Resident > 3 || s.TableLoads < 2*chunks {
		t.Fatalf("%+v", s)
	}
	closePool(t, p)
	cfg := testConfig(sim)
	cfg.CacheChunks = 3
	p = openPool(t, cfg)
	defer closePool(t, p)
	if s := p.Stats(); s.Resident != 0 || s.Used != chunks+1 {
		t.Fatalf("%+v", s)
	}
	for i := range uint64(chunks) {
		c := get(t, p, ID{Group: 7, Index: i})
		if c.WrittenBlocks() != 1 || c.Applied() != i {
			t.Fatalf("chunk %d: %d written, applied %d", i, c.WrittenBlocks(), c.Applied())
		}
		expect(t, c, int(i%testBlocks), 100+i)
	}
}

func TestDirtyTablesStayBeyondTheBound(t *testing.T) {
	_, p, _ := newChunk(t, func(cfg *Config) { cfg.CacheChunks = 2 })
	for i := range uint64(10) {
		write(t, create(t, p, ID{Group: 7, Index: i}), 0, i+1)
	}
	if s := p.Stats(); s.Resident != 11 || s.Dirty != 11 ||
		s.TableBytes != 11*p.geometry.tableBytes() {
		t.Fatalf("%+v", s)
	}
	for i := range uint64(10) {
		checkpoint(t, get(t, p, ID{Group: 7, Index: i}), 1)
	}
	if s := p.Stats(); s.Resident > 3 {
		t.Fatalf("%+v", s)
	}
}

// evicted returns a clean chunk with blocks 0..3 written whose table is not in memory.
func evicted(t *testing.T) (*disk.Sim, *Pool, *Chunk) {
	t.Helper()
	sim, p, c := newChunk(t, func(cfg *Config) { cfg.CacheChunks = 1 })
	write(t, c, 0, 1, 2, 3, 4)
	checkpoint(t, c, 1)
	tbl := c.evict()
	if tbl == nil {
		t.Fatal("the table cannot be evicted")
	}
	p.cache.remove(c, tbl)
	return sim, p, c
}

func TestZeroWithoutTheTableIsAppliedWhenItComes(t *testing.T) {
	sim, p, c := evicted(t)
	c.Zero(1, 2)
	if !c.Dirty() || p.Stats().TableLoads != 0 {
		t.Fatal("not dirty, or loaded")
	}
	checkpoint(t, c, 2)
	if c.WrittenBlocks() != 2 || c.Dirty() {
		t.Fatal(c.WrittenBlocks())
	}
	expect(t, c, 0, 1, 0, 0, 4)
	again := reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
	expect(t, get(t, again, idA), 0, 1, 0, 0, 4)
}

func TestAWriteAfterAZeroWithoutTheTableWins(t *testing.T) {
	_, _, c := evicted(t)
	c.Zero(0, 3)
	write(t, c, 1, 22)
	expect(t, c, 0, 0, 22, 0, 4)
}

func TestOneLoadServesAllThatWait(t *testing.T) {
	_, p, c := evicted(t)
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Add(1)
		x := readIO(i, 1)
		x.Done = func(x *IO) {
			if x.Err != nil || x.CRCs[0] != writeIO(0, uint64(i+1)).CRCs[0] {
				t.Error(x.Err)
			}
			wait.Done()
		}
		c.Read(x)
	}
	p.disk.Flush()
	wait.Wait()
	if s := p.Stats(); s.TableLoads != 1 {
		t.Fatalf("%d loads", s.TableLoads)
	}
}

func TestATableThatCannotBeReadFailsTheIOAndIsTriedAgain(t *testing.T) {
	sim, _, c := evicted(t)
	sim.FailReads(func(string, int64) error { return errors.New("timeout") })
	c.Zero(0, 1)
	if err := perform(c, readIO(0, 1), false); !errors.Is(err, disk.ErrIO) {
		t.Fatal(err)
	}
	if err := checkpointErr(c, 2); !errors.Is(err, disk.ErrIO) {
		t.Fatal(err)
	}
	if _, _, err := c.BlockState(0); !errors.Is(err, disk.ErrIO) {
		t.Fatal(err)
	}
	sim.FailReads(nil)
	expect(t, c, 0, 0, 2)
}

func TestATableDamagedSinceOpenIsReported(t *testing.T) {
	sim, p, c := evicted(t)
	off := p.geometry.halfOffset(c.slot.top.half) + int64(headerPage+p.geometry.bitmapSize)
	sim.Corrupt(c.slot.name, off, []byte{0x77})
	if err := perform(c, readIO(0, 1), false); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	if list := fatal(p); len(list) != 1 || list[0].ID != idA || !list[0].IDKnown {
		t.Fatal(list)
	}
}

func TestAStaleTableIsNotTakenForTheNewest(t *testing.T) {
	sim, p, c := newChunk(t, func(cfg *Config) { cfg.CacheChunks = 1 })
	write(t, c, 0, 1)
	checkpoint(t, c, 1)
	half := alignedBytes(p.geometry.metaSize)
	at := p.geometry.halfOffset(c.slot.top.half)
	if _, err := c.slot.file.ReadAt(half, at); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(2) { // back in the same half
		write(t, c, 1, 2+i)
		checkpoint(t, c, 2+i)
	}
	sim.Corrupt(c.slot.name, at, half)
	tbl := c.evict()
	p.cache.remove(c, tbl)
	// By the stale table block 1 was never written.
	if err := perform(c, readIO(1, 1), false); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

func TestSumsAreWhatIsOnRecordAndReadNoBlock(t *testing.T) {
	_, p, c := newChunk(t, nil)
	write(t, c, 1, 7, 8)
	before := p.Stats().DeviceReads
	x := &IO{Block: 0, Count: 4}
	done := make(chan struct{})
	x.Done = func(*IO) { close(done) }
	c.Sums(x)
	<-done
	b := alignedBytes(BlockSize)
	for i, v := range []uint64{0, 7, 8, 0} {
		fill(b, v)
		if x.Err != nil || x.CRCs[i] != crcOf(b) {
			t.Errorf("block %d: %08x, %v", i, x.CRCs[i], x.Err)
		}
	}
	if n := p.Stats().DeviceReads; n != before || x.Written != 2 {
		t.Errorf("%d reads of the device, %d blocks written", n-before, x.Written)
	}
	x = readIO(1, 2) // and used again it reads
	if err := perform(c, x, false); err != nil || len(values(t, x)) != 2 {
		t.Error(err)
	}
}
