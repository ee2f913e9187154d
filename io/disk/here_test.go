package disk

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ringDisk is a directory with a ring, and a file of so many blocks.
func ringDisk(t *testing.T, blocks int64) (*fdDisk, File) {
	d := openReal(t, t.TempDir(), nil, false).(*dirDisk)
	t.Cleanup(func() { _ = d.Close() })
	f, err := d.Create("f", blocks*BlockSize)
	if err != nil {
		t.Fatal(err)
	}
	return &d.fdDisk, f
}

// here does one read with FlushHere and reports whether the caller reaped it.
func here(t *testing.T, d *fdDisk, f File, p []byte) bool {
	t.Helper()
	e := d.engine.(*ringEngine)
	count := func() uint64 {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.reaped
	}
	before := count()
	done := make(chan struct{})
	f.Submit(&Op{Kind: Read, Vec: [][]byte{p}, Done: func(*Op) { close(done) }})
	d.FlushHere()
	mine := count() > before
	select {
	case <-done:
	default:
		if mine {
			t.Error("reaped, and not done")
		}
		<-done
	}
	return mine
}

// hereAtLast is here, after which a disk that others keep busy is not left alone for a while.
func hereAtLast(t *testing.T, d *fdDisk, f File, p []byte) bool {
	t.Helper()
	if here(t, d, f, p) {
		return true
	}
	e := d.engine.(*ringEngine)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.notHere = time.Time{}
	return false
}

// eventually is for what goroutines of the disk need a moment for.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatal(what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestALoneOperationIsDoneWhenFlushHereReturns(t *testing.T) {
	d, f := ringDisk(t, 8)
	p := aligned(BlockSize)
	batches := 0
	d.AfterBatch(func() { batches++ })
	for range hereAfter - 1 {
		here(t, d, f, p)
	}
	eventually(t, "it never is", func() bool { return hereAtLast(t, d, f, p) })
	before := batches
	eventually(t, "it never is again", func() bool { return hereAtLast(t, d, f, p) })
	if batches == before {
		t.Error("AfterBatch is not called by who waits")
	}
}

func TestFlushHereWaitsForNothingThatHasCompany(t *testing.T) {
	d, f := ringDisk(t, 8)
	e := d.engine.(*ringEngine)
	p := aligned(BlockSize)
	eventually(t, "it never is", func() bool { return hereAtLast(t, d, f, p) })
	var wg sync.WaitGroup
	for range 2 {
		wg.Add(1)
		f.Submit(&Op{Kind: Read, Vec: [][]byte{p}, Done: func(*Op) { wg.Done() }})
	}
	d.FlushHere()
	wg.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lone != 0 {
		t.Errorf("two at once count as %d in a row that were alone", e.lone)
	}
}

// TestFlushHereGivesUpOnASlowDevice: the operation does not end before the test says so.
func TestFlushHereGivesUpOnASlowDevice(t *testing.T) {
	d, f := ringDisk(t, 8)
	e := d.engine.(*ringEngine)
	p := aligned(BlockSize)
	eventually(t, "it never is", func() bool { return hereAtLast(t, d, f, p) })
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	stuck := d.hold(&fdFile{home: f.(*fdFile).home, fd: pipe[0], name: "pipe", size: BlockSize})
	done := make(chan struct{})
	op := &Op{Kind: Read, Vec: [][]byte{aligned(BlockSize)}, Done: func(*Op) { close(done) }}
	eventually(t, "the harvester does not rest", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.lone, e.notHere = hereAfter, time.Time{} // the machine may have been slow until now
		return e.parked
	})
	began := time.Now()
	stuck.Submit(op)
	d.FlushHere()
	if took := time.Since(began); took < HereWait {
		t.Errorf("gave up after %v", took)
	}
	select {
	case <-done:
		t.Fatal("done, and nothing was written")
	default:
	}
	if here(t, d, f, p) {
		t.Error("waits again at once for a device that was slow")
	}
	if _, err := unix.Write(pipe[1], make([]byte, BlockSize)); err != nil {
		t.Fatal(err)
	}
	<-done
	d.mu.Lock()
	delete(d.files, stuck)
	d.mu.Unlock()
	if op.Err != nil {
		t.Error(op.Err)
	}
	eventually(t, "it never waits again", func() bool { return hereAtLast(t, d, f, p) })
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.late != 0 {
		t.Errorf("%d counted late after one that was not", e.late)
	}
}

func TestADeviceThatStaysSlowIsLeftAloneForLongerEachTime(t *testing.T) {
	last := time.Duration(0)
	for before := range 100 {
		rest := hereRest(before)
		want := min(max(2*last, hereAgain), hereAgainMax)
		if rest != want || rest < 5*HereWait {
			t.Fatalf("after %d and one more: %v, want %v", before, rest, want)
		}
		last = rest
	}
}

// TestEveryOperationIsDoneOnceHoweverItIsFlushed: who waits, who only sends and the harvester take
// turns at the ring.
func TestEveryOperationIsDoneOnceHoweverItIsFlushed(t *testing.T) {
	const blocks, rounds = 16, 400
	d, f := ringDisk(t, blocks)
	var ops, dones atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			mine, got := aligned(BlockSize), aligned(BlockSize)
			for i := range rounds {
				for k := range mine {
					mine[k] = byte(w + i)
				}
				for _, op := range []*Op{
					{Kind: Write, Vec: [][]byte{mine}, Off: int64(w) * BlockSize,
						Durable: i%50 == 0},
					{Kind: Read, Vec: [][]byte{got}, Off: int64(w) * BlockSize},
				} {
					done := make(chan struct{})
					op.Done = func(*Op) { dones.Add(1); close(done) }
					ops.Add(1)
					f.Submit(op)
					if rng.IntN(3) == 0 {
						d.Flush()
					} else {
						d.FlushHere()
					}
					<-done
					if op.Err != nil {
						t.Error(op.Err)
					}
				}
				if !bytes.Equal(mine, got) {
					t.Errorf("worker %d read %d in round %d", w, got[0], i)
				}
			}
		}()
	}
	wg.Wait()
	if ops.Load() != dones.Load() {
		t.Errorf("%d operations, %d done", ops.Load(), dones.Load())
	}
}
