package chunkfile

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// Chunk is a slot in use. Methods may be called from any goroutine; the caller keeps Write
// and Zero from overlapping other I/O in flight on the same blocks.
type Chunk struct {
	pool *Pool
	id   ID
	slot *slot

	recent atomic.Bool // used since the cache's clock last passed
	ring   int         // place in the cache's clock, guarded by the cache

	mu      sync.Mutex
	table   *table // nil: not in memory
	loading bool
	waiters []tableWaiter
	zeros   []uint64 // blocks zeroed while the table was not in memory
	changes uint64   // counts changes of the table
	saved   uint64   // changes that the newest durable version holds
	pins    int      // I/O in flight; the table stays
	idle    chan struct{}
	refuse  error // why I/O is refused: damaged or deleted
	deleted bool

	checkpointing bool
	waiting       []checkpointRequest

	twin    *Twin    // has the blocks of inTwin; nil: none
	inTwin  []uint64 // turned to the twin
	writing int      // writes in flight
	moving  bool     // blocks are copied between the slots, or will be when no write is in flight
	moves   uint32   // counts the beginnings and the ends of that
	mover   *mover   // that waits for the writes in flight
	gated   []*IO    // writes that wait for the end of the move
	old     *slot    // the slot whose place slot took; the checkpoint that is running frees it
}

// slot is a slot file. top is its newest durable header: guarded by the chunk that has the
// slot, else by whoever took it off the free list.
type slot struct {
	number uint64
	name   string
	file   disk.File
	top    header
	unsure bool // a header after top may be on the device: its write failed
	kept   bool // used for no other chunk; guarded by the pool
}

// inactive is the half that the next version goes to.
func (s *slot) inactive() uint8 { return 1 - s.top.half }

// tableWaiter is told when the table is in memory, or why it cannot be. It holds a pin.
type tableWaiter interface{ tableReady(err error) }

// ID returns the chunk's name.
func (c *Chunk) ID() ID { return c.id }

// Blocks returns the size of the chunk in blocks.
func (c *Chunk) Blocks() int { return c.pool.geometry.blocks }

// Slot returns the number of the slot file, for messages.
func (c *Chunk) Slot() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.slot.number
}

// Zero makes blocks read as zeroes, in memory: durable after the next Checkpoint. Nothing is
// written to the blocks. Blocks outside the chunk are an invariant break. On a damaged or
// deleted chunk it does nothing.
func (c *Chunk) Zero(block, count int) {
	if block < 0 || count < 0 || block > c.Blocks()-count {
		panic(fmt.Sprintf("chunkfile: Zero of blocks %d+%d of %d", block, count, c.Blocks()))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if count == 0 || c.usable() != nil {
		return
	}
	if c.table != nil {
		c.table.clear(block, count)
		c.changed()
		return
	}
	if c.zeros == nil {
		c.zeros = make([]uint64, (c.Blocks()+63)/64)
	}
	for b := block; b < block+count; b++ {
		c.zeros[b/64] |= 1 << (b % 64)
	}
	c.changed()
}

// Dirty says whether a Checkpoint would write.
func (c *Chunk) Dirty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dirty()
}

// Applied returns the applied index of the newest durable metadata version, 0 before the
// first Checkpoint.
func (c *Chunk) Applied() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest().applied
}

// Version returns the newest durable metadata version, 0 before the first Checkpoint. It
// grows with every Checkpoint, and also with every reuse of the slot. Each slot counts for itself:
// a chunk that moves to a twin goes on from the twin's.
func (c *Chunk) Version() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.newest(); h.state == stateUsed {
		return h.version
	}
	return 0
}

// newest is the header of the newest durable version: that of the slot before, until there is one
// where the chunk has moved to.
func (c *Chunk) newest() *header {
	if c.old != nil && c.slot.top.state != stateUsed {
		return &c.old.top
	}
	return &c.slot.top
}

// WrittenBlocks returns how many blocks have data. Blocks zeroed while the table was not in
// memory still count until it is.
func (c *Chunk) WrittenBlocks() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.table != nil {
		return c.table.written
	}
	return int(c.slot.top.written)
}

// BlockState says whether a block has data, and its crc32c: that of zeroes when it has none.
// When the table is not in memory it is read from the disk, blocking; err is that read's.
func (c *Chunk) BlockState(block int) (written bool, crc uint32, err error) {
	if block < 0 || block >= c.Blocks() {
		return false, 0, fmt.Errorf("%w: block %d of %d", ErrInvalid, block, c.Blocks())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usable(); err != nil {
		return false, 0, err
	}
	c.pins++
	defer c.unpin()
	if err := c.resident(); err != nil {
		return false, 0, err
	}
	if !c.table.has(block) {
		return false, zeroBlockCRC, nil
	}
	return true, c.table.crcs[block], nil
}

// resident waits until the table is in memory. The lock is held, but for the wait, and a pin.
func (c *Chunk) resident() error {
	if c.table != nil {
		return nil
	}
	w := make(waitTable, 1)
	start := c.await(w)
	c.mu.Unlock()
	if start {
		c.load()
	}
	c.pool.disk.Flush()
	err := <-w
	c.mu.Lock()
	return err
}

// waitTable is a tableWaiter that a goroutine blocks on.
type waitTable chan error

func (w waitTable) tableReady(err error) { w <- err }

// usable returns why I/O is refused. The chunk's lock is held, as in all that follow.
func (c *Chunk) usable() error {
	if c.refuse != nil {
		return c.refuse
	}
	if c.pool.closed.Load() {
		return ErrClosed
	}
	return nil
}

func (c *Chunk) dirty() bool { return c.changes != c.saved }

func (c *Chunk) changed() {
	if !c.dirty() {
		c.pool.stats.dirty.Add(1)
	}
	c.changes++
}

// save records that a durable version holds the changes up to a count.
func (c *Chunk) save(changes uint64) {
	was := c.dirty()
	c.saved = changes
	if was && !c.dirty() {
		c.pool.stats.dirty.Add(-1)
	}
}

func (c *Chunk) unpin() {
	c.pins--
	if c.pins == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// drain waits until no I/O is in flight. The lock is released meanwhile.
func (c *Chunk) drain() {
	for c.pins > 0 {
		if c.idle == nil {
			c.idle = make(chan struct{})
		}
		idle := c.idle
		c.mu.Unlock()
		c.pool.disk.Flush()
		<-idle
		c.mu.Lock()
	}
}

// abandon ends all that a chunk has to do, for its deletion, and gives its table and the slot up
// that it has beside its own. The lock is released while I/O is in flight.
func (c *Chunk) abandon() (t *table, old *slot) {
	c.deleted, c.refuse = true, ErrDeleted
	c.drain()
	c.save(c.changes)
	t, old = c.table, c.old
	c.table, c.old = nil, nil
	if c.twin != nil {
		c.twin.settle()
		c.twin, c.inTwin = nil, nil
	}
	return t, old
}

// evict takes the table of a clean idle chunk, or returns nil. The lock is not held.
func (c *Chunk) evict() *table {
	if !c.mu.TryLock() {
		return nil
	}
	defer c.mu.Unlock()
	if c.pins > 0 || c.dirty() || c.table == nil {
		return nil
	}
	t := c.table
	c.table = nil
	return t
}

// await adds a waiter for the table, and says whether the caller must call load.
func (c *Chunk) await(w tableWaiter) (start bool) {
	c.waiters = append(c.waiters, w)
	start = !c.loading
	c.loading = true
	return start
}

// load queues the read of the active half. The lock is not held; the waiters' pins keep the
// slot.
func (c *Chunk) load() { c.readTable(c.pool.jobs.take(c), loadedFirst) }

// loadedFirst reads once more what the device could not read: the store gives up a replica for it.
func loadedFirst(j *metaJob) {
	if !errors.Is(j.op.Err, disk.ErrIO) {
		loaded(j)
		return
	}
	p := j.chunk.pool
	j.chunk.readTable(j, loaded)
	p.disk.Flush()
}

func (c *Chunk) readTable(j *metaJob, then func(*metaJob)) {
	g := c.pool.geometry
	j.submit(disk.Read, g.halfOffset(c.slot.top.half), g.metaSize, then)
}

// loaded ends a load: the table is installed, then the waiters go on.
func loaded(j *metaJob) {
	c, p := j.chunk, j.chunk.pool
	t := p.cache.take()
	err := c.decode(j, t)
	p.jobs.put(j)
	if err != nil {
		t = nil
	}
	c.mu.Lock()
	c.loading = false
	c.table = t
	if errors.Is(err, ErrCorrupt) && c.refuse == nil {
		c.refuse = err // as if Open had found it
	}
	if t != nil && c.zeros != nil {
		t.clearMask(c.zeros)
		c.zeros = nil
	}
	waiters := c.waiters
	c.waiters = nil
	c.mu.Unlock()
	if t != nil {
		p.cache.admit(c, true)
	}
	for _, w := range waiters {
		w.tableReady(err)
	}
	p.disk.Flush()
}

// decode verifies what was read against what was written last, and fills the table.
func (c *Chunk) decode(j *metaJob, t *table) error {
	if errors.Is(j.op.Err, disk.ErrIO) {
		return fmt.Errorf("%w: chunk %v: %w", ErrTable, c.id, j.op.Err)
	}
	if j.op.Err != nil {
		return fmt.Errorf("chunkfile: read table of chunk %v: %w", c.id, j.op.Err)
	}
	g, s := c.pool.geometry, c.slot
	at := place{store: c.pool.cfg.StoreID, slot: s.number, half: s.top.half}
	h, f := verifyHalf(j.bytes, g, at)
	if f == nil && (h.version != s.top.version || h.id != c.id) {
		f = &fault{at: 40, n: 8, reason: fmt.Sprintf(
			"version %d of chunk %v found, version %d of %v was written: the device lost a write",
			h.version, h.id, s.top.version, c.id)}
	}
	if f == nil {
		f = decodeBody(j.bytes, g, &h, t)
	}
	if f == nil {
		return nil
	}
	err := c.pool.corrupt(s.name, g.halfOffset(s.top.half), f)
	c.pool.report(Damage{Slot: s.number, File: s.name, Fatal: true, ID: c.id, IDKnown: true,
		Err: err})
	return err
}
