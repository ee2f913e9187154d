package wal

import (
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// Append queues a for the next write and returns at once. The order of calls is the order in
// the log. An append without records completes once everything before it is durable.
func (l *Log) Append(a *Append) {
	l.Queue(a)
	l.start(false)
}

// Queue is Append without the start of the write, which comes with Write, or with somebody's
// Append.
func (l *Log) Queue(a *Append) {
	a.next, a.End, a.Began, a.Took = nil, 0, time.Time{}, 0
	a.extent, a.Err = measure(a.Records, l.size)
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		a.Err = ErrClosed
		go a.Done(a)
		return
	}
	l.queue.push(a)
	l.asked += a.extent.frame()
	l.mu.Unlock()
}

// Write starts the write of what is queued, if none is under way. One append that comes alone, as
// those before it did, may be durable and done when Write returns (disk.FlushHere).
func (l *Log) Write() { l.start(true) }

func (l *Log) start(here bool) {
	l.mu.Lock()
	if !l.idle || l.queue.n == 0 {
		l.mu.Unlock()
		return
	}
	l.idle = false
	if here = here && l.alone(); here {
		l.pending.take(&l.queue)
		l.stats.Alone++
	}
	l.mu.Unlock()
	if !here {
		l.wake <- struct{}{}
		return
	}
	l.writeHere()
}

// alone reports whether the one append that waits is one in a row of such, and has room without
// waiting. The lock is held.
func (l *Log) alone() bool {
	s, a := l.segs.active, l.queue.first
	return l.lone >= loneAfter && l.queue.n == 1 && a.Err == nil && a.extent.records > 0 &&
		s != nil && a.extent.frame() <= l.size-s.end
}

// writeHere is a turn on the goroutine of the caller of Write, who has taken the place of the
// log's. It ends on whichever goroutine the disk tells that the write is done.
func (l *Log) writeHere() {
	b := l.batch
	if err := l.gather(b); err != nil {
		l.leave(b, err)
		return
	}
	b.began = time.Now()
	l.op.Kind, l.op.Vec, l.op.Off, l.op.Durable = disk.Write, b.vec, b.off, true
	b.seg.file.Submit(&l.op)
	l.disk.FlushHere()
}

// wroteHere is the Done of writeHere's operation.
func (l *Log) wroteHere(op *disk.Op) {
	b, err := l.batch, op.Err
	if b.took = time.Since(b.began); err != nil {
		err = l.fail(err)
	}
	l.leave(b, err)
}

// leave ends the batch of who has taken the writer's place, and gives the place back: to the log's
// goroutine when something waits.
func (l *Log) leave(b *batch, err error) {
	l.end(b, err)
	l.mu.Lock()
	wake := l.queue.n > 0 || l.closing
	l.idle = !wake
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{}
	}
	l.after(false)
}

// run is the log's goroutine. It ends when the log is closed and nothing waits.
func (l *Log) run() {
	defer close(l.done)
	for l.await() {
		l.turn(l.batch)
	}
	l.seal()
}

// await blocks until appends wait, and moves them to pending. It returns false at the end.
func (l *Log) await() bool {
	l.mu.Lock()
	for l.pending.n == 0 && l.queue.n == 0 {
		if l.closing {
			l.mu.Unlock()
			return false
		}
		l.idle = true
		l.mu.Unlock()
		<-l.wake
		l.mu.Lock()
	}
	l.pending.take(&l.queue)
	l.mu.Unlock()
	return true
}

// turn makes one batch of what is pending, writes it and completes it.
func (l *Log) turn(b *batch) {
	err := l.gather(b)
	if err == nil && b.extent.records > 0 {
		b.began = time.Now()
		err = b.seg.file.WriteVec(b.vec, b.off, true)
		if b.took = time.Since(b.began); err != nil {
			err = l.fail(err)
		}
	}
	l.end(b, err)
	l.after(l.waiting())
}

// end completes a batch. An error ends what is pending too.
func (l *Log) end(b *batch, err error) {
	if err != nil {
		b.appends.take(&l.pending)
		l.completeFailed(b, err)
		return
	}
	l.complete(b)
}

// after has whom the batch concerns go on.
func (l *Log) after(more bool) {
	if l.afterBatch != nil {
		l.afterBatch(more)
	}
}

// waiting reports whether something is to be written. The writer asks.
func (l *Log) waiting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.n > 0 || l.pending.n > 0
}

// gather makes one batch of what is pending.
func (l *Log) gather(b *batch) error {
	b.reset()
	err := l.stopped
	if err == nil {
		err = l.fill(b)
	}
	if err == nil && b.extent.records > 0 {
		b.encode(l.layout)
	}
	return err
}

// fill moves appends from pending to b, and chooses where b goes.
func (l *Log) fill(b *batch) error {
	first := l.pending.first
	for first.next != nil && first.extent.records == 0 {
		first = first.next
	}
	room, err := l.room(b, first.extent)
	if err != nil {
		return err
	}
	for a := l.pending.first; a != nil; a = l.pending.first {
		if b.extent.records > 0 && a.extent.records > 0 && !b.extent.joins(a.extent, room) {
			break
		}
		b.extent = b.extent.plus(a.extent)
		b.asked += a.extent.frame()
		b.appends.push(l.pending.pop())
	}
	return nil
}

// room stamps b for the place of its frame, in a new segment if x does not fit in the active
// one, and returns the bytes left there.
func (l *Log) room(b *batch, x extent) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x.records == 0 {
		return 0, nil
	}
	s := l.segs.active
	if s == nil || x.frame() > l.size-s.end {
		if err := l.awaitReady(); err != nil {
			return 0, err
		}
		l.lookForRoom()
		s = l.segs.activate(l.epoch, l.head)
		b.fresh = true
		l.stats.Rotations++
		l.kickPreparer()
	}
	b.seg = s
	b.frame = frameHeader{
		stamp:     s.hdr.stamp,
		at:        l.lsn(s.hdr.seq, s.end),
		watermark: l.head,
		tail:      l.segs.tail,
		prevEnd:   s.hdr.prevEnd,
	}
	return l.size - s.end, nil
}

// lookForRoom asks the device, with the lock held, whether there is room for the segment that the
// preparer will have to make once the next is begun. The preparer finds out itself, but those who
// write may have used up what is ready by then.
func (l *Log) lookForRoom() {
	if len(l.segs.ready) > l.segs.prepared {
		return
	}
	l.mu.Unlock()
	_, free, err := l.disk.Space()
	l.mu.Lock()
	if err == nil && free < l.size {
		l.full.Store(true)
	}
}

// complete publishes a durable batch, then tells its appends in order.
func (l *Log) complete(b *batch) {
	l.mu.Lock()
	l.asked -= b.asked
	if b.extent.records > 0 {
		b.seg.end = l.off(b.frame.at) + b.frame.bytes()
		l.head = b.frame.at + LSN(b.frame.bytes())
		l.count(b)
		if l.entered() {
			l.kickPreparer()
		}
		if b.frame.tail > l.segs.durableTail {
			l.segs.durableTail = b.frame.tail
			l.recycleLocked()
		}
	}
	l.stats.Appends += uint64(b.appends.n)
	if l.lone++; b.appends.n > 1 {
		l.lone = 0
	}
	end := l.head
	l.mu.Unlock()
	for b.appends.n > 0 {
		a := b.appends.pop()
		if a.Err == nil && len(a.Records) == 0 {
			a.End = end
		}
		a.Began, a.Took = b.began, b.took
		a.Done(a)
	}
}

// completeFailed tells every append of b that the log has stopped. Appends that were refused
// for themselves keep their own error.
func (l *Log) completeFailed(b *batch, err error) {
	for b.appends.n > 0 {
		a := b.appends.pop()
		if a.Err == nil {
			a.Err = err
		}
		a.Done(a)
	}
}

// fail stops the log for good: after a failed durable write nobody knows what the device
// holds, and a retry may report success for bytes it has dropped.
func (l *Log) fail(cause error) error {
	err := fmt.Errorf("%w: %w", ErrFailed, cause)
	l.stopped = err
	l.mu.Lock()
	l.failed = err
	l.mu.Unlock()
	l.logger.Error("wal: stopped after a failed write: replace the disk, or restart the "+
		"store once it is sound", "dir", l.dir, "err", cause)
	return err
}

// awaitReady blocks until a segment is ready, with the lock held. In normal running one is.
// On a full device it waits for Release, whose effect it must make durable itself, for no
// frame can be written to carry it.
func (l *Log) awaitReady() error {
	for first := true; len(l.segs.ready) == 0; first = false {
		if first {
			l.stats.Starved++
			l.logger.Warn("wal: waits for a free segment", "dir", l.dir)
		}
		switch {
		case l.closing:
			return fmt.Errorf("%w: no segment was free to write to", ErrClosed)
		case l.segs.tail > l.segs.durableTail && l.segs.newest() != nil:
			if err := l.writeHeaderLocked(); err != nil {
				return err
			}
			continue
		case l.prepareErr != nil:
			cause := l.prepareErr
			l.mu.Unlock()
			err := l.fail(cause)
			l.mu.Lock()
			return err
		}
		l.kickPreparer()
		l.mu.Unlock()
		<-l.readyCh
		l.mu.Lock()
	}
	return nil
}

// writeHeaderLocked makes tail and watermark durable in the newest segment's header.
func (l *Log) writeHeaderLocked() error {
	s, tail := l.segs.newest(), l.segs.tail
	s.hdr.tail, s.hdr.watermark = tail, l.head
	hdr := s.hdr
	l.mu.Unlock()
	block := l.batch.front[:BlockSize]
	hdr.put(block)
	err := s.file.WriteVec([][]byte{block}, 0, true)
	if err != nil {
		err = l.fail(err)
	}
	l.mu.Lock()
	if err != nil {
		return err
	}
	l.stats.HeaderWrites++
	l.stats.WriteBytes += BlockSize
	l.segs.durableTail = max(l.segs.durableTail, tail)
	l.recycleLocked()
	return nil
}

// seal records at a clean end how far the log is durable, so that the next recovery can tell
// damage to the last frame from an interrupted write.
func (l *Log) seal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped != nil || l.segs.active == nil {
		return
	}
	if err := l.writeHeaderLocked(); err != nil {
		l.closeErr = err
	}
}
