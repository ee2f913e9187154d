package buf

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// Buf is a run of arena memory held by one or more owners. Its methods other than Retain and
// Release are for an owner that holds the buffer alone or only reads.
type Buf struct {
	slab *slab
	mem  []byte // the whole class size
	n    int
	refs atomic.Int32
	next *Buf // free list of the slab; guarded by the class lock
}

// Bytes returns the buffer's memory: the length asked of Get, or set by Truncate since. It
// starts on a BlockSize border. It must not be used after the owner's Release.
func (b *Buf) Bytes() []byte { return b.mem[:b.n] }

// Holds reports whether all of mem lies in Bytes.
func (b *Buf) Holds(mem []byte) bool {
	begin := uintptr(unsafe.Pointer(unsafe.SliceData(b.mem)))
	at := uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
	return at >= begin && at-begin <= uintptr(b.n) && len(mem) <= b.n-int(at-begin)
}

// Retain adds an owner and returns b. It panics when nobody holds b.
func (b *Buf) Retain() *Buf {
	if b.refs.Add(1) <= 1 {
		panic("buf: Retain of a released buffer")
	}
	return b
}

// Release drops one owner; the last one returns the memory to the pool. It panics when
// nobody holds b (a double release that happens after the memory found a new owner cannot be
// told from that owner's release).
func (b *Buf) Release() {
	refs := b.refs.Add(-1)
	if refs > 0 {
		return
	}
	if refs < 0 {
		panic("buf: Release of a released buffer")
	}
	b.slab.pool.put(b)
}

// Truncate shortens Bytes to n bytes. It panics when n is negative or above the length.
func (b *Buf) Truncate(n int) {
	if n < 0 || n > b.n {
		panic(fmt.Sprintf("buf: Truncate to %d of a buffer of %d bytes", n, b.n))
	}
	b.n = n
}
