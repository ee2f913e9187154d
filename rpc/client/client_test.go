package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

func fill(seed uint64, n int) []byte {
	p := make([]byte, n)
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	return p
}

func mustWrite(t *testing.T, v *Volume, p []byte, off int64) {
	t.Helper()
	if n, err := v.WriteAt(p, off); err != nil || n != len(p) {
		t.Fatalf("write of %d at %d: %d, %v", len(p), off, n, err)
	}
}

func mustRead(t *testing.T, v *Volume, want []byte, off int64) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := v.ReadAt(got, off); err != nil || n != len(got) {
		t.Fatalf("read of %d at %d: %d, %v", len(got), off, n, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("read of %d at %d: other bytes than written", len(got), off)
	}
}

func TestReadReturnsWhatWasWritten(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	for _, c := range []struct{ off, n int64 }{
		{0, 4096}, {4096, 8192}, {1, 1}, {4095, 2}, {65535, 2}, {65536 - 4096, 8192},
		{100, 300_000}, {0, f.size}, {f.size - 5, 5},
	} {
		p := fill(uint64(c.off*7+c.n), int(c.n))
		mustWrite(t, v, p, c.off)
		mustRead(t, v, p, c.off)
	}
}

func TestLargeOperationsAreCutAtAlignedBorders(t *testing.T) {
	f := newFake(t, 3)
	f.chunkBytes, f.segBytes, f.size = 4<<20, 16<<20, 40<<20
	var mu sync.Mutex
	type span struct{ from, to int64 }
	var spans []span
	f.react(func(_ *fakeNode, op wire.Op, r *wire.IORequest) reaction {
		at := int64(r.Chunk)*f.chunkBytes + int64(r.Offset)
		mu.Lock()
		if op == wire.OpWrite {
			spans = append(spans, span{at, at + int64(r.Length)})
		}
		mu.Unlock()
		return reaction{}
	})
	v := f.open(nil)
	p := fill(9, 20<<20+777)
	const off = 1234
	mustWrite(t, v, p, off)
	mustRead(t, v, p, off)
	mu.Lock()
	defer mu.Unlock()
	for _, s := range spans {
		if s.from/wire.MaxPayload != (s.to-1)/wire.MaxPayload {
			t.Errorf("request %d..%d passes a border", s.from, s.to)
		}
		if s.from != off && s.from%4096 != 0 || s.to != off+int64(len(p)) && s.to%4096 != 0 {
			t.Errorf("request %d..%d shares a block with another", s.from, s.to)
		}
	}
	if len(spans) > 30 {
		t.Errorf("%d requests", len(spans))
	}
}

func TestZeroedRangeReadsAsZeroes(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	p := fill(1, int(f.size))
	mustWrite(t, v, p, 0)
	if err := v.Zero(5000, 200_000); err != nil {
		t.Fatal(err)
	}
	clear(p[5000:205_000])
	mustRead(t, v, p, 0)
	if err := v.Zero(0, f.size); err != nil {
		t.Fatal(err)
	}
	mustRead(t, v, make([]byte, f.size), 0)
}

func TestBadRangesAreRefusedWithoutEffect(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	one, two := make([]byte, 1), make([]byte, 2)
	for name, err := range map[string]error{
		"write at the end":  func() error { _, e := v.WriteAt(one, f.size); return e }(),
		"write past end":    func() error { _, e := v.WriteAt(two, f.size-1); return e }(),
		"write before 0":    func() error { _, e := v.WriteAt(one, -1); return e }(),
		"read before 0":     func() error { _, e := v.ReadAt(one, -1); return e }(),
		"zero past end":     v.Zero(f.size-10, 11),
		"zero negative":     v.Zero(0, -1),
		"zero overflow":     v.Zero(1, 1<<63-1),
		"async read at end": submitWait(v, &Op{Kind: OpRead, Off: f.size - 1, Data: two}),
	} {
		if !errors.Is(err, ErrOutOfRange) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := submitWait(v, &Op{Kind: 99, Data: one}); !errors.Is(err, ErrInvalid) {
		t.Errorf("unknown kind: %v", err)
	}
	big := &Op{Kind: OpRead, Data: make([]byte, MaxOpBytes+1)}
	if err := submitWait(v, big); !errors.Is(err, ErrInvalid) {
		t.Errorf("oversized: %v", err)
	}
	if n := f.appliedCount(); n != 0 {
		t.Errorf("%d operations took effect", n)
	}
}

func submitWait(v *Volume, op *Op) error {
	done := make(chan struct{})
	op.Done = func(*Op) { close(done) }
	v.Submit(op)
	<-done
	return op.Err
}

func TestEmptyOperationsSucceedWithoutEffect(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	for _, off := range []int64{0, 77, f.size} {
		if n, err := v.WriteAt(nil, off); n != 0 || err != nil {
			t.Errorf("write of nothing at %d: %d, %v", off, n, err)
		}
		if n, err := v.ReadAt(nil, off); n != 0 || err != nil {
			t.Errorf("read of nothing at %d: %d, %v", off, n, err)
		}
		if err := v.Zero(off, 0); err != nil {
			t.Errorf("zero of nothing at %d: %v", off, err)
		}
	}
	if err := v.Flush(); err != nil {
		t.Error(err)
	}
	if r := v.Stats().Requests - f.opening; r != 0 {
		t.Errorf("%d requests were sent", r)
	}
}

func TestReadPastTheEndIsShortWithEOF(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	p := make([]byte, 100)
	if n, err := v.ReadAt(p, f.size-40); n != 40 || err != io.EOF {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := v.ReadAt(p, f.size+1); n != 0 || err != io.EOF {
		t.Errorf("%d, %v", n, err)
	}
}

func TestReadOnlyVolumeRefusesWrites(t *testing.T) {
	f := newFake(t, 3)
	w := f.open(nil)
	p := fill(2, 5000)
	mustWrite(t, w, p, 10)
	v := f.open(nil, ReadOnly())
	mustRead(t, v, p, 10)
	if _, err := v.WriteAt(p, 0); !errors.Is(err, ErrReadOnly) {
		t.Error(err)
	}
	if err := v.Zero(0, 1); !errors.Is(err, ErrReadOnly) {
		t.Error(err)
	}
	mustWrite(t, w, p, 20) // not fenced by the reader
}

func TestWriteTakesEffectOnceThoughItsAnswerIsLost(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	var left atomic.Int32
	left.Store(3)
	f.react(func(*fakeNode, wire.Op, *wire.IORequest) reaction {
		return reaction{kill: left.Add(-1) >= 0}
	})
	p := fill(3, 4096)
	mustWrite(t, v, p, 0)
	if n := f.appliedCount(); n != 1 {
		t.Errorf("%d operations took effect", n)
	}
	if v.Stats().Lost != 3 {
		t.Errorf("%+v", v.Stats())
	}
	mustRead(t, v, p, 0)
}

func TestRedirectIsFollowedAtOnce(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	mustWrite(t, v, fill(1, 4096), 0)
	f.setLeader(2)
	began := time.Now()
	mustWrite(t, v, fill(2, 4096), 0)
	if d := time.Since(began); d > 1500*time.Millisecond {
		t.Errorf("took %v", d)
	}
	before := f.nodes[2].asked.Load()
	mustWrite(t, v, fill(3, 4096), 0)
	if s := v.Stats(); s.Redirects != 1 || f.nodes[2].asked.Load() != before+1 {
		t.Errorf("the new leader was not remembered: %+v", s)
	}
}

func TestLeaderIsFoundWithoutHints(t *testing.T) {
	f := newFake(t, 3)
	f.setHints(false)
	v := f.open(nil)
	for i := range 6 {
		f.setLeader(i % 3)
		mustWrite(t, v, fill(uint64(i), 4096), 0)
		before := v.Stats()
		mustWrite(t, v, fill(uint64(i), 4096), 0)
		if s := v.Stats(); s.Requests != before.Requests+1 || s.Redirects != before.Redirects {
			t.Errorf("the leader was not remembered: %+v, then %+v", before, s)
		}
	}
}

// P7: the client adds little to the servers' election.
func TestOperationsResumeSoonAfterAnElection(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	f.setLeader(0)
	mustWrite(t, v, fill(1, 4096), 0)
	var wg sync.WaitGroup
	var stop atomic.Bool
	var worst atomic.Int64
	for i := range 32 {
		wg.Go(func() {
			p := fill(uint64(i), 4096)
			for !stop.Load() {
				began := time.Now()
				if _, err := v.WriteAt(p, int64(i)*4096); err != nil {
					t.Error(err)
				}
				if d := int64(time.Since(began)); d > worst.Load() {
					worst.Store(d)
				}
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	f.setLeader(none)
	f.nodes[0].stop()
	time.Sleep(200 * time.Millisecond)
	f.setLeader(1)
	election := time.Since(began)
	time.Sleep(200 * time.Millisecond)
	stop.Store(true)
	wg.Wait()
	pause := time.Duration(worst.Load())
	t.Logf("election %v, longest write %v, %+v", election, pause, v.Stats())
	if pause < election/2 || pause > election+2*time.Second {
		t.Errorf("longest write took %v", pause)
	}
	asked := f.nodes[1].asked.Load() - f.nodes[1].served.Load()
	if asked > 400 {
		t.Errorf("a follower was asked %d times during the election", asked)
	}
}

// What the control plane says of the members, time and again, speeds a poll up but adds none.
func TestPollsOfACopysetWithoutALeaderDoNotMultiply(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(func(c *Config) { c.Timeout = 2 * time.Minute })
	f.setLeader(none)
	var wg sync.WaitGroup
	for i := range int64(32) { // all of one chunk
		wg.Go(func() {
			if _, err := v.WriteAt(fill(1, 512), i*512); err != nil {
				t.Error(err)
			}
		})
	}
	asked := func() (n int64) {
		for _, node := range f.nodes {
			n += node.asked.Load()
		}
		return n
	}
	r := v.c.route(f.copysetOf(0))
	for r.pollCount() <= scoutPatience {
		time.Sleep(10 * time.Millisecond)
	}
	for before := f.lookups.Load(); f.lookups.Load() < before+8; {
		time.Sleep(10 * time.Millisecond)
	}
	began, before := time.Now(), asked()
	time.Sleep(2 * time.Second)
	rate := float64(asked()-before) / time.Since(began).Seconds()
	t.Logf("%.0f requests per second", rate)
	if rate > 60 { // one every 50 ms and one for each of four mappings a second
		t.Errorf("%.0f requests per second", rate)
	}
	f.setLeader(1)
	wg.Wait()
}

// A frozen node keeps its connections open and says nothing.
func TestFrozenLeaderIsLeftWithinASecond(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	f.setLeader(0)
	mustWrite(t, v, fill(1, 4096), 0)
	// Each silence of this process forgives that of the node: the promise is that of the fastest.
	fastest := time.Hour
	for at := 0; at < 2; at++ {
		f.nodes[at].frozen.Store(true)
		f.setLeader(at + 1)
		began := time.Now()
		mustWrite(t, v, fill(2, 4096), 0)
		d := time.Since(began)
		t.Logf("left after %v", d)
		fastest = min(fastest, d)
		f.nodes[at].frozen.Store(false)
	}
	if fastest > 1500*time.Millisecond {
		t.Errorf("took %v", fastest)
	}
}

func TestSlowLeaderThatAnswersPingsIsKept(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	f.setLeader(0)
	f.react(func(*fakeNode, wire.Op, *wire.IORequest) reaction {
		return reaction{delay: 1200 * time.Millisecond}
	})
	mustWrite(t, v, fill(1, 4096), 0)
	if s := v.Stats(); s.Requests != f.opening+1 || v.c.NetStats().Broken != 0 {
		t.Errorf("%+v", s)
	}
}

func TestSwallowedRequestIsSentAgain(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	var n atomic.Int32
	f.react(func(*fakeNode, wire.Op, *wire.IORequest) reaction {
		return reaction{swallow: n.Add(1) == 1}
	})
	p := fill(5, 4096)
	mustWrite(t, v, p, 0)
	if s := v.Stats(); s.Silent != 1 || v.c.NetStats().Broken != 0 {
		t.Errorf("%+v", s)
	}
}

func TestOverloadedIsHonoured(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	var n atomic.Int32
	f.react(func(*fakeNode, wire.Op, *wire.IORequest) reaction {
		if n.Add(1) <= 3 {
			return reaction{status: wire.StatusOverloaded, retryAfter: 40}
		}
		return reaction{}
	})
	began := time.Now()
	mustWrite(t, v, fill(5, 4096), 0)
	if d := time.Since(began); d < 120*time.Millisecond || d > 2*time.Second {
		t.Errorf("three waits of 40 ms took %v", d)
	}
	if s := v.Stats(); s.Overloaded != 3 || s.Requests != f.opening+4 {
		t.Errorf("%+v", s)
	}
}

func TestStaleEpochFencesForEver(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	mustWrite(t, v, fill(1, 4096), 0)
	w := f.open(nil) // takes the volume over
	if _, err := v.WriteAt(fill(2, 4096), 0); !errors.Is(err, ErrFenced) {
		t.Fatal(err)
	}
	before := v.Stats().Requests
	for range 3 {
		if _, err := v.ReadAt(make([]byte, 10), 0); !errors.Is(err, ErrFenced) {
			t.Error(err)
		}
		if err := v.Flush(); !errors.Is(err, ErrFenced) {
			t.Error(err)
		}
	}
	if after := v.Stats().Requests; after != before {
		t.Error("a fenced volume still sends")
	}
	mustRead(t, w, fill(1, 4096), 0)
}

func TestDeadlineWrapsTheLastCauseAndBurnsTheOpID(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	mustWrite(t, v, fill(1, 4096), 0)
	f.setLeader(none)
	patience := v.c.cfg.Timeout
	hasten(v, 300*time.Millisecond)
	began := time.Now()
	_, err := v.WriteAt(fill(2, 4096), 0)
	if !errors.Is(err, ErrTimeout) || !errors.Is(err, errNoLeader) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(began); d < 100*time.Millisecond || d > 5*time.Second {
		t.Errorf("a deadline of 300 ms took %v", d)
	}
	hasten(v, patience)
	f.setLeader(1)
	var seen atomic.Uint64
	f.react(func(_ *fakeNode, _ wire.Op, r *wire.IORequest) reaction {
		seen.Store(r.OpID<<32 | r.LowWater)
		return reaction{}
	})
	mustWrite(t, v, fill(3, 4096), 0)
	if got := seen.Load(); got != 3<<32|3 {
		t.Errorf("op id and low water %d/%d, want 3/3", got>>32, got&(1<<32-1))
	}
}

func TestDeadlineHoldsWhenEverythingIsSwallowed(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	hasten(v, 400*time.Millisecond)
	f.react(func(*fakeNode, wire.Op, *wire.IORequest) reaction { return reaction{swallow: true} })
	began := time.Now()
	_, err := v.ReadAt(make([]byte, 300_000), 0)
	if !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestDamagedReadIsReadAgain(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	p := fill(4, 10_000)
	mustWrite(t, v, p, 100)
	var n atomic.Int32
	f.react(func(*fakeNode, wire.Op, *wire.IORequest) reaction {
		return reaction{flip: n.Add(1) <= 2}
	})
	mustRead(t, v, p, 100)
	if v.Stats().BadData != 2 {
		t.Errorf("%+v", v.Stats())
	}
}

func TestDamageOnEveryReadIsAnErrorAndNeverReturned(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	mustWrite(t, v, fill(4, 4096), 0)
	f.react(func(*fakeNode, wire.Op, *wire.IORequest) reaction { return reaction{flip: true} })
	p := make([]byte, 4096)
	if _, err := v.ReadAt(p, 0); !errors.Is(err, ErrChecksum) {
		t.Errorf("got %v", err)
	}
	if !bytes.Equal(p, make([]byte, 4096)) {
		t.Error("damaged bytes reached the caller")
	}
}

func TestEachFinalStatusHasItsError(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	for status, want := range map[wire.Status]error{
		wire.StatusNoSpace: ErrNoSpace, wire.StatusOutOfRange: ErrOutOfRange,
		wire.StatusBadRequest: ErrInvalid, wire.StatusCorrupt: ErrCorrupt,
		wire.StatusInternal: ErrServer, wire.StatusNotFound: ErrServer,
	} {
		f.react(func(*fakeNode, wire.Op, *wire.IORequest) reaction {
			return reaction{status: status}
		})
		if _, err := v.WriteAt(make([]byte, 300_000), 0); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", status, err, want)
		}
	}
	f.react(nil)
	mustWrite(t, v, fill(1, 4096), 0)
	if s := v.Stats(); s.Inflight != 0 || s.InflightBytes != 0 {
		t.Errorf("%+v", s)
	}
}

func TestSubmitBlocksAtTheBounds(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"operations": func(c *Config) { c.MaxInflight = 4 },
		"bytes":      func(c *Config) { c.MaxInflightBytes = 4 * 4096 },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, 3)
			v := f.open(change)
			f.react(func(*fakeNode, wire.Op, *wire.IORequest) reaction {
				return reaction{delay: 20 * time.Millisecond}
			})
			var inflight, most atomic.Int32
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Add(1)
				v.Submit(&Op{Kind: OpWrite, Off: int64(i) * 4096, Data: make([]byte, 4096),
					Done: func(*Op) { inflight.Add(-1); wg.Done() }})
				if n := inflight.Add(1); n > most.Load() {
					most.Store(n)
				}
			}
			wg.Wait()
			// Done can lag behind the bound by the callbacks that are just running.
			if n := most.Load(); n < 3 || n > 7 {
				t.Errorf("up to %d under way", n)
			}
		})
	}
}

func TestDoneMaySubmitTheNextOperation(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(func(c *Config) { c.MaxInflight = 8 })
	var wg sync.WaitGroup
	var total atomic.Int32
	for i := range 8 {
		wg.Add(1)
		left := 500
		op := &Op{Kind: OpWrite, Off: int64(i) * 65536, Data: fill(uint64(i), 4096)}
		op.Done = func(op *Op) {
			total.Add(1)
			if left--; left == 0 || op.Err != nil {
				wg.Done()
				return
			}
			v.Submit(op)
		}
		v.Submit(op)
	}
	wg.Wait()
	if n := total.Load(); n != 8*500 {
		t.Errorf("%d operations", n)
	}
}

func TestOperationLargerThanTheByteBoundIsLetInAlone(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(func(c *Config) { c.MaxInflightBytes = 4096 })
	p := fill(6, 100_000)
	mustWrite(t, v, p, 0)
	mustRead(t, v, p, 0)
}

func TestIOGoesOnWithoutTheControlPlane(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	f.controlDown.Store(true)
	p := fill(7, 200_000)
	mustWrite(t, v, p, 0)
	f.setLeader(2)
	mustRead(t, v, p, 0)
	before := f.renewals.Load()
	for f.renewals.Load() < before+2 {
		time.Sleep(10 * time.Millisecond)
	}
	mustRead(t, v, p, 0)
}

// A reader gets the first segments only at open; the others when they are first touched.
func TestMissingMappingIsFetchedAndWaitedFor(t *testing.T) {
	f := newFake(t, 3)
	f.size = f.segBytes * (segmentsPerLookup + 5)
	v := f.open(nil, ReadOnly())
	f.controlDown.Store(true)
	time.AfterFunc(300*time.Millisecond, func() { f.controlDown.Store(false) })
	began := time.Now()
	mustRead(t, v, make([]byte, 70_000), f.size-70_000)
	if d := time.Since(began); d < 200*time.Millisecond {
		t.Errorf("took only %v", d)
	}
}

func TestMissingMappingTimesOut(t *testing.T) {
	f := newFake(t, 3)
	f.size = f.segBytes * (segmentsPerLookup + 5)
	v := f.open(func(c *Config) { c.Timeout = 200 * time.Millisecond }, ReadOnly())
	f.controlDown.Store(true)
	if _, err := v.ReadAt(make([]byte, 10), f.size-10); !errors.Is(err, ErrTimeout) ||
		!errors.Is(err, errNoMapping) {
		t.Errorf("got %v", err)
	}
}

func TestReplacedReplicaIsFound(t *testing.T) {
	for _, hints := range []bool{true, false} {
		f := newFake(t, 4)
		v := f.open(nil)
		f.setLeader(0)
		mustWrite(t, v, fill(1, 4096), 0)
		f.setHints(hints)
		f.mu.Lock()
		f.replaced[0] = 3
		f.mu.Unlock()
		f.nodes[0].stop()
		f.setLeader(3)
		mustWrite(t, v, fill(2, 4096), 0)
		if f.nodes[3].served.Load() == 0 {
			t.Error("the new replica served nothing")
		}
	}
}

func TestNodeThatReturnsElsewhereIsFound(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	mustWrite(t, v, fill(1, 4096), 0)
	anywhere := "127.0.0.1:0"
	for _, n := range f.nodes {
		n.stop()
		n.addr.Store(&anywhere)
	}
	for _, n := range f.nodes {
		n.start()
	}
	mustRead(t, v, fill(1, 4096), 0)
}

func TestSessionIsRenewedAndVoidOnesAreFenced(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	for f.renewals.Load() < 2 {
		time.Sleep(10 * time.Millisecond)
	}
	mustWrite(t, v, fill(1, 4096), 0)
	reason := "replaced by session 9"
	f.void.Store(&reason)
	var err error
	for range 300 {
		if err = v.Flush(); err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !errors.Is(err, ErrFenced) || !bytes.Contains([]byte(err.Error()), []byte(reason)) {
		t.Errorf("got %v", err)
	}
}

func TestGrownVolumeIsUsedBehindItsOldEndWithoutAPause(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	old := f.size
	kept := fill(1, 8192)
	mustWrite(t, v, kept, old-8192)
	if _, err := v.WriteAt(kept, old-4096); !errors.Is(err, ErrOutOfRange) {
		t.Fatalf("a write past the end: %v", err)
	}
	stop := make(chan struct{})
	var traffic sync.WaitGroup
	for i := range 4 {
		traffic.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					mustWrite(t, v, kept, int64(i)*65536)
				}
			}
		})
	}
	for step := int64(1); step <= 20; step++ {
		f.grown.Store(old + step*100_000)
		if step%2 == 0 {
			if err := v.Refresh(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		for v.Size() != f.grown.Load() { // by itself, with a renewal
			time.Sleep(5 * time.Millisecond)
		}
		end := fill(uint64(step), 5000)
		mustWrite(t, v, end, v.Size()-5000)
		mustRead(t, v, end, v.Size()-5000)
	}
	close(stop)
	traffic.Wait()
	mustRead(t, v, kept, old-8192)
	f.grown.Store(old) // a smaller size is nobody's to tell
	if err := v.Refresh(context.Background()); err != nil || v.Size() != old+2_000_000 {
		t.Errorf("%d, %v", v.Size(), err)
	}
}

func TestCloseFailsWhatIsUnderWay(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(func(c *Config) { c.MaxInflight = 8 })
	f.react(func(n *fakeNode, _ wire.Op, _ *wire.IORequest) reaction {
		if n.index == 0 {
			return reaction{swallow: true}
		}
		return reaction{status: wire.StatusOverloaded, retryAfter: 900}
	})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, err := v.WriteAt(make([]byte, 4096), int64(i)*65536%f.size)
			if !errors.Is(err, ErrClosed) {
				t.Errorf("got %v", err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
	if f.closed.Load() != 1 {
		t.Errorf("%d sessions closed", f.closed.Load())
	}
	if _, err := v.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestOpenErrorsKeepTheirClass(t *testing.T) {
	f := newFake(t, 3)
	c := f.open(nil).c
	if _, err := c.OpenVolume(context.Background(), "nope"); !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	f.controlDown.Store(true)
	if _, err := c.OpenVolume(context.Background(), "vol"); !errors.Is(err, admin.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if _, err := Connect(context.Background(), Config{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestWrongClusterIsNeverWrittenTo(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	hasten(v, 300*time.Millisecond)
	v.c.mu.Lock()
	v.c.cluster = "another"
	v.c.mu.Unlock()
	for _, n := range f.nodes {
		n.stop()
		n.start()
	}
	if _, err := v.WriteAt(make([]byte, 10), 0); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v", err)
	}
	if n := f.appliedCount(); n != 0 {
		t.Errorf("%d writes reached a foreign cluster", n)
	}
}
