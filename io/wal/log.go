package wal

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// Log is an open log. All methods may be called from any goroutine.
type Log struct {
	layout
	disk   disk.Disk
	dir    string
	logger *slog.Logger
	epoch  uint64
	// afterBatch is Config.AfterBatch.
	afterBatch func(more bool)

	mu       sync.Mutex
	queue    queue // appends the log's goroutine has not taken yet
	idle     bool  // the log's goroutine waits on wake
	closing  bool
	failed   error
	head     LSN // everything below is durable
	segs     segments
	nextSlot int
	stats    Stats
	lone     int // batches in a row that were one append
	marked   LSN // up to where log.id, or a header before the newest segment, says it goes
	// prepareErr is why no segment can be made ready, other than a full device.
	prepareErr error
	asked      int64 // bytes of the frames of appends that are not durable yet

	full atomic.Bool // Room.Full

	wake    chan struct{} // appends wait; sent once for each time idle was set
	readyCh chan struct{} // a segment became ready, or the log closes
	kick    chan struct{} // the preparer has something to do
	stop    chan struct{}
	done    chan struct{}
	// prepareDone is closed when the preparer has ended.
	prepareDone chan struct{}
	closeOnce   sync.Once
	closeErr    error

	// Of the writer alone: the log's goroutine, or who has taken its place while idle was set.
	pending queue
	batch   *batch
	op      disk.Op // of writeHere
	stopped error   // failed
}

// ReadPayload reads len(p) bytes of payload at a record's At, or at whole blocks after it. p is
// whole blocks, aligned. The caller verifies the checksums. ErrReleased when the segment is
// gone; Pin keeps it.
func (l *Log) ReadPayload(at LSN, p []byte) error {
	off := l.off(at)
	if off%BlockSize != 0 || len(p)%BlockSize != 0 || len(p) > 0 && !aligned(p) {
		return fmt.Errorf("%w: ReadPayload of %d bytes at %d: whole aligned blocks only",
			ErrInvalid, len(p), at)
	}
	l.mu.Lock()
	s := l.segs.find(at)
	if s == nil || off < BlockSize || off+int64(len(p)) > s.end {
		l.mu.Unlock()
		return fmt.Errorf("%w: %d bytes at %d", ErrReleased, len(p), at)
	}
	if l.closing {
		l.mu.Unlock()
		return ErrClosed
	}
	s.pins++
	l.mu.Unlock()
	defer l.unpin(s)
	if _, err := s.file.ReadAt(p, off); err != nil {
		return fmt.Errorf("wal: read payload: %w", err)
	}
	return nil
}

// Pin keeps the segment that holds at from being recycled until release is called, once. A
// position that is not in the log is not pinned: reading there fails with ErrReleased.
func (l *Log) Pin(at LSN) (release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.segs.find(at)
	if s == nil {
		return func() {}
	}
	s.pins++
	var once sync.Once
	return func() { once.Do(func() { l.unpin(s) }) }
}

func (l *Log) unpin(s *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.pins--
	if s.pins == 0 {
		l.recycleLocked()
	}
}

// Release tells that no record before the position is needed any more. Segments that end at or
// before it are recycled, except pinned ones. It takes effect on the disk with the next write:
// after a crash before that, the records are replayed once more.
func (l *Log) Release(before LSN) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if before <= l.segs.released {
		return
	}
	l.segs.released = min(before, l.head)
	l.segs.advanceTail()
	signal(l.readyCh)
}

// ForgetUnreadable lets the files go that recovery could not read at all. Until they are gone, each
// opening reports them anew, as damage at an unknown place. The caller has noted, durably, what
// they may have cost.
func (l *Log) ForgetUnreadable() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segs.surplus = append(l.segs.surplus, l.segs.lost...)
	l.segs.lost = nil
	l.kickPreparer()
}

// Head returns the position after the last durable record.
func (l *Log) Head() LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.head, l.segs.tail)
}

// Durable returns the position after the last frame that was made durable. It never falls, over the
// log's whole life: a later Open finds an End there or beyond.
func (l *Log) Durable() LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// Tail returns the position from which recovery would replay: the start of a segment.
func (l *Log) Tail() LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segs.tail
}

// Usage returns the bytes between tail and head that hold records.
func (l *Log) Usage() (live int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segs.usage()
}

// Room is what the log holds and may still take.
type Room struct {
	Used int64 // as Usage tells
	// Held is what of Used lies before Begin, where the newest segment does: of the rest nothing
	// can be given back until the log goes on in another.
	Held  int64
	Begin LSN
	// Left is what the segment files that exist still take, beyond what was appended. The log may
	// leave less than the largest append of it unused in each.
	Left int64
	// Full: the device has no room for another file, as far as the log last wanted to know. Once
	// Left is used up appends wait for Release, and so do those without which none would come.
	Full bool
}

// Room tells how much the log may still take.
func (l *Log) Room() Room {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Room{Used: l.segs.usage(), Held: l.segs.held(), Begin: l.segs.begin(),
		Left: l.segs.left() - l.asked, Full: l.full.Load()}
}

// Full is Room().Full, at no cost.
func (l *Log) Full() bool { return l.full.Load() }

// Failed returns the reason of fail-stop, of class ErrFailed, or nil.
func (l *Log) Failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// Close completes what was appended, then stops the log. Appends that still wait for a free
// segment complete with ErrClosed, as do all later ones.
func (l *Log) Close() error {
	l.closeOnce.Do(l.close)
	return l.closeErr
}

func (l *Log) close() {
	l.mu.Lock()
	l.closing = true
	wake := l.idle
	l.idle = false
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{}
	}
	signal(l.readyCh)
	<-l.done
	close(l.stop)
	<-l.prepareDone
	l.markEnd()
	for _, s := range l.segs.files() {
		if err := s.file.Close(); err != nil && l.closeErr == nil {
			l.closeErr = fmt.Errorf("wal: close %s: %w", s.name, err)
		}
	}
}
