package chunkfile

import (
	"sync"
	"unsafe"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// cache bounds the tables in memory: a clock over the chunks that have one. Its lock comes
// before a chunk's; a chunk in use is skipped, never waited for.
type cache struct {
	geometry geometry
	bound    int

	mu        sync.Mutex
	ring      []*Chunk
	hand      int
	spare     []*table
	loads     uint64
	evictions uint64
}

// take returns an empty table.
func (k *cache) take() *table {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := len(k.spare); n > 0 {
		t := k.spare[n-1]
		k.spare[n-1] = nil
		k.spare = k.spare[:n-1]
		t.reset()
		return t
	}
	return newTable(k.geometry)
}

// admit counts a chunk that got a table, and makes room. The chunk is pinned or dirty, and
// its lock is not held.
func (k *cache) admit(c *Chunk, loaded bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if loaded {
		k.loads++
	}
	c.ring = len(k.ring)
	k.ring = append(k.ring, c)
	k.sweep()
}

// shrink makes room after chunks became clean.
func (k *cache) shrink() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sweep()
}

// sweep evicts until the bound holds or its steps are used up.
func (k *cache) sweep() {
	for range sweepSteps {
		if len(k.ring) <= k.bound {
			return
		}
		if k.hand >= len(k.ring) {
			k.hand = 0
		}
		c := k.ring[k.hand]
		if c.recent.Load() {
			c.recent.Store(false)
			k.hand++
			continue
		}
		if t := c.evict(); t != nil {
			k.evictions++
			k.drop(c, t)
			continue
		}
		k.hand++
	}
}

// remove forgets a chunk that is being deleted, and its table.
func (k *cache) remove(c *Chunk, t *table) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(c, t)
}

func (k *cache) drop(c *Chunk, t *table) {
	last := len(k.ring) - 1
	k.ring[c.ring] = k.ring[last]
	k.ring[c.ring].ring = c.ring
	k.ring[last] = nil
	k.ring = k.ring[:last]
	if len(k.spare) < maxSpareTables {
		k.spare = append(k.spare, t)
	}
}

// metaJob is one transfer of metadata: aligned memory for a half, its operation, and what
// comes after it.
type metaJob struct {
	bytes  []byte
	vec    [1][]byte
	op     disk.Op
	then   func(*metaJob)
	chunk  *Chunk
	slot   *slot // whose metadata it is
	header header
	// Of a checkpoint:
	requests []checkpointRequest
	changes  uint64
}

// jobs recycles metaJobs.
type jobs struct {
	size int
	mu   sync.Mutex
	idle []*metaJob
}

func (q *jobs) take(c *Chunk) *metaJob {
	q.mu.Lock()
	defer q.mu.Unlock()
	var j *metaJob
	if n := len(q.idle); n > 0 {
		j = q.idle[n-1]
		q.idle[n-1] = nil
		q.idle = q.idle[:n-1]
	} else {
		j = &metaJob{bytes: alignedBytes(q.size)}
		j.op.Done = func(*disk.Op) { j.then(j) }
	}
	j.chunk, j.slot = c, nil
	if c != nil {
		j.slot = c.slot
	}
	return j
}

func (q *jobs) put(j *metaJob) {
	clear(j.requests)
	j.requests = j.requests[:0]
	j.chunk, j.slot = nil, nil
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.idle) < maxSpareJobs {
		q.idle = append(q.idle, j)
	}
}

// submit queues the transfer of the first n bytes.
func (j *metaJob) submit(kind disk.Kind, off int64, n int, then func(*metaJob)) {
	j.then = then
	j.vec[0] = j.bytes[:n]
	j.op.Kind, j.op.Off, j.op.Vec = kind, off, j.vec[:]
	j.op.Durable = false
	j.slot.file.Submit(&j.op)
}

// submitDurable queues a write of the first n bytes that survives a power cut once done.
func (j *metaJob) submitDurable(off int64, n int, then func(*metaJob)) {
	j.then = then
	j.vec[0] = j.bytes[:n]
	j.op.Kind, j.op.Off, j.op.Vec = disk.Write, off, j.vec[:]
	j.op.Durable = true
	j.slot.file.Submit(&j.op)
}

// alignedBytes returns n bytes that direct I/O accepts. The collector does not move them.
func alignedBytes(n int) []byte {
	raw := make([]byte, n+BlockSize)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(raw)))) & (BlockSize - 1)
	return raw[skip : skip+n : skip+n]
}
