package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/ebpf/mark"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/window"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// The folders of a store.
const (
	chunkDir = "chunks"
	logDir   = "log"
)

var (
	// ErrFailed: a durable write of the store failed; it does nothing any more.
	ErrFailed   = errors.New("store: failed")
	errStopping = errors.New("store: stopping")
)

// Config opens a store.
type Config struct {
	Disk        disk.Disk // the store closes it
	Path        string    // for messages
	Pool        *buf.Pool // shared by the stores of a node
	Host        Host
	ChunkSize   int64 // bytes; 0: 16 MiB. Fixed when the store is made
	SegmentSize int64 // bytes of a log segment; 0: wal.DefaultSegmentSize
	LogBytes    int64 // 0: DefaultLogBytes
	LimitBytes  int64 // bound of the chunk files; 0: the disk's free space
	// High and Full are how full a store is when it is said to fill up, and when new chunks are
	// refused; without Full that is when nothing is left.
	High, Full    Watermark
	ReserveChunks int   // chunk files kept ready; 0: chunkfile.DefaultReserve
	InflightBytes int64 // 0: DefaultInflightBytes
	// PlaceBytes is from how many bytes on a write that belongs to a sequence is written once, into
	// a slot beside its chunk's; 0: none is.
	PlaceBytes int64
	Owners     int // 0: DefaultOwners
	// StallBound is the age of an operation at which the device counts as stalled; 0:
	// DefaultStallBound.
	StallBound time.Duration
	// LateBound is the age of a client's request at which the store is late; 0: DefaultLateBound.
	LateBound time.Duration
	// ScrubBytes is how many bytes in a second the scrubber reads; 0: DefaultScrubBytes, negative:
	// it is off.
	ScrubBytes int64
	// FillBytes is how many bytes in a second the store gives to replicas that are filled from it
	// while it has clients; 0: DefaultFillBytes, negative: as fast as it can.
	FillBytes int64
	// News, if not nil, gets something when a leader may have changed, unless it is full.
	News chan<- struct{}
	// ReadIndex has leaders ask a majority for every read; see copyset.Config.
	ReadIndex bool
	// Unproven has the replicas that were found on the disk wait for Proven or Regressed, for a
	// bounded time, before they take part in an election.
	Unproven bool
	// ScrubPeriod is from the beginning of one cycle to that of the next; 0: DefaultScrubPeriod.
	ScrubPeriod time.Duration
	Now         func() time.Time // for the scrubber's windows; nil: time.Now
	Logger      *slog.Logger

	tables int // chunks that keep their table in memory; 0: chunkfile.DefaultCacheChunks
}

// Store is an open store. Its methods may be called from any goroutine.
type Store struct {
	cfg     Config
	log     *slog.Logger
	disk    *disk.Watched
	pool    *buf.Pool
	host    Host
	meta    identity
	wal     *wal.Log
	opened  wal.LSN // where the log ended
	life    uint64
	chunks  *chunkfile.Pool
	owners  []*Owner
	start   time.Time
	epoch   int64 // CLOCK_MONOTONIC when the store's clock was 0, in ns
	stop    chan struct{}
	pulse   *pulse
	stopped sync.Once
	workers sync.WaitGroup

	flushes, calmFlushes chan struct{}
	logReads, fetches    chan struct{}
	fill                 fillPace

	mu         sync.Mutex
	ckptMu     sync.Mutex // one checkpoint at a time
	failure    error
	full       error
	stalled    error
	room       room
	placed     places
	placedSync placedSync
	lost       map[uint64]*lostReplica // by copyset
	scrubMu    sync.Mutex
	scrub      scrubState
	scrubWay   scrubWay
	scrubWeek  window.Week   // when it may read
	scrubTried int           // times that the piece at hand was refused
	crossAfter time.Time     // no replicas are compared before it; the scrubber's own
	lostMu     sync.Mutex    // one write of the list at a time
	batched    bool          // the disk has goOn called
	running    atomic.Bool   // Run was called
	scarce     atomic.Bool   // room.scarce
	hurry      atomic.Bool   // somebody waits for a checkpoint
	logLeft    atomic.Int64  // logUsed when the last turn was over, or nobody's
	nextAsk    atomic.Int64  // by the clock, whether changes wait for a checkpoint
	nextCount  atomic.Int64  // by the clock, of the room left
	leaders    atomic.Uint64 // changes of leader seen
	clientOps  atomic.Uint64 // requests of clients, and writes to the log, which are for some
	corrupt    atomic.Uint64
	repaired   atomic.Uint64
}

func (cfg *Config) defaults() {
	if cfg.ChunkSize == 0 {
		cfg.ChunkSize = chunkfile.DefaultChunkSize
	}
	if cfg.LogBytes == 0 {
		cfg.LogBytes = DefaultLogBytes
	}
	if cfg.InflightBytes == 0 {
		cfg.InflightBytes = DefaultInflightBytes
	}
	if cfg.Owners == 0 {
		cfg.Owners = DefaultOwners
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.ScrubPeriod == 0 {
		cfg.ScrubPeriod = DefaultScrubPeriod
	}
	if cfg.ScrubBytes == 0 {
		cfg.ScrubBytes = DefaultScrubBytes
	}
	if cfg.FillBytes == 0 {
		cfg.FillBytes = DefaultFillBytes
	}
	if cfg.StallBound == 0 {
		cfg.StallBound = DefaultStallBound
	}
	if cfg.LateBound == 0 {
		cfg.LateBound = DefaultLateBound
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
}

// Open opens the store on a disk, or makes one on an empty disk, and brings back its replicas; Run
// starts them. A disk with foreign or newer content is refused.
func Open(cfg Config) (*Store, error) {
	cfg.defaults()
	s := &Store{cfg: cfg, log: cfg.Logger.With("store", cfg.Path),
		disk: disk.Watch(cfg.Disk), pool: cfg.Pool,
		host: cfg.Host, start: time.Now(), life: rand.Uint64() | 1, stop: make(chan struct{}),
		flushes: make(chan struct{}, maxFlushJobs), calmFlushes: make(chan struct{}, calmFlushJobs),
		logReads: make(chan struct{}, maxLogReads), fetches: make(chan struct{}, maxFetches),
		fill: fillPace{rate: cfg.FillBytes}, lost: map[uint64]*lostReplica{},
		room: room{promised: map[chunkfile.ID]time.Time{}}}
	s.placed.init(int(cfg.PlaceBytes))
	s.placedSync.disk = s.disk
	s.epoch = mark.Now() - s.clock()
	if err := s.loadIdentity(); err != nil {
		return nil, err
	}
	for range cfg.Owners {
		s.owners = append(s.owners, newOwner(s))
	}
	s.batched = s.disk.AfterBatch(func() { s.goOn(false) })
	chunks, err := chunkfile.Open(chunkfile.Config{Disk: s.disk, Dir: chunkDir, Name: cfg.Path,
		StoreID: s.meta.UUID, ChunkSize: s.meta.ChunkSize, Reserve: cfg.ReserveChunks,
		SpareBytes: s.spareBytes(), LimitBytes: cfg.LimitBytes, CacheChunks: cfg.tables,
		Logger: s.log})
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", cfg.Path, err)
	}
	s.chunks = chunks
	s.loadScrub()
	if err = s.recover(); err == nil {
		s.pulse, err = newPulse()
	}
	if err != nil {
		s.chunks.Close()
		return nil, fmt.Errorf("store %s: %w", cfg.Path, err)
	}
	return s, nil
}

func (s *Store) newReplica(st *copyset.State, rc *copyset.Recovered) (*copyset.Replica, error) {
	return copyset.New(copyset.Config{State: st, Recovered: rc, Pool: s.pool, Now: s.clock(),
		ChunkBlocks: uint32(s.meta.ChunkSize / buf.BlockSize), ReadIndex: s.cfg.ReadIndex,
		Timing: &s.Owner(st.Copyset).timing, Unproven: s.cfg.Unproven, Logger: s.log})
}

// Run starts the owners, the checkpointer and the watchdog.
func (s *Store) Run() {
	s.running.Store(true)
	var b beat
	for _, o := range s.owners {
		beats := b.listen(o.quietTick)
		o.lookOldest(s.clock()) // from now on it is expected to tick
		s.background(func() { o.run(beats, s.stop) })
	}
	s.nextAsk.Store(s.clock() + int64(checkpointEvery))
	checks, looks := b.listen(s.nothingToCheckpoint), b.listen(s.deviceIsWell)
	s.background(func() { s.checkpointer(checks) })
	s.background(func() { s.watchdog(looks) })
	s.background(s.scrubber)
	s.background(func() { b.run(s.pulse) })
	s.pulse.start(beatEvery)
}

// Close takes a last checkpoint, within ctx, so that the next start has nothing to replay, and
// stops. Before Run there is nothing to checkpoint, and no owner that would answer.
func (s *Store) Close(ctx context.Context) error {
	var err error
	s.stopped.Do(func() {
		if s.running.Load() && s.Failed() == nil {
			s.Checkpoint(ctx)
		}
		s.halt()
		err = errors.Join(s.wal.Close(), s.chunks.Close(), s.disk.Close())
		for _, o := range s.owners {
			o.finish()
		}
	})
	return err
}

// halt ends all that runs in the background.
func (s *Store) halt() {
	close(s.stop)
	s.pulse.close()
	s.workers.Wait()
}

// Owner is the owner of a copyset's replica, present or not.
func (s *Store) Owner(copysetID uint64) *Owner {
	return s.owners[copysetID%uint64(len(s.owners))]
}

// clock is monotonic, in ns since the store was opened.
func (s *Store) clock() int64 { return int64(time.Since(s.start)) + 1 }

// clockAt is what the clock showed at a time. clock is not made of it, as it would read the wall's
// clock too.
func (s *Store) clockAt(t time.Time) int64 { return int64(t.Sub(s.start)) + 1 }

// background runs f on a goroutine that Close waits for.
func (s *Store) background(f func()) {
	s.workers.Add(1)
	go func() { defer s.workers.Done(); f() }()
}

func (s *Store) chunkID(group uint64, c copyset.Chunk) chunkfile.ID {
	return chunkfile.ID{Group: group, Volume: c.Volume, Index: c.Index}
}

// noteLeaders says that a leader may have changed, to whoever waits for such news.
func (s *Store) noteLeaders() {
	s.leaders.Add(1)
	select {
	case s.cfg.News <- struct{}{}:
	default:
	}
}

// LeaderChanges counts the changes of leader that the replicas here have seen.
func (s *Store) LeaderChanges() uint64 { return s.leaders.Load() }

// poolShare is how much of the buffer pool is in use, in percent.
func (s *Store) poolShare() int64 {
	st := s.pool.Stats()
	return st.InUseBytes * 100 / st.ArenaBytes
}

// fail stops the store for good.
func (s *Store) fail(err error) {
	s.mu.Lock()
	first := s.failure == nil && !errors.Is(err, errStopping)
	if first {
		s.failure = fmt.Errorf("%w: %s: %w", ErrFailed, s.cfg.Path, err)
	}
	s.mu.Unlock()
	if !first {
		return
	}
	s.log.Error("store stops: a write failed; replace the disk", "err", err)
	s.noteLeaders() // whoever waits for news of leaders reports this at once
	for _, o := range s.owners {
		o.queue.post(event{do: func() {
			for _, m := range o.replicas {
				m.Stop(s.Failed(), &o.fx)
			}
		}})
	}
}

// Failed is why the store stopped; nil while it serves.
func (s *Store) Failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

func (s *Store) noteBad(err error, blocks int) {
	s.corrupt.Add(uint64(blocks))
	s.log.Error("bad blocks", "blocks", blocks, "err", err)
}

// missing is the answer for a copyset without a replica here.
func (s *Store) missing(copysetID uint64) wire.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lost[copysetID]; l != nil && !l.replaced && !l.Retired {
		return wire.StatusUnavailable
	}
	return wire.StatusWrongCopyset
}
