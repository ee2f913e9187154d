package buf

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Classes of errors, for errors.Is.
var (
	// ErrExhausted: the arena has no room for the buffer now. It passes when buffers are
	// released.
	ErrExhausted = errors.New("buf: arena exhausted")
	// ErrTooLarge: the size is not in 1..MaxSize.
	ErrTooLarge = errors.New("buf: size out of range")
	// ErrClosed: the pool is closed.
	ErrClosed = errors.New("buf: pool closed")
)

// Config sizes a pool.
type Config struct {
	// Bytes is the size of the arena, rounded up to 2 MiB. It is reserved address space at
	// first; pages become resident when touched or when the arena is registered with a ring.
	Bytes int64
}

// Pool owns an arena and hands out buffers from it.
type Pool struct {
	mapping []byte
	arena   []byte
	slabs   []slab
	classes [classCount]class

	idleMu sync.Mutex
	idle   *slab // slabs of no class, linked by next

	// state is the number of buffers in use, plus closedBit once Close was called.
	state atomic.Int64
	bytes atomic.Int64
	unmap sync.Once
}

const closedBit = 1 << 62

// Stats is a snapshot of a pool's use. InUseBytes counts whole size classes.
type Stats struct {
	ArenaBytes, InUseBytes, InUseBufs int64
}

// NewPool maps the arena. It fails when the size is not positive or the kernel refuses the
// mapping.
func NewPool(cfg Config) (*Pool, error) {
	if cfg.Bytes <= 0 || cfg.Bytes > MaxArena {
		return nil, fmt.Errorf("buf: Config.Bytes is %d: set it to 1..%d",
			cfg.Bytes, int64(MaxArena))
	}
	count := int((cfg.Bytes + MaxSize - 1) / MaxSize)
	size := count * MaxSize
	// One slab more than needed, so that the arena can start on a huge page border.
	mapping, err := unix.Mmap(-1, 0, size+MaxSize,
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("buf: map an arena of %d bytes: %w", size, err)
	}
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(mapping)))) & (MaxSize - 1)
	p := &Pool{
		mapping: mapping,
		arena:   mapping[skip : skip+size : skip+size],
		slabs:   make([]slab, count),
	}
	// Huge pages make registration with a ring a hundred times cheaper, but are only a wish.
	_ = unix.Madvise(p.arena, unix.MADV_HUGEPAGE)
	for i := range p.classes {
		p.classes[i].size = BlockSize << i
	}
	for i := count - 1; i >= 0; i-- {
		s := &p.slabs[i]
		s.pool = p
		s.mem = p.arena[i*MaxSize : (i+1)*MaxSize : (i+1)*MaxSize]
		s.next = p.idle
		p.idle = s
	}
	return p, nil
}

// Get returns a buffer of n bytes with one reference. Its content is undefined. It never
// blocks: ErrExhausted when the arena is full, ErrTooLarge when n is not in 1..MaxSize.
func (p *Pool) Get(n int) (*Buf, error) {
	if n <= 0 || n > MaxSize {
		return nil, fmt.Errorf("%w: %d is not in 1..%d", ErrTooLarge, n, MaxSize)
	}
	if p.state.Add(1)&closedBit != 0 {
		p.drop()
		return nil, ErrClosed
	}
	b := p.find(bits.Len(uint((n - 1) >> 12)))
	if b == nil {
		p.drop()
		return nil, ErrExhausted
	}
	p.bytes.Add(int64(len(b.mem)))
	b.n = n
	b.refs.Store(1)
	return b, nil
}

// find takes a buffer of the class: from the class, from an idle slab, from an empty slab of
// another class, and at last from a larger class.
func (p *Pool) find(index int) *Buf {
	c := &p.classes[index]
	if b := c.take(); b != nil {
		return b
	}
	if s := p.takeSlab(); s != nil {
		s.shape(index, c.size)
		return c.adopt(s)
	}
	for i := index; i < classCount; i++ {
		if b := p.classes[i].take(); b != nil {
			return b
		}
	}
	return nil
}

func (p *Pool) takeSlab() *slab {
	p.idleMu.Lock()
	s := p.idle
	if s != nil {
		p.idle, s.next = s.next, nil
	}
	p.idleMu.Unlock()
	if s != nil {
		return s
	}
	for i := range p.classes {
		if s := p.classes[i].evict(); s != nil {
			return s
		}
	}
	return nil
}

// put takes back a buffer that has no owner.
func (p *Pool) put(b *Buf) {
	if mangle {
		b.mem[0] = 0xCC
		for n := 1; n < len(b.mem); n *= 2 {
			copy(b.mem[n:], b.mem[:n])
		}
	}
	p.bytes.Add(-int64(len(b.mem)))
	if s := p.classes[b.slab.class].give(b); s != nil {
		p.idleMu.Lock()
		s.next = p.idle
		p.idle = s
		p.idleMu.Unlock()
	}
	p.drop()
}

// drop ends the use of one buffer; the last one after Close unmaps.
func (p *Pool) drop() {
	if p.state.Add(-1) == closedBit {
		p.release()
	}
}

func (p *Pool) release() {
	p.unmap.Do(func() { _ = unix.Munmap(p.mapping) })
}

// Arena returns the whole arena, for registration with a ring or a network card. It is
// invalid after Close.
func (p *Pool) Arena() []byte { return p.arena }

// Owns reports whether all of mem lies in the arena.
func (p *Pool) Owns(mem []byte) bool {
	if len(mem) == 0 {
		return false
	}
	begin := uintptr(unsafe.Pointer(unsafe.SliceData(p.arena)))
	at := uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
	return at >= begin && at-begin <= uintptr(len(p.arena)-len(mem)) && len(mem) <= len(p.arena)
}

// Stats returns the pool's use at about this moment.
func (p *Pool) Stats() Stats {
	return Stats{
		ArenaBytes: int64(len(p.arena)),
		InUseBytes: p.bytes.Load(),
		InUseBufs:  p.state.Load() &^ closedBit,
	}
}

// Close refuses further Gets and unmaps the arena. When buffers are still in use it returns
// an error with their count, and the arena stays mapped until the last of them is released,
// so that a late owner reads its own bytes and not a fault.
func (p *Pool) Close() error {
	held := p.state.Or(closedBit)
	if held&closedBit != 0 {
		return ErrClosed
	}
	if held == 0 {
		p.release()
		return nil
	}
	return fmt.Errorf("buf: closed with %d buffers (%d bytes) not released", held, p.bytes.Load())
}
