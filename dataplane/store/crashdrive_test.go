package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// A lone store has one copyset with this replica as its only member, so that it serves by itself.
// It is small, so that crash states are few and quick: three chunks of eight blocks, log segments
// that a handful of writes fills. Everything of it is the store that nodes run; only the owner's
// goroutine and the checkpointer are not started: the test takes the owner's turns, and no clock
// is waited for.
const (
	loneID      = 1
	loneChunks  = 3
	loneBlocks  = 8
	loneSegment = 32 << 10
	loneLog     = 256 << 10
)

type lone struct {
	sim   *disk.Sim
	pool  *buf.Pool
	store *Store
}

// deaf is the host of a lone store: there is nobody to send to.
type deaf struct{}

func (deaf) Send(_ *Owner, _ *Store, _ copyset.Peer, m copyset.Message) { m.Release() }
func (deaf) FlushMessages(*Owner)                                       {}
func (deaf) FlushReplies(*Owner)                                        {}

func (deaf) PeerChunks(copyset.Peer, uint64, uint64) ([]copyset.ListedChunk, error) {
	return nil, errDown
}

func (deaf) PeerBlocks(copyset.Peer, uint64, copyset.PeerRead) (copyset.Payload, []uint32,
	error) {
	return copyset.Payload{}, nil, errDown
}

func (deaf) PeerSums(copyset.Peer, uint64, copyset.PeerRead) ([]uint32, error) {
	return nil, errDown
}

// Reply notes the answer where the request's sender waits for it.
func (deaf) Reply(_ *Owner, rep *copyset.Reply) {
	a := rep.Request.Tag.(*answer)
	a.status, a.given = rep.Status, true
	for _, p := range rep.Body {
		a.body = append(a.body, p...)
	}
	a.crcs = slices.Clone(rep.CRCs)
	rep.Free()
}

type answer struct {
	given  bool
	status wire.Status
	body   []byte
	crcs   []uint32
}

// openLone opens the store on a disk. Writes of place bytes and more are placed; 0: none is.
func openLone(sim *disk.Sim, pool *buf.Pool, place int) (*lone, error) {
	s, err := Open(Config{Disk: sim, Path: "lone", Pool: pool, Host: deaf{},
		ChunkSize: loneBlocks * block, SegmentSize: loneSegment, LogBytes: loneLog,
		ReserveChunks: -1, Owners: 1, PlaceBytes: int64(place),
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	return &lone{sim: sim, pool: pool, store: s}, nil
}

// turn is one turn of the owner.
func (l *lone) turn() {
	o := l.store.owners[0]
	o.mu.Lock()
	o.turn(false)
	o.mu.Unlock()
}

var (
	errSilent    = errors.New("the store does not get there")
	errNoReplica = errors.New("there is no replica")
)

// drive takes turns until a condition holds.
func (l *lone) drive(until func() bool) error {
	o := l.store.owners[0]
	for {
		l.turn()
		switch {
		case until():
			return nil
		case l.store.Failed() != nil:
			return l.store.Failed()
		case o.queue.waiting():
			continue
		}
		select {
		case <-o.queue.wake:
		case <-time.After(20 * time.Second):
			return errSilent
		}
	}
}

// aside begins something of the store that asks its owner and waits; end drives until it is over.
func (l *lone) aside(f func()) (end func() error) {
	var over atomic.Bool
	go func() {
		f()
		over.Store(true)
		l.store.owners[0].queue.kick()
	}()
	return func() error { return l.drive(over.Load) }
}

// lead makes the replica lead. A replica that restarted takes part in no election for a while,
// because of what it may have promised; here that while is over at once.
func (l *lone) lead() error {
	for id, lost := range l.store.lost {
		return fmt.Errorf("copyset %d does not start: %w", id, lost.err)
	}
	for _, d := range l.store.chunks.Damage() {
		if d.Fatal {
			return fmt.Errorf("damage: %w", d.Err)
		}
	}
	o := l.store.owners[0]
	m := o.replicas[loneID]
	if m == nil {
		return errNoReplica
	}
	l.store.start = l.store.start.Add(-time.Second)
	o.mu.Lock()
	m.Tick(l.store.clock())
	m.Campaign()
	o.touch(m)
	o.mu.Unlock()
	return l.drive(func() bool { return m.Status().Serving })
}

// found makes the replica of a new store.
func (l *lone) found() error {
	var err error
	end := l.aside(func() { err = l.store.Ensure(loneState(), false) })
	if e := end(); e != nil {
		return e
	}
	if err != nil {
		return err
	}
	return l.lead()
}

// ask does one request and returns its answer.
func (l *lone) ask(q copyset.Request, data []byte) (answer, error) {
	a := new(answer)
	q.Tag = a
	if data != nil {
		b, err := l.pool.Get(len(data))
		if err != nil {
			return answer{}, err
		}
		copy(b.Bytes(), data)
		q.Payload, q.CRCs = copyset.NewPayload(b), wire.ChecksumPieces(nil, q.Offset, data)
	}
	l.store.owners[0].Submit(loneID, &q)
	err := l.drive(func() bool { return a.given })
	return *a, err
}

// perform does an operation and expects that it is acknowledged.
func (l *lone) perform(op *operation) error {
	q := copyset.Request{Kind: copyset.KindWrite, Chunk: copyset.Chunk{Volume: 1, Index: op.chunk},
		Offset: op.offset, Length: op.length, Session: 1, Epoch: 1, OpID: op.id,
		LowWater: op.lowWater}
	if op.data == nil {
		q.Kind = copyset.KindZero
	}
	a, err := l.ask(q, op.data)
	if err == nil && a.status != wire.StatusOK {
		err = fmt.Errorf("answered %v", a.status)
	}
	return err
}

// look reads everything. Each block must be that of one of two images; found says which.
func (l *lone) look(was, will *image) (found image, err error) {
	for c := range uint64(loneChunks) {
		a, err := l.ask(copyset.Request{Kind: copyset.KindRead, Length: loneBlocks * block,
			Chunk: copyset.Chunk{Volume: 1, Index: c}}, nil)
		if err == nil && a.status != wire.StatusOK {
			err = fmt.Errorf("answered %v", a.status)
		}
		if err == nil {
			err = wire.VerifyPieces(a.crcs, 0, a.body)
		}
		if err != nil {
			return found, fmt.Errorf("read of chunk %d: %w", c, err)
		}
		for b := range loneBlocks {
			at, got := int(c)*loneBlocks+b, a.body[b*block:][:block]
			switch {
			case bytes.Equal(got, was[at].bytes()):
				found[at] = was[at]
			case bytes.Equal(got, will[at].bytes()):
				found[at] = will[at]
			default:
				return found, fmt.Errorf("chunk %d block %d is %s; acknowledged %s, under way %s",
					c, b, words(got), words(was[at].bytes()), words(will[at].bytes()))
			}
		}
	}
	return found, nil
}

// checkpoint takes one, as the checkpointer would. meanwhile, if any, happens once it has begun.
func (l *lone) checkpoint(meanwhile func() error) error {
	end := l.aside(func() { l.store.Checkpoint(context.Background()) })
	m := l.store.owners[0].replicas[loneID]
	var err error
	if meanwhile != nil {
		if err = l.drive(m.Checkpointing); err == nil {
			err = meanwhile()
		}
	}
	return errors.Join(err, end())
}

// flush has the replica write everything to the chunk files, as it does when memory runs short or
// nothing has happened for a while.
func (l *lone) flush() error {
	o := l.store.owners[0]
	m := o.replicas[loneID]
	press := func(memory copyset.Memory) {
		o.mu.Lock()
		defer o.mu.Unlock()
		m.SetMemory(memory)
		o.touch(m)
	}
	press(copyset.MemoryShort)
	defer press(copyset.MemoryAmple)
	return l.drive(func() bool { return m.Status().OverlayBlocks == 0 })
}

// leave gives the memory back of a store whose machine lost its power. What it still writes goes
// to a disk that nobody looks at any more.
func (l *lone) leave() {
	s, o := l.store, l.store.owners[0]
	s.stopped.Do(func() {
		o.locked(o.shutdown)
		close(o.stopped)
		s.halt()
		_ = errors.Join(s.wal.Close(), s.chunks.Close(), s.disk.Close())
		o.finish()
	})
}
