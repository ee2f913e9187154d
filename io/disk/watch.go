package disk

import (
	"sync/atomic"
	"time"
)

// Watched is a disk whose operations are timed while they are under way, to notice a device that
// answers late or not at all. Only what a client may wait for counts: reads and durable writes.
// A sync of many blocks, or the zeroing of a new file, takes as long as it takes.
//
// An operation costs one reading of the clock and two additions. Its age is known to within
// watchGrain; when one that was stuck for longer than a lap of the marks ends, another may
// inherit its age until it ends itself.
type Watched struct {
	Disk
	began time.Time
	marks [watchMarks]mark
}

// mark counts the operations that began within one grain of time.
type mark struct {
	count atomic.Int64
	since atomic.Int64 // ns since Watched.began, of the first of them
}

// opWatch is what a Watched keeps in an operation while it is under way.
type opWatch struct {
	done func(*Op)
	mark *mark
	file *watchedFile
}

// Watch wraps a disk, which it closes in its Close.
func Watch(d Disk) *Watched { return &Watched{Disk: d, began: time.Now()} }

// Oldest is for how long the oldest operation that is under way has been.
func (w *Watched) Oldest() time.Duration {
	now := int64(time.Since(w.began))
	oldest := now
	for i := range w.marks {
		if m := &w.marks[i]; m.count.Load() > 0 {
			oldest = min(oldest, m.since.Load())
		}
	}
	return time.Duration(now - oldest)
}

func (w *Watched) enter() *mark {
	now := int64(time.Since(w.began))
	m := &w.marks[now/int64(watchGrain)%watchMarks]
	if m.count.Load() == 0 {
		m.since.Store(now)
	}
	m.count.Add(1)
	return m
}

func (m *mark) leave() { m.count.Add(-1) }

// Open implements Disk.
func (w *Watched) Open(name string) (File, error) { return w.wrap(w.Disk.Open(name)) }

// Create implements Disk.
func (w *Watched) Create(name string, size int64) (File, error) {
	return w.wrap(w.Disk.Create(name, size))
}

func (w *Watched) wrap(f File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &watchedFile{File: f, watch: w, done: finishWatched}, nil
}

// watchedFile is an open file of a Watched.
type watchedFile struct {
	File
	watch *Watched
	done  func(*Op) // finishWatched; kept as a value, so that Submit allocates none
}

// ReadAt implements File.
func (f *watchedFile) ReadAt(p []byte, off int64) (int, error) {
	defer f.watch.enter().leave()
	return f.File.ReadAt(p, off)
}

// WriteVec implements File.
func (f *watchedFile) WriteVec(vec [][]byte, off int64, durable bool) error {
	if durable {
		defer f.watch.enter().leave()
	}
	return f.File.WriteVec(vec, off, durable)
}

// Submit implements File.
func (f *watchedFile) Submit(op *Op) {
	if op.Kind != Read && !op.Durable {
		f.File.Submit(op)
		return
	}
	op.watch = opWatch{done: op.Done, mark: f.watch.enter(), file: f}
	op.Done = f.done
	f.File.Submit(op)
}

func finishWatched(op *Op) {
	w := op.watch
	op.watch = opWatch{}
	op.Done, op.File = w.done, w.file
	w.mark.leave()
	op.Done(op)
}
