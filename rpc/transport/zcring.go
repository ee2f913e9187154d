package transport

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/io/uring"
)

// zcRing carries the zero-copy sends of many connections.
//
//	send ---submit---> kernel ---completion---> run ---> onSent     bytes taken
//	                          ---completion---> run ---> onNotified memory let go
//
// A send holds a slot from its submission to the completion that has no further one, so that there
// are never more completions than the queue has room for. Without a free slot send refuses, and the
// batch leaves by plain writes.
type zcRing struct {
	ring  *uring.Ring
	ended sync.WaitGroup
	idle  chan struct{} // closed when the last send of a ring that ends is over

	mu     sync.Mutex // the submission side of ring, and what follows
	slots  [zcSlots]*zcSend
	free   []uint32
	ending bool
}

// zcOwner is a connection. The calls for one send come one after another, from the ring's
// goroutine; without more there is no second.
type zcOwner interface {
	onSent(q *outQueue, res int32, more bool)
	onNotified(q *outQueue, copied bool)
}

// zcSend is what the kernel reads from: the message until onSent, the bytes until onNotified.
type zcSend struct {
	msg   unix.Msghdr
	iov   []unix.Iovec
	queue *outQueue // keeps the bytes reachable
	owner zcOwner
}

var (
	errZCFull = errors.New("transport: too many zero-copy sends under way")
	zcSends   = sync.Pool{New: func() any { return new(zcSend) }}
)

// zcStop is the user data of the operation that ends run.
const zcStop = zcSlots

// newZCRing starts a ring; uring.ErrUnsupported where the kernel has no such sends.
func newZCRing() (*zcRing, error) {
	ring, err := uring.Setup(uring.Config{Entries: 8, CQEntries: 4 * zcSlots})
	if err != nil {
		return nil, err
	}
	if !ring.Supports(uring.OpSendmsgZC) || ring.CQ() < 2*zcSlots+1 {
		_ = ring.Close()
		return nil, fmt.Errorf("%w: no zero-copy sends: Linux 6.1 is needed", uring.ErrUnsupported)
	}
	r := &zcRing{ring: ring, idle: make(chan struct{})}
	for i := range uint32(zcSlots) {
		r.free = append(r.free, i)
	}
	r.ended.Go(r.run)
	return r, nil
}

// send starts to send vec, the unsent rest of q, and calls o back unless it gives an error. The
// descriptor must stay open during the call, the bytes until the last call back.
func (r *zcRing) send(o zcOwner, fd int, q *outQueue, vec [][]byte) error {
	s := zcSends.Get().(*zcSend)
	s.owner, s.queue = o, q
	for _, b := range vec[:min(len(vec), maxIov)] {
		s.iov = append(s.iov, uring.Vec(b))
	}
	s.msg = unix.Msghdr{Iov: unsafe.SliceData(s.iov)}
	s.msg.SetIovlen(len(s.iov))
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	if r.ending || len(r.free) == 0 {
		err = errZCFull
	} else {
		slot := r.free[len(r.free)-1]
		r.slots[slot] = s // before the kernel has it: run may be faster
		e := r.ring.Next()
		e.SendmsgZC(fd, &s.msg)
		e.UserData = uint64(slot)
		if err = r.submitLocked(); err == nil {
			r.free = r.free[:len(r.free)-1]
			return nil
		}
		r.slots[slot] = nil
	}
	s.recycle()
	return err
}

// submitLocked submits the one entry that is queued, or takes it back.
func (r *zcRing) submitLocked() error {
	n, err := r.ring.Submit()
	if n == 1 {
		return nil
	}
	r.ring.Discard()
	return fmt.Errorf("transport: submit a zero-copy send: %w", err)
}

func (s *zcSend) recycle() {
	clear(s.iov)
	s.msg, s.iov, s.queue, s.owner = unix.Msghdr{}, s.iov[:0], nil, nil
	zcSends.Put(s)
}

// run hands completions on until end.
func (r *zcRing) run() {
	var cqes [64]uring.CQE
	for {
		n := r.ring.Reap(cqes[:])
		if n == 0 {
			if err := r.ring.Wait(); err != nil {
				panic(fmt.Sprintf("transport: wait on an own ring: %v", err))
			}
		}
		for i := range cqes[:n] {
			if cqes[i].UserData == zcStop {
				return
			}
			r.complete(&cqes[i])
		}
	}
}

func (r *zcRing) complete(e *uring.CQE) {
	r.mu.Lock()
	s := r.slots[e.UserData]
	r.mu.Unlock()
	if e.Notif() {
		s.owner.onNotified(s.queue, e.Copied())
	} else {
		s.owner.onSent(s.queue, e.Res, e.More())
	}
	if e.More() {
		return
	}
	s.recycle()
	r.mu.Lock()
	r.slots[e.UserData] = nil
	r.free = append(r.free, uint32(e.UserData))
	r.idleLocked()
	r.mu.Unlock()
}

func (r *zcRing) idleLocked() {
	if r.ending && len(r.free) == zcSlots {
		close(r.idle)
	}
}

// end waits for what is under way and frees the ring. Its connections must be closed, which ends
// their sends within zcLinger. Where the kernel keeps memory for longer than zcPatience the ring
// stays, so that the memory is released when it is let go; it is then an error.
func (r *zcRing) end() error {
	r.mu.Lock()
	r.ending = true
	r.idleLocked()
	r.mu.Unlock()
	patience := time.NewTimer(zcPatience)
	defer patience.Stop()
	select {
	case <-r.idle:
	case <-patience.C:
		return fmt.Errorf("transport: the kernel keeps memory of closed connections for over %v",
			zcPatience)
	}
	r.mu.Lock()
	e := r.ring.Next()
	e.Nop()
	e.UserData = zcStop
	err := r.submitLocked()
	r.mu.Unlock()
	if err != nil {
		return err
	}
	r.ended.Wait()
	return r.ring.Close()
}

// lend adds a send that may hold a batch's memory: the last of them and of its writer releases it.
func (q *outQueue) lend() {
	if !q.lent {
		q.lent = true
		q.holders.Store(1) // the writer
	}
	q.holders.Add(1)
}

// drop ends one hold of a lent batch.
func (q *outQueue) drop() {
	if q.holders.Add(-1) == 0 {
		q.lent = false
		q.release()
		outQueues.Put(q)
	}
}

// leave gives a writer's batch up and returns an empty one.
func (q *outQueue) leave() *outQueue {
	if !q.lent {
		q.release()
		return q
	}
	q.drop()
	return outQueues.Get().(*outQueue)
}

var outQueues = sync.Pool{New: func() any { return new(outQueue) }}

// zcLingerer keeps a second descriptor of a socket that was closed while the kernel held memory for
// it, so that the connection can be torn down if the peer does not take the bytes in time.
type zcLingerer struct {
	own   atomic.Int32 // the descriptor and 1; 0: none
	timer *time.Timer
}

// start shuts the socket down, which ends a send that waits for room, and lets what the kernel has
// go out for zcLinger at most.
func (l *zcLingerer) start(fd int) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		// Out of descriptors: what is not sent is lost, the memory comes back.
		abortive := unix.Linger{Onoff: 1}
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &abortive)
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
		return
	}
	_ = unix.Shutdown(fd, unix.SHUT_RDWR)
	l.own.Store(int32(own) + 1)
	l.timer = time.AfterFunc(zcLinger, func() { l.finish(true) })
}

// finish closes the descriptor; abort tears the connection down.
func (l *zcLingerer) finish(abort bool) {
	fd := int(l.own.Swap(0)) - 1
	if fd < 0 {
		return
	}
	if abort {
		abortive := unix.Linger{Onoff: 1}
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &abortive)
	} else {
		l.timer.Stop()
	}
	_ = unix.Close(fd)
}
