package buf

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

func newPool(t *testing.T, bytes int64) *Pool {
	t.Helper()
	p, err := NewPool(Config{Bytes: bytes})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func get(t *testing.T, p *Pool, n int) *Buf {
	t.Helper()
	b, err := p.Get(n)
	if err != nil {
		t.Fatalf("Get(%d): %v", n, err)
	}
	return b
}

func closePool(t *testing.T, p *Pool) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

func TestBufferIsAlignedAndInsideTheArena(t *testing.T) {
	p := newPool(t, 32<<20)
	defer closePool(t, p)
	start := address(p.Arena())
	if start%MaxSize != 0 {
		t.Errorf("arena starts at %#x, not on a huge page border", start)
	}
	for _, n := range []int{1, 4095, 4096, 4097, 12288, 65536, 1 << 20, 1<<20 + 1, MaxSize} {
		b := get(t, p, n)
		defer b.Release()
		at := address(b.Bytes())
		if at%BlockSize != 0 {
			t.Errorf("Get(%d) is at %#x, not aligned", n, at)
		}
		if at < start || at+uintptr(n) > start+uintptr(len(p.Arena())) {
			t.Errorf("Get(%d) lies outside the arena", n)
		}
		if len(b.Bytes()) != n {
			t.Errorf("Get(%d) has %d bytes", n, len(b.Bytes()))
		}
	}
}

func TestSizeOutOfRangeIsRejected(t *testing.T) {
	p := newPool(t, MaxSize)
	defer closePool(t, p)
	for _, n := range []int{-1, 0, MaxSize + 1} {
		if _, err := p.Get(n); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Get(%d): %v, want ErrTooLarge", n, err)
		}
	}
	for _, bytes := range []int64{0, -1, MaxArena + 1} {
		if _, err := NewPool(Config{Bytes: bytes}); err == nil ||
			!strings.Contains(err.Error(), "Config.Bytes") {
			t.Errorf("NewPool(%d): %v, want an error naming the field", bytes, err)
		}
	}
}

func TestGetFailsAtTheBoundAndRecoversAfterRelease(t *testing.T) {
	p := newPool(t, 2*MaxSize)
	defer closePool(t, p)
	var held []*Buf
	for {
		b, err := p.Get(BlockSize)
		if err != nil {
			if !errors.Is(err, ErrExhausted) {
				t.Fatal(err)
			}
			break
		}
		held = append(held, b)
	}
	if want := 2 * blocksPerSlab; len(held) != want {
		t.Fatalf("%d buffers before the bound, want %d", len(held), want)
	}
	seen := map[uintptr]bool{}
	for _, b := range held {
		seen[address(b.Bytes())] = true
	}
	if len(seen) != len(held) {
		t.Fatalf("%d distinct addresses for %d buffers", len(seen), len(held))
	}
	held[7].Release()
	held[7] = get(t, p, 100)
	for _, b := range held {
		b.Release()
	}
}

func TestEmptySlabServesAnotherClass(t *testing.T) {
	p := newPool(t, 2*MaxSize)
	defer closePool(t, p)
	for _, n := range []int{BlockSize, MaxSize, 65536, MaxSize, BlockSize} {
		var held []*Buf
		for range 2 * MaxSize / n {
			held = append(held, get(t, p, n))
		}
		for _, b := range held {
			b.Release()
		}
	}
}

func TestLargerClassServesWhenNoSlabIsIdle(t *testing.T) {
	p := newPool(t, MaxSize)
	defer closePool(t, p)
	big := get(t, p, 65536)
	small := get(t, p, BlockSize)
	if got := p.Stats().InUseBytes; got != 2*65536 {
		t.Errorf("InUseBytes = %d, want the two whole classes", got)
	}
	small.Release()
	big.Release()
}

func TestRetainKeepsTheMemoryUntilTheLastRelease(t *testing.T) {
	p := newPool(t, MaxSize)
	defer closePool(t, p)
	b := get(t, p, MaxSize)
	b.Retain()
	b.Release()
	if _, err := p.Get(MaxSize); !errors.Is(err, ErrExhausted) {
		t.Fatalf("memory with an owner was handed out: %v", err)
	}
	b.Release()
	get(t, p, MaxSize).Release()
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		r := recover()
		if s, ok := r.(string); !ok || !strings.HasPrefix(s, "buf: ") {
			t.Errorf("%s: recovered %v, want a panic of the package", what, r)
		}
	}()
	f()
}

func TestMisuseOfReferencesPanics(t *testing.T) {
	p := newPool(t, MaxSize)
	b := get(t, p, 100)
	mustPanic(t, "Truncate above the length", func() { b.Truncate(101) })
	mustPanic(t, "negative Truncate", func() { b.Truncate(-1) })
	b.Release()
	mustPanic(t, "double Release", func() { b.Release() })
	mustPanic(t, "Retain after Release", func() { b.Retain() })
}

func TestTruncateShortensBytes(t *testing.T) {
	p := newPool(t, MaxSize)
	defer closePool(t, p)
	b := get(t, p, 10000)
	b.Truncate(10)
	if len(b.Bytes()) != 10 {
		t.Errorf("length %d after Truncate(10)", len(b.Bytes()))
	}
	b.Release()
	b = get(t, p, 10000)
	if len(b.Bytes()) != 10000 {
		t.Errorf("length %d of a reused buffer", len(b.Bytes()))
	}
	b.Release()
}

func TestCloseCountsLeakedBuffers(t *testing.T) {
	p := newPool(t, 2*MaxSize)
	a, b := get(t, p, 1), get(t, p, 5000)
	err := p.Close()
	if err == nil || !strings.Contains(err.Error(), "2 buffers (12288 bytes)") {
		t.Errorf("Close: %v, want the count of leaked buffers", err)
	}
	if _, err := p.Get(1); !errors.Is(err, ErrClosed) {
		t.Errorf("Get after Close: %v", err)
	}
	a.Bytes()[0] = 1 // still mapped
	a.Release()
	b.Release()
	if err := p.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
}

func TestStatsFollowUse(t *testing.T) {
	p := newPool(t, 3<<20)
	defer closePool(t, p)
	b := get(t, p, 5000)
	want := Stats{ArenaBytes: 4 << 20, InUseBytes: 8192, InUseBufs: 1}
	if got := p.Stats(); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
	b.Release()
	if got := p.Stats(); got.InUseBytes != 0 || got.InUseBufs != 0 {
		t.Errorf("Stats after Release = %+v", got)
	}
}

func TestGetAndReleaseAllocateNothing(t *testing.T) {
	p := newPool(t, 8*MaxSize)
	defer closePool(t, p)
	sizes := []int{1, 4096, 8192, 65536, 1 << 20, MaxSize}
	cycle := func() {
		var held [6]*Buf
		for i, n := range sizes {
			held[i], _ = p.Get(n)
			held[i].Retain()
		}
		for _, b := range held {
			b.Release()
			b.Release()
		}
	}
	cycle()
	if n := testing.AllocsPerRun(1000, cycle); n != 0 {
		t.Errorf("%v allocations per cycle, want none", n)
	}
}

func TestConcurrentOwnersNeverShareMemory(t *testing.T) {
	p := newPool(t, 8*MaxSize)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(g)))
			var held []*Buf
			release := func(i int) {
				b := held[i].Bytes()
				if b[0] != byte(g) || b[len(b)-1] != byte(g) {
					t.Errorf("buffer of owner %d has bytes of %d, %d", g, b[0], b[len(b)-1])
				}
				held[i].Release()
				held[i] = held[len(held)-1]
				held = held[:len(held)-1]
			}
			for range 3000 {
				if b, err := p.Get(1 + rng.IntN(1<<(12+rng.IntN(9)))); err == nil {
					b.Bytes()[0], b.Bytes()[len(b.Bytes())-1] = byte(g), byte(g)
					held = append(held, b)
				}
				if len(held) > 10 || (len(held) > 0 && rng.IntN(3) == 0) {
					release(rng.IntN(len(held)))
				}
			}
			for len(held) > 0 {
				release(0)
			}
		})
	}
	wg.Wait()
	closePool(t, p)
}

func TestReleasedMemoryIsMangledUnderInvariants(t *testing.T) {
	if !mangle {
		t.Skip("needs the build tag invariants")
	}
	p := newPool(t, MaxSize)
	b := get(t, p, 5000)
	late := b.Bytes()
	b.Release()
	for i, c := range late {
		if c != 0xCC {
			t.Fatalf("byte %d is %#x after Release", i, c)
		}
	}
	closePool(t, p)
}

func BenchmarkGetRelease4K(b *testing.B) {
	p, err := NewPool(Config{Bytes: 8 * MaxSize})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		x, err := p.Get(4096)
		if err != nil {
			b.Fatal(err)
		}
		x.Release()
	}
}

func TestAPoolKnowsItsMemory(t *testing.T) {
	p, err := NewPool(Config{Bytes: MaxSize})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	arena := p.Arena()
	for name, c := range map[string]struct {
		mem  []byte
		want bool
	}{
		"all of it":    {arena, true},
		"its last":     {arena[len(arena)-1:], true},
		"nothing":      {arena[:0], false},
		"other memory": {make([]byte, 8), false},
		"past its end": {unsafe.Slice(&arena[len(arena)-1], 2), false},
	} {
		if got := p.Owns(c.mem); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestBufferKnowsItsMemory(t *testing.T) {
	p := newPool(t, 4<<20)
	a, err := p.Get(5000)
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Get(5000)
	if err != nil {
		t.Fatal(err)
	}
	m := a.Bytes()
	if !a.Holds(m) || !a.Holds(m[4999:]) || b.Holds(m) || a.Holds(make([]byte, 1)) ||
		a.Holds(m[:5001]) {
		t.Error("a buffer does not know what lies in it")
	}
	a.Release()
	b.Release()
}
