package engine

import (
	"math/bits"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/io/uring"
	"github.com/ashlar-storage/ashlar/perf/load"
)

const (
	byeData    = ^uint64(0) // of the operation that ends the reaper
	retryEvery = 100 * time.Microsecond
	retries    = 10_000
)

// ring is a file behind an io_uring. One goroutine takes completions; what those submit goes to the
// kernel together, when all of them have been taken.
type ring struct {
	*file
	fd   int
	done chan struct{} // the reaper has ended

	mu      sync.Mutex
	u       *uring.Ring
	table   []*load.Op // by user data
	queued  []*load.Op // not yet taken by the kernel
	reaping bool
}

// place is where an operation is in the table, for its whole life.
type place int

func newRing(f *file, depth int) (*ring, error) {
	n := uint32(1) << bits.Len(uint(depth+1))
	u, err := uring.Setup(uring.Config{Entries: n})
	if err != nil {
		return nil, err
	}
	r := &ring{file: f, fd: int(f.f.Fd()), u: u, done: make(chan struct{})}
	go r.reap()
	return r, nil
}

// Submit implements load.Engine.
func (r *ring) Submit(op *load.Op) {
	r.mu.Lock()
	at, known := op.Engine.(place)
	if !known {
		at = place(len(r.table))
		r.table = append(r.table, op)
		op.Engine = at
	}
	e := r.u.Next() // there is one: the queue is as large as the depth
	switch op.Kind {
	case load.Read:
		e.Read(r.fd, uring.Vec(op.Data), op.Off)
	case load.Write:
		e.Write(r.fd, uring.Vec(op.Data), op.Off, 0)
	case load.Sync:
		e.Datasync(r.fd)
	}
	e.UserData = uint64(at)
	r.queued = append(r.queued, op)
	var failed []*load.Op
	if !r.reaping {
		failed = r.flush()
	}
	r.mu.Unlock()
	complete(failed)
}

// flush gives the kernel what is queued; what it does not take, with Err set, is the caller's to
// complete. r.mu is held.
func (r *ring) flush() (failed []*load.Op) {
	var err error
	for range retries {
		n := 0
		n, err = r.u.Submit()
		r.queued = append(r.queued[:0], r.queued[min(n, len(r.queued)):]...)
		if err != unix.EAGAIN && err != unix.EBUSY {
			break
		}
		time.Sleep(retryEvery)
	}
	if err == nil {
		return nil
	}
	r.u.Discard()
	failed = append(failed, r.queued...)
	r.queued = r.queued[:0]
	for _, op := range failed {
		op.Err = err
	}
	return failed
}

func complete(ops []*load.Op) {
	for _, op := range ops {
		op.Done(op)
	}
}

func (r *ring) reap() {
	defer close(r.done)
	var cqes [128]uring.CQE
	for {
		n := r.u.Reap(cqes[:])
		if n == 0 {
			if err := r.u.Wait(); err != nil {
				time.Sleep(retryEvery)
			}
			continue
		}
		r.mu.Lock()
		r.reaping = true
		r.mu.Unlock()
		bye := false
		for _, c := range cqes[:n] {
			if c.UserData == byeData {
				bye = true
				continue
			}
			r.finish(c)
		}
		r.mu.Lock()
		r.reaping = false
		failed := r.flush()
		r.mu.Unlock()
		complete(failed)
		if bye {
			return
		}
	}
}

func (r *ring) finish(c uring.CQE) {
	r.mu.Lock()
	op := r.table[c.UserData]
	r.mu.Unlock()
	n, err := int(c.Res), error(nil)
	if n < 0 {
		n, err = 0, unix.Errno(-c.Res)
	}
	if op.Kind == load.Sync {
		n = len(op.Data)
	}
	op.Err = outcome(op, n, err)
	op.Done(op)
}

// Close implements Target.
func (r *ring) Close() error {
	r.mu.Lock()
	e := r.u.Next()
	e.Nop()
	e.UserData = byeData
	_, err := r.u.Submit()
	r.mu.Unlock()
	if err != nil {
		return err
	}
	<-r.done
	if err := r.u.Close(); err != nil {
		return err
	}
	return r.file.Close()
}
