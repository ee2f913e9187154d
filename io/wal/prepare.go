package wal

import (
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// prepareRetry is how long the preparer waits after a failure, unless it is woken.
const prepareRetry = time.Second

// kickPreparer wakes the preparer. It never blocks.
func (l *Log) kickPreparer() { signal(l.kick) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// recycleLocked makes released segments ready and tells those who wait for it.
func (l *Log) recycleLocked() {
	n := l.segs.recycle()
	if n == 0 {
		return
	}
	l.stats.Recycled += uint64(n)
	signal(l.readyCh)
	if len(l.segs.surplus) > 0 {
		l.kickPreparer()
	}
}

// prepare is the preparer's goroutine: it keeps segments ready, so that the log never waits
// for one to be written with zeroes, and removes surplus ones.
func (l *Log) prepare() {
	defer close(l.prepareDone)
	retry := time.NewTimer(prepareRetry)
	defer retry.Stop()
	for {
		if err := l.prepareAll(); err != nil {
			retry.Reset(prepareRetry)
		} else {
			retry.Stop()
		}
		select {
		case <-l.stop:
			return
		case <-l.kick:
		case <-retry.C:
		}
	}
}

// prepareAll does what there is to do. A full device, on which no segment can be made, does not
// keep the newest one from being told of.
func (l *Log) prepareAll() error {
	return errors.Join(l.keepReady(), l.tell())
}

// keepReady removes surplus segments and makes ready ones, until nothing is left to do or something
// fails.
func (l *Log) keepReady() error {
	for {
		l.mu.Lock()
		var surplus *segment
		if n := len(l.segs.surplus); n > 0 {
			surplus = l.segs.surplus[n-1]
			l.segs.surplus = l.segs.surplus[:n-1]
		}
		create := len(l.segs.ready) < l.segs.prepared && l.goesOn()
		l.mu.Unlock()
		var err error
		switch {
		case surplus != nil:
			err = l.removeSegment(surplus)
		case create:
			err = l.createSegment()
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// tell makes the newest segment known beside itself, if the log has entered it.
func (l *Log) tell() error {
	l.mu.Lock()
	due, head := l.entered() && l.goesOn(), l.head
	l.mu.Unlock()
	if !due {
		return nil
	}
	return l.markEntered(head)
}

// goesOn tells, with the lock held, that there will be more writes.
func (l *Log) goesOn() bool { return !l.closing && l.failed == nil }

// entered tells, with the lock held, that nothing but itself tells yet of the segment in which the
// log now ends.
func (l *Log) entered() bool { return l.head > 0 && l.head-1 >= l.nextMark() }

// nextMark is the end of the newest segment that is told of.
func (l *Log) nextMark() LSN {
	if l.marked == 0 {
		return 0
	}
	return l.lsn(l.seq(l.marked-1)+1, 0)
}

// markEntered has the segment before the newest one say that the log goes on behind it, so that
// the newest is missed when it is gone. Its header is overwritten in place: a write of one block,
// and no metadata of the file system, as it takes place while clients write. Without such a segment
// log.id says it.
func (l *Log) markEntered(head LSN) error {
	l.mu.Lock()
	s := l.segs.previous()
	if s == nil {
		l.mu.Unlock()
		return l.writeIdentity(head)
	}
	s.pins++ // it must not be used anew under the write
	s.hdr.watermark = head
	hdr := s.hdr
	l.mu.Unlock()
	defer l.unpin(s)
	block := alignedBytes(BlockSize)
	hdr.put(block)
	if err := s.file.WriteVec([][]byte{block}, 0, true); err != nil {
		return fmt.Errorf("wal: write header of %s: %w", s.name, err)
	}
	l.mu.Lock()
	l.marked = head
	l.stats.HeaderWrites++
	l.stats.WriteBytes += BlockSize
	l.mu.Unlock()
	return nil
}

// writeIdentity makes log.id say that everything below head is durable, which it is.
func (l *Log) writeIdentity(head LSN) error {
	id := identity{store: l.store, epoch: l.epoch, size: l.size, watermark: head}
	name := path.Join(l.dir, identityName)
	if err := l.disk.WriteFile(name, id.encode()); err != nil {
		l.logger.Warn("wal: cannot write the identity", "file", name, "err", err)
		return fmt.Errorf("wal: write %s: %w", name, err)
	}
	l.mu.Lock()
	l.marked = head
	l.mu.Unlock()
	return nil
}

// markEnd records a clean end beside the segments, so that the next recovery misses the newest
// of them when it is gone. On a full device log.id stays as it is: it then tells of fewer.
func (l *Log) markEnd() {
	l.mu.Lock()
	head, due := l.head, l.failed == nil && l.closeErr == nil && l.head > l.marked
	l.mu.Unlock()
	if !due {
		return
	}
	if err := l.writeIdentity(head); !errors.Is(err, disk.ErrNoSpace) {
		l.closeErr = err
	}
}

// createSegment adds one segment file to the ready ones. A full device is the log's to wait
// out; any other error stops the log if it comes to need the segment.
func (l *Log) createSegment() error {
	l.mu.Lock()
	name := segmentName(l.dir, l.nextSlot)
	l.nextSlot++
	l.mu.Unlock()
	f, err := l.disk.Create(name, l.size)
	l.mu.Lock()
	defer l.mu.Unlock()
	full := errors.Is(err, disk.ErrNoSpace)
	if err != nil {
		if !full || !l.full.Load() { // a full device is asked again and again
			l.logger.Warn("wal: cannot prepare a segment", "file", name, "err", err)
		}
		l.full.Store(full)
		if !full {
			l.prepareErr = fmt.Errorf("wal: prepare %s: %w", name, err)
			signal(l.readyCh)
		}
		return err
	}
	l.prepareErr = nil
	l.full.Store(false)
	l.stats.Created++
	l.segs.ready = append(l.segs.ready, &segment{name: name, file: f})
	signal(l.readyCh)
	return nil
}

func (l *Log) removeSegment(s *segment) error {
	err := s.file.Close()
	if err == nil {
		err = l.disk.Remove(s.name)
	}
	if err != nil {
		l.logger.Warn("wal: cannot remove a surplus segment", "file", s.name, "err", err)
		return err
	}
	l.mu.Lock()
	l.stats.Removed++
	l.mu.Unlock()
	return nil
}

func segmentName(dir string, slot int) string {
	return fmt.Sprintf("%s/%08d%s", dir, slot, segmentExt)
}
