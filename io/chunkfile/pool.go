package chunkfile

import (
	"log/slog"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// BlockSize is the unit of checksums and of transfers, in bytes.
const BlockSize = disk.BlockSize

// ID names a chunk: its copyset, its volume, and which chunk of the volume it is.
type ID struct{ Group, Volume, Index uint64 }

// Config of a pool.
type Config struct {
	Disk    disk.Disk
	Dir     string   // folder of the slot files on the disk; made when absent
	Name    string   // what errors call the disk; empty: the store id in hex
	StoreID [16]byte // stamped into every slot; another store's files are refused
	// ChunkSize in bytes: a power of two, MinChunkSize..MaxChunkSize; 0: DefaultChunkSize.
	// Slots of another size in Dir are reported as damaged.
	ChunkSize int64
	// Reserve is how many free slots a background filler keeps ready; 0: DefaultReserve,
	// negative: none, every new slot is made by the Create that needs it.
	Reserve int
	// LimitBytes bounds the bytes of all slot files; 0: the disk's own space.
	LimitBytes int64
	// CacheChunks bounds how many clean chunks keep their table in memory (16.5 KiB each at
	// 16 MiB); 0: DefaultCacheChunks.
	CacheChunks int
	Logger      *slog.Logger // nil: slog.Default()
}

// Stats of a pool.
type Stats struct {
	Slots, Free, Used, Damaged int   // slot files by state
	SlotBytes                  int64 // size of one slot file
	UsedBytes, LimitBytes      int64 // bytes of all slot files; the bound, 0: none
	Dirty                      int   // chunks with changes not in a durable table
	Resident                   int   // chunks whose table is in memory
	TableBytes                 int64 // memory of those tables
	TableLoads, TableEvictions uint64
	DeviceReads, DeviceWrites  uint64 // operations of Read and Write given to the disk
	ReadBlocks, WriteBlocks    uint64
	CorruptBlocks              uint64 // blocks that failed their crc
	Checkpoints                uint64 // metadata versions made durable
}

// Pool is the set of slot files of one store.
type Pool struct{}

// Open reads the metadata of every slot file in cfg.Dir, by batches of asynchronous reads.
// Slots that cannot be trusted do not fail it: they are in Damage.
func Open(cfg Config) (*Pool, error) { panic("chunkfile: not built yet") }

// List returns the chunks of a copyset, damaged ones too, ordered by volume and index.
func (p *Pool) List(group uint64) []ID { panic("chunkfile: not built yet") }

// Get returns a chunk. A chunk whose slot is damaged is returned too: all its I/O fails with
// ErrCorrupt, so that it is never taken for one that was never written.
func (p *Pool) Get(id ID) (*Chunk, bool) { panic("chunkfile: not built yet") }

// Create gives a free slot to a new chunk, in memory: it is durable after the first
// Checkpoint, and before it a restart has no such chunk. ErrExists, ErrNoSpace, ErrClosed.
// It blocks to write a new slot file when none is ready.
func (p *Pool) Create(id ID) (*Chunk, error) { panic("chunkfile: not built yet") }

// Delete gives the slot of a chunk back, durably. It blocks until the chunk's I/O in flight
// is done; I/O given to the chunk later fails with ErrDeleted. A damaged chunk may be deleted:
// that is how its slot returns to service. ErrNotExist, ErrClosed.
func (p *Pool) Delete(id ID) error { panic("chunkfile: not built yet") }

// Damage returns what was found wrong at Open and since, one entry per slot.
func (p *Pool) Damage() []Damage { panic("chunkfile: not built yet") }

// Discard returns a damaged slot that belongs to no known chunk to service, durably. What was
// in it is given up. ErrNotExist when the slot is not damaged.
func (p *Pool) Discard(slot uint64) error { panic("chunkfile: not built yet") }

// Stats returns a snapshot of the counters.
func (p *Pool) Stats() Stats { panic("chunkfile: not built yet") }

// Close stops the filler, waits for I/O in flight and closes the files. It writes nothing:
// changes since the last Checkpoint are the log's to redo.
func (p *Pool) Close() error { panic("chunkfile: not built yet") }

// Damage is a slot that cannot be trusted, or was read with one copy of its metadata lost.
type Damage struct {
	Slot uint64
	File string
	// Fatal: the slot's chunk is lost on this store. Not fatal: one of the two metadata
	// copies is invalid, as a power cut during a Checkpoint leaves it, and the other was
	// used; the log redoes what came after it.
	Fatal   bool
	ID      ID   // the chunk, as far as known
	IDKnown bool // false: some chunk of this store is lost, the slot no longer says which
	Err     error
}
