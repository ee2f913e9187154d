package disk

import "sync"

// workers runs submitted operations on goroutines, where there is no io_uring. They start as
// needed, up to maxWorkers, and end when the engine stops.
type workers struct {
	disk *fdDisk
	mu   sync.Mutex
	work sync.Cond
	wg   sync.WaitGroup

	queued  opList // submitted, not flushed
	ready   opList // flushed
	count   int
	idle    int
	stopped bool
}

func newWorkers(d *fdDisk) *workers {
	w := &workers{disk: d}
	w.work.L = &w.mu
	return w
}

func (w *workers) name() string { return "workers" }

// submit never rejects: operations wait in memory of their callers.
func (w *workers) submit(op *Op) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queued.push(op)
}

func (w *workers) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.queued.len
	if n == 0 {
		return
	}
	w.disk.count.submits.Add(1)
	w.disk.count.submitted.Add(uint64(n))
	w.ready.take(&w.queued)
	for w.count < maxWorkers && w.idle < w.ready.len {
		w.count++
		w.idle++
		w.wg.Go(w.run)
	}
	if n == 1 {
		w.work.Signal()
	} else {
		w.work.Broadcast()
	}
}

// flushHere has nothing to spare: a worker is another goroutine in any case.
func (w *workers) flushHere() { w.flush() }

// stop ends the goroutines. Nothing is in flight.
func (w *workers) stop() {
	w.mu.Lock()
	w.stopped = true
	w.work.Broadcast()
	w.mu.Unlock()
	w.wg.Wait()
}

// run is one worker; it counts as idle when it starts.
func (w *workers) run() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for w.ready.len == 0 && !w.stopped {
			w.work.Wait()
		}
		op := w.ready.pop()
		if op == nil {
			return
		}
		w.idle--
		w.mu.Unlock()
		op.File.(*fdFile).runOp(op)
		w.disk.afterBatch()
		w.mu.Lock()
		w.idle++
	}
}

// runOp runs an operation on the calling goroutine.
func (f *fdFile) runOp(op *Op) {
	var n int
	var err error
	switch {
	case op.Err != nil:
	case op.Kind == Sync:
		err = fdatasync(f.fd)
	default:
		n, err = f.move(op.Kind, op.state.iov, op.Off, op.Durable && op.Kind == Write)
	}
	f.finish(op, n, err)
}

// opList is a queue of operations, linked through them.
type opList struct {
	head, tail *Op
	len        int
}

func (l *opList) push(op *Op) {
	op.state.next = nil
	if l.tail == nil {
		l.head = op
	} else {
		l.tail.state.next = op
	}
	l.tail = op
	l.len++
}

func (l *opList) pop() *Op {
	op := l.head
	if op == nil {
		return nil
	}
	l.head = op.state.next
	if l.head == nil {
		l.tail = nil
	}
	op.state.next = nil
	l.len--
	return op
}

// take moves all of from to the end of l.
func (l *opList) take(from *opList) {
	if from.len == 0 {
		return
	}
	if l.tail == nil {
		l.head = from.head
	} else {
		l.tail.state.next = from.head
	}
	l.tail = from.tail
	l.len += from.len
	*from = opList{}
}
