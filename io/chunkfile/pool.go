package chunkfile

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// BlockSize is the unit of checksums and of transfers, in bytes.
const BlockSize = disk.BlockSize

// ID names a chunk: its copyset, its volume, and which chunk of the volume it is.
type ID struct{ Group, Volume, Index uint64 }

// String returns copyset/volume/index.
func (id ID) String() string { return fmt.Sprintf("%d/%d/%d", id.Group, id.Volume, id.Index) }

// Compare orders chunks by copyset, volume and index: below 0 when id comes before other.
func (id ID) Compare(other ID) int {
	return cmp.Or(cmp.Compare(id.Group, other.Group), cmp.Compare(id.Volume, other.Volume),
		cmp.Compare(id.Index, other.Index))
}

// Config of a pool.
type Config struct {
	Disk    disk.Disk
	Dir     string   // folder of the slot files on the disk; made when absent
	Name    string   // what errors call the disk; empty: the store id in hex
	StoreID [16]byte // stamped into every slot; another store's files are refused
	// ChunkSize in bytes: a power of two, MinChunkSize..MaxChunkSize; 0: DefaultChunkSize.
	// Slots of another size in Dir are damage.
	ChunkSize int64
	// Reserve is how many free slots a background filler keeps ready; 0: DefaultReserve,
	// negative: none, every new slot is written by the Create that needs it.
	Reserve int
	// SpareBytes is what the filler leaves free on the disk for others; a Create does not, which
	// whoever calls it has admitted.
	SpareBytes int64
	// LimitBytes bounds the bytes of all slot files; 0: the disk's own space.
	LimitBytes int64
	// CacheChunks bounds how many clean chunks keep their table in memory (16.5 KiB each at
	// 16 MiB chunks); 0: DefaultCacheChunks.
	CacheChunks int
	Logger      *slog.Logger // nil: slog.Default()
}

// Stats of a pool.
type Stats struct {
	Slots, Free, Used, Damaged int    // slot files by state
	Lent                       int    // those that are twins, or kept because a log names them
	SlotBytes                  int64  // size of one slot file
	UsedBytes, LimitBytes      int64  // bytes of all slot files; the bound, 0: none
	Dirty                      int    // chunks with changes that no durable version holds
	Resident                   int    // chunks whose table is in memory
	TableBytes                 int64  // memory of those tables
	TableLoads, TableEvictions uint64 // reads of a table; tables dropped for others
	DeviceReads, DeviceWrites  uint64 // operations of Read and Write given to the disk
	ReadBlocks, WriteBlocks    uint64 // blocks of those calls
	CorruptBlocks              uint64 // blocks that did not fit their crc
	Checkpoints                uint64 // metadata versions made durable
	TwinWrites, TwinBlocks     uint64 // writes to twins, and their blocks
	TurnedBlocks               uint64 // blocks read from a twin since, without being written again
	Adopted, CopiedBlocks      uint64 // twins that became a chunk's slot; blocks moved for that
}

// counters are the parts of Stats counted on the way.
type counters struct {
	dirty                                  atomic.Int64
	reads, writes, readBlocks, writeBlocks atomic.Uint64
	corrupt, checkpoints                   atomic.Uint64
	twinWrites, twinBlocks, turned         atomic.Uint64
	adopted, copied                        atomic.Uint64
}

// Pool is the set of slot files of one store. Its methods may be called from any goroutine.
type Pool struct {
	cfg      Config
	disk     disk.Disk
	geometry geometry
	log      *slog.Logger
	cache    cache
	jobs     jobs
	stats    counters
	closed   atomic.Bool

	// The locks in their order: work, filling, mu, the cache's, a chunk's.
	// work is held for reading while files are changed, and for writing by Close.
	work sync.RWMutex
	// filling serialises the making of slot files, so that their numbers have no gaps.
	filling sync.Mutex
	kick    chan struct{}
	stop    chan struct{}
	stopped sync.WaitGroup

	mu     sync.RWMutex
	slots  map[uint64]*slot
	chunks map[ID]*Chunk
	free   []*slot
	lent   map[uint64]*slot // kept, and no chunk's own
	damage map[uint64]Damage
	notes  []Damage
	next   uint64 // no number below it is unused

	changes atomic.Uint64 // of chunks; raised with mu held
}

// Damage is a slot that cannot be trusted, or was read with one copy of its metadata lost.
type Damage struct {
	Slot uint64
	File string
	// Fatal: what the slot held is lost on this store. Otherwise one of the two copies of
	// the metadata is invalid, as a power cut during a Checkpoint leaves it, and the other
	// was used: the log redoes what came after it. Or the slot held no chunk, and its metadata
	// was made anew.
	Fatal   bool
	ID      ID   // the chunk, as far as known
	IDKnown bool // false: if the slot was used, it no longer says by which chunk
	Err     error
}

// normalize fills in defaults and refuses what cannot work.
func (cfg Config) normalize() (Config, error) {
	bad := func(format string, args ...any) (Config, error) {
		return cfg, fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
	cfg.ChunkSize = cmp.Or(cfg.ChunkSize, DefaultChunkSize)
	cfg.Reserve = cmp.Or(cfg.Reserve, DefaultReserve)
	cfg.CacheChunks = cmp.Or(cfg.CacheChunks, DefaultCacheChunks)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	cfg.Name = cmp.Or(cfg.Name, fmt.Sprintf("%x", cfg.StoreID))
	size := cfg.ChunkSize
	switch {
	case cfg.Disk == nil:
		return bad("Config.Disk is nil: open a disk first")
	case cfg.Dir == "":
		return bad("Config.Dir is empty: name the folder of the slot files")
	case size < MinChunkSize || size > MaxChunkSize || size&(size-1) != 0:
		return bad("Config.ChunkSize is %d: set a power of two, %d..%d",
			size, MinChunkSize, MaxChunkSize)
	case cfg.LimitBytes < 0:
		return bad("Config.LimitBytes is %d: set 0 or more", cfg.LimitBytes)
	case cfg.SpareBytes < 0:
		return bad("Config.SpareBytes is %d: set 0 or more", cfg.SpareBytes)
	case cfg.CacheChunks < 0:
		return bad("Config.CacheChunks is %d: set 0 or more", cfg.CacheChunks)
	}
	return cfg, nil
}

// List returns the chunks of a copyset, damaged ones too, ordered by volume and index.
func (p *Pool) List(group uint64) []ID {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var list []ID
	for id := range p.chunks {
		if id.Group == group {
			list = append(list, id)
		}
	}
	slices.SortFunc(list, ID.Compare)
	return list
}

// After returns the first n chunks behind id, damaged ones too, in the order of Compare; how many
// chunks there are up to id, and in all. It looks at every one: whoever walks through them takes
// many at a time.
func (p *Pool) After(id ID, n int) (list []ID, before, total int) {
	p.mu.RLock()
	total = len(p.chunks)
	list = make([]ID, 0, total)
	for c := range p.chunks {
		if c.Compare(id) > 0 {
			list = append(list, c)
		}
	}
	p.mu.RUnlock() // whoever makes a chunk waits for the lock, and should not for the sort
	before = total - len(list)
	slices.SortFunc(list, ID.Compare)
	if len(list) > n {
		list = slices.Clone(list[:n])
	}
	return list, before, total
}

// Get returns a chunk. A chunk whose slot is damaged is returned too: all its I/O fails with
// ErrCorrupt, so that it is never taken for one that was never written.
func (p *Pool) Get(id ID) (*Chunk, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	c, ok := p.chunks[id]
	return c, ok
}

// Create gives a free slot to a new chunk, in memory: it is durable after the first
// Checkpoint, and before it a restart has no such chunk. It blocks to write a new slot file
// when none is ready. ErrExists, ErrNoSpace naming limit and use, ErrClosed.
func (p *Pool) Create(id ID) (*Chunk, error) {
	for {
		c, err := p.assign(id)
		if c != nil || err != nil {
			return c, err
		}
		if err := p.addSlot(1); err != nil {
			return nil, err
		}
	}
}

// assign gives a ready slot to a chunk, or returns nil when there is none.
func (p *Pool) assign(id ID) (*Chunk, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		return nil, ErrClosed
	}
	if _, ok := p.chunks[id]; ok {
		return nil, fmt.Errorf("%w: %v", ErrExists, id)
	}
	if len(p.free) == 0 {
		return nil, nil
	}
	last := len(p.free) - 1
	c := &Chunk{pool: p, id: id, slot: p.free[last], table: p.cache.take(), changes: 1}
	p.free = p.free[:last]
	p.chunks[id] = c
	p.changes.Add(1)
	p.stats.dirty.Add(1)
	// Before the chunk can be found: Delete takes it out of the cache again.
	p.cache.admit(c, false)
	p.wake()
	return c, nil
}

// Delete gives the slot of a chunk back, durably. It blocks until the chunk's I/O in flight
// is done; I/O given to the chunk later fails with ErrDeleted. A damaged chunk may be deleted:
// that is how its slot returns to service. After an error of the disk the slot is damaged.
// ErrNotExist, ErrClosed.
func (p *Pool) Delete(id ID) error {
	p.work.RLock()
	defer p.work.RUnlock()
	if p.closed.Load() {
		return ErrClosed
	}
	c, ok := p.Get(id)
	if !ok {
		return fmt.Errorf("%w: %v", ErrNotExist, id)
	}
	c.mu.Lock()
	if c.deleted {
		c.mu.Unlock()
		return fmt.Errorf("%w: %v", ErrNotExist, id)
	}
	free := p.retire
	if c.refuse != nil {
		free = p.renew
	}
	t, old := c.abandon()
	c.mu.Unlock()
	if t != nil {
		p.cache.remove(c, t)
	}
	var oldErr error
	if old != nil { // before the other: it must not bring the chunk back
		oldErr = p.retire(old)
	}
	err := free(c.slot)
	p.mu.Lock()
	defer p.mu.Unlock()
	if old != nil {
		p.releaseLocked(c.id, old, oldErr)
	}
	p.releaseLocked(c.id, c.slot, err)
	delete(p.chunks, c.id)
	p.changes.Add(1)
	return errors.Join(oldErr, err)
}

// releaseLocked frees a slot of a chunk that is deleted, unless the device failed.
func (p *Pool) releaseLocked(id ID, s *slot, err error) {
	if err == nil {
		delete(p.damage, s.number)
		p.freeLocked(s)
		return
	}
	p.damage[s.number] = Damage{Slot: s.number, File: s.name, Fatal: true, ID: id,
		IDKnown: true, Err: err}
}

// Discard returns a damaged slot that no chunk of the pool has to service, durably. What was
// in it is given up. ErrNotExist when the slot is not damaged, ErrExists when a chunk has it:
// delete the chunk.
func (p *Pool) Discard(number uint64) error {
	p.work.RLock()
	defer p.work.RUnlock()
	if p.closed.Load() {
		return ErrClosed
	}
	p.mu.Lock()
	d, ok := p.damage[number]
	s := p.slots[number]
	owner := p.chunks[d.ID]
	p.mu.Unlock()
	if !ok || s == nil {
		return fmt.Errorf("%w: slot %d is not damaged", ErrNotExist, number)
	}
	if d.IDKnown && owner != nil && owner.Slot() == number {
		return fmt.Errorf("%w: slot %d is chunk %v: delete the chunk", ErrExists, number, d.ID)
	}
	if err := p.renew(s); err != nil {
		return err
	}
	p.mu.Lock()
	delete(p.damage, number)
	p.freeLocked(s)
	p.mu.Unlock()
	return nil
}

// Damage returns what was found wrong at Open and since, by slot. Where it has a fatal entry
// without a known chunk, the absence of a chunk from the pool does not mean that it was never
// written.
func (p *Pool) Damage() []Damage {
	p.mu.RLock()
	defer p.mu.RUnlock()
	list := slices.Clone(p.notes)
	for _, d := range p.damage {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b Damage) int { return cmp.Compare(a.Slot, b.Slot) })
	return list
}

// report records damage and tells the operator.
func (p *Pool) report(d Damage) {
	p.mu.Lock()
	if d.Fatal {
		p.damage[d.Slot] = d
	} else {
		p.notes = append(p.notes, d)
	}
	p.mu.Unlock()
	text := "chunkfile: slot read with one copy of its metadata"
	if d.Fatal {
		text = "chunkfile: slot damaged"
	}
	p.log.Warn(text, "disk", p.cfg.Name, "file", d.File, "chunk", d.ID, "chunk_known",
		d.IDKnown, "error", d.Err)
}

// corrupt says where a fault is.
func (p *Pool) corrupt(file string, off int64, f *fault) error {
	return &CorruptError{Disk: p.cfg.Name, File: file, Offset: off + int64(f.at),
		Length: int64(f.n), Want: f.want, Got: f.got, Reason: f.reason, class: f.class}
}

// Stats returns a snapshot of the counters.
func (p *Pool) Stats() Stats {
	s := Stats{
		SlotBytes: p.geometry.slotBytes(), LimitBytes: p.cfg.LimitBytes,
		Dirty:       int(p.stats.dirty.Load()),
		DeviceReads: p.stats.reads.Load(), DeviceWrites: p.stats.writes.Load(),
		ReadBlocks: p.stats.readBlocks.Load(), WriteBlocks: p.stats.writeBlocks.Load(),
		CorruptBlocks: p.stats.corrupt.Load(), Checkpoints: p.stats.checkpoints.Load(),
		TwinWrites: p.stats.twinWrites.Load(), TwinBlocks: p.stats.twinBlocks.Load(),
		TurnedBlocks: p.stats.turned.Load(), Adopted: p.stats.adopted.Load(),
		CopiedBlocks: p.stats.copied.Load(),
	}
	p.mu.RLock()
	s.Slots, s.Free, s.Damaged, s.Lent = len(p.slots), len(p.free), len(p.damage), len(p.lent)
	s.Used = s.Slots - s.Free - s.Damaged - s.Lent
	s.UsedBytes = int64(s.Slots) * s.SlotBytes
	p.mu.RUnlock()
	p.cache.mu.Lock()
	s.Resident, s.TableLoads = len(p.cache.ring), p.cache.loads
	s.TableEvictions = p.cache.evictions
	p.cache.mu.Unlock()
	s.TableBytes = int64(s.Resident) * p.geometry.tableBytes()
	return s
}

// Close stops the filler, waits for I/O in flight and closes the files. It writes nothing:
// changes since the last Checkpoint are the log's to redo.
func (p *Pool) Close() error {
	if p.closed.Swap(true) {
		return ErrClosed
	}
	close(p.stop)
	p.stopped.Wait()
	p.work.Lock()
	defer p.work.Unlock()
	p.mu.Lock()
	chunks := slices.Collect(maps.Values(p.chunks))
	p.mu.Unlock()
	for _, c := range chunks {
		c.mu.Lock()
		c.drain()
		c.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, s := range p.slots {
		if s.file != nil {
			errs = append(errs, s.file.Close())
		}
	}
	return errors.Join(errs...)
}
