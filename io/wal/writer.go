package wal

import (
	"fmt"
	"time"
)

// Append queues a for the next write and returns at once. The order of calls is the order in
// the log. An append without records completes once everything before it is durable.
func (l *Log) Append(a *Append) {
	a.next, a.End = nil, 0
	a.extent, a.Err = measure(a.Records, l.size)
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		a.Err = ErrClosed
		go a.Done(a)
		return
	}
	l.queue.push(a)
	wake := l.idle
	l.idle = false
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{}
	}
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
	b.reset()
	err := l.stopped
	if err == nil {
		err = l.fill(b)
	}
	if err == nil && b.extent.records > 0 {
		b.encode(l.layout)
		began := time.Now()
		err = b.seg.file.WriteVec(b.vec, b.off, true)
		if b.took = time.Since(began); err != nil {
			err = l.fail(err)
		}
	}
	if err != nil {
		b.appends.take(&l.pending)
		l.completeFailed(b, err)
		return
	}
	l.complete(b)
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

// complete publishes a durable batch, then tells its appends in order.
func (l *Log) complete(b *batch) {
	l.mu.Lock()
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
	end := l.head
	l.mu.Unlock()
	for b.appends.n > 0 {
		a := b.appends.pop()
		if a.Err == nil && len(a.Records) == 0 {
			a.End = end
		}
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
