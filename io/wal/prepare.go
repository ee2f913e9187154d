package wal

import (
	"errors"
	"fmt"
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

// prepareAll does what there is to do, until nothing is left or something fails.
func (l *Log) prepareAll() error {
	for {
		l.mu.Lock()
		var surplus *segment
		if n := len(l.segs.surplus); n > 0 {
			surplus = l.segs.surplus[n-1]
			l.segs.surplus = l.segs.surplus[:n-1]
		}
		create := len(l.segs.ready) < l.segs.prepared && !l.closing && l.failed == nil
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
	if err != nil {
		l.logger.Warn("wal: cannot prepare a segment", "file", name, "err", err)
		if !errors.Is(err, disk.ErrNoSpace) {
			l.prepareErr = fmt.Errorf("wal: prepare %s: %w", name, err)
			signal(l.readyCh)
		}
		return err
	}
	l.prepareErr = nil
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
