package nbd

import (
	"context"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sync/semaphore"

	"github.com/ashlar-storage/ashlar/io/buf"
)

// memory lends payload memory to the connections of a server. The bound is a count of bytes,
// granted in order of asking; the bytes come from the pool, and where the pool is too cut up or
// used by others, from the heap, so that a grant never fails.
type memory struct {
	pool  *buf.Pool
	sem   *semaphore.Weighted
	total int64
	heap  atomic.Int64 // buffers that came from the heap
}

func newMemory(pool *buf.Pool, total int64) *memory {
	return &memory{pool: pool, sem: semaphore.NewWeighted(total), total: total}
}

// costOf is what a payload of n bytes counts: the size class of its buffer.
func costOf(n int64) int64 {
	if n <= buf.BlockSize {
		return buf.BlockSize
	}
	return 1 << bits.Len64(uint64(n-1))
}

// tryReserve takes cost bytes from the bound if that needs no waiting.
func (m *memory) tryReserve(cost int64) bool { return m.sem.TryAcquire(cost) }

// reserve takes cost bytes from the bound; it fails when ctx ends.
func (m *memory) reserve(ctx context.Context, cost int64) error { return m.sem.Acquire(ctx, cost) }

// release gives cost bytes back.
func (m *memory) release(cost int64) { m.sem.Release(cost) }

// block returns n bytes that were reserved before, 4 KiB-aligned, content undefined. b is nil when
// the bytes come from the heap.
func (m *memory) block(n int) (p []byte, b *buf.Buf) {
	if b, err := m.pool.Get(n); err == nil {
		return b.Bytes(), b
	}
	m.heap.Add(1)
	raw := make([]byte, n+buf.BlockSize)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(raw)))) & (buf.BlockSize - 1)
	return raw[skip : skip+n : skip+n], nil
}
