package disk

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/io/uring"
	"golang.org/x/sys/unix"
)

// ringEngine runs submitted operations on an io_uring.
//
// Any goroutine prepares entries and sends them, under mu. One goroutine, the harvester,
// waits in the kernel for completions while something is in flight, calls Done, and sends
// what had to wait for a place. With nothing in flight it is parked on the condition
// variable; a send that puts the first operation in flight wakes it, under mu, so the wake-up
// cannot be lost.
type ringEngine struct {
	disk *fdDisk
	ring *uring.Ring

	mu       sync.Mutex
	wake     sync.Cond
	slots    []*Op // by the low bits of the user data; also keeps the operations alive
	free     []uint16
	prepared []uint16 // slots of the entries that are not sent
	inflight int      // entries sent and not reaped
	enter    func() (int, error)
	waiting  opList // no slot
	limit    int    // of waiting
	aside    bool   // beginning an operation may take as long as the operation
	direct   opList // for the harvester to end without the ring
	send     bool   // prepared entries were flushed, but the kernel could not take them
	refused  bool   // the kernel refused entries for good, which was logged
	stopped  bool
	exited   chan struct{}
	parked   bool      // the harvester is, or was and has not looked since
	guest    bool      // a caller of flushHere reaps in its place
	lone     int       // flushes in a row of one operation that was alone
	reaped   uint64    // operations that such callers reaped themselves
	notHere  time.Time // until then nobody waits
	late     int       // operations in a row that such callers gave up

	// Owned by who reaps.
	cqes [64]uring.CQE
	ops  [64]*Op
}

// ringLimits sizes a ring; see limits.go.
type ringLimits struct {
	entries uint32
	waiting int
}

const (
	slotBits = 16
	slotMask = 1<<slotBits - 1
	// sendRetries bounds how often a send is tried that the kernel has no memory for while
	// nothing is in flight whose completion could free some.
	sendRetries = 100
)

// newRing starts the engine; the error says why io_uring cannot be used.
func newRing(d *fdDisk, arena []byte, lim ringLimits) (*ringEngine, error) {
	ring, err := uring.Setup(uring.Config{Entries: lim.entries, CQEntries: 2 * lim.entries})
	if err != nil {
		return nil, err
	}
	if arena = arena[:min(len(arena), maxRegistered)]; len(arena) > 0 {
		if err := ring.RegisterArena(arena); err != nil {
			d.log.Warn("buffers not registered with io_uring: each operation costs a little more",
				"dir", d.root, "reason", err)
		}
	}
	slots := min(ring.CQ(), 2*int(lim.entries))
	e := &ringEngine{
		disk:     d,
		ring:     ring,
		enter:    ring.Submit,
		limit:    lim.waiting,
		aside:    waitsToBegin(d.root),
		slots:    make([]*Op, slots),
		free:     make([]uint16, slots),
		prepared: make([]uint16, 0, slots),
		exited:   make(chan struct{}),
	}
	e.wake.L = &e.mu
	for i := range e.free {
		e.free[i] = uint16(slots - 1 - i)
	}
	go e.harvest()
	return e, nil
}

func (e *ringEngine) name() string { return "io_uring" }

func (e *ringEngine) submit(op *Op) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case len(e.free) > 0 && e.waiting.len == 0:
		e.prepare(op)
	case e.waiting.len < e.limit:
		e.waiting.push(op)
	default:
		op.Err = fmt.Errorf("%w: %d wait for %s", ErrOverloaded, e.waiting.len, e.disk.root)
		e.direct.push(op) // the harvester is at work, or there would be slots
	}
}

func (e *ringEngine) flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sendAll()
}

// prepare gives the operation a slot and an entry. Called with the lock held and a free slot.
func (e *ringEngine) prepare(op *Op) {
	entry := e.ring.Next()
	if entry == nil {
		e.sendAll()
		if entry = e.ring.Next(); entry == nil { // the kernel has no memory for more now
			e.waiting.push(op)
			return
		}
	}
	slot := e.free[len(e.free)-1]
	e.free = e.free[:len(e.free)-1]
	e.slots[slot] = op
	e.prepared = append(e.prepared, slot)
	e.fill(entry, op)
	entry.UserData = op.Tag<<slotBits | uint64(slot)
}

// fill describes the operation to the kernel. One that has failed already goes through as a
// no-op, so that its Done comes from the harvester like any other.
func (e *ringEngine) fill(entry *uring.SQE, op *Op) {
	f := op.File.(*fdFile)
	fd, iov, off := f.fd, op.state.iov, f.base+op.Off
	switch {
	case op.Err != nil:
		entry.Nop()
	case op.Kind == Sync:
		entry.Datasync(fd)
	case op.Kind == Read:
		e.fillRead(entry, fd, iov, off)
	default:
		flags := uint32(0)
		if op.Durable {
			flags = unix.RWF_DSYNC
		}
		e.fillWrite(entry, fd, iov, off, flags)
	}
	if e.aside {
		entry.Async()
	}
}

// waitsToBegin reports whether path is on a file system that says it can begin an operation
// without waiting for it, and then waits. FUSE does; then a device that hangs would hang whoever
// flushes, where it should only leave operations without an answer.
func waitsToBegin(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.FUSE_SUPER_MAGIC
}

func (e *ringEngine) fillRead(entry *uring.SQE, fd int, iov []unix.Iovec, off int64) {
	index, fixed := e.ring.Fixed(iov)
	switch {
	case len(iov) == 1 && fixed:
		entry.ReadFixed(fd, iov[0], off, index)
	case len(iov) == 1:
		entry.Read(fd, iov[0], off)
	case fixed && e.ring.Supports(uring.OpReadvFixed):
		entry.ReadvFixed(fd, iov, off, index)
	default:
		entry.Readv(fd, iov, off)
	}
}

func (e *ringEngine) fillWrite(
	entry *uring.SQE, fd int, iov []unix.Iovec, off int64, flags uint32,
) {
	index, fixed := e.ring.Fixed(iov)
	switch {
	case len(iov) == 1 && fixed:
		entry.WriteFixed(fd, iov[0], off, flags, index)
	case len(iov) == 1:
		entry.Write(fd, iov[0], off, flags)
	case fixed && e.ring.Supports(uring.OpWritevFixed):
		entry.WritevFixed(fd, iov, off, flags, index)
	default:
		entry.Writev(fd, iov, off, flags)
	}
}

// sendAll sends the prepared entries. What the kernel cannot take now is sent by the
// harvester after the next completion. Called with the lock held.
func (e *ringEngine) sendAll() {
	if len(e.prepared) == 0 {
		return
	}
	n, err := e.enter()
	if n > 0 {
		e.disk.count.submits.Add(1)
		e.disk.count.submitted.Add(uint64(n))
		e.inflight += n
		e.prepared = e.prepared[:copy(e.prepared, e.prepared[n:])]
	}
	e.send = err != nil
	if err != nil && err != unix.EAGAIN && err != unix.EBUSY {
		e.bypass(err)
	}
	if !e.guest && (e.send || e.inflight == n || e.direct.len > 0) {
		e.wake.Signal()
	}
}

// bypass leaves what cannot be sent to the harvester, which runs it by ordinary system calls:
// slowly, but a log must not fail because a ring does. Called with the lock held.
func (e *ringEngine) bypass(why error) {
	if !e.refused {
		e.refused = true
		e.disk.log.Error("io_uring refuses operations: running them without it",
			"dir", e.disk.root, "reason", why)
	}
	e.ring.Discard()
	e.send = false
	for _, slot := range e.prepared {
		e.direct.push(e.slots[slot])
		e.slots[slot] = nil
		e.free = append(e.free, slot)
	}
	e.prepared = e.prepared[:0]
	e.direct.take(&e.waiting)
	e.wake.Signal()
}

// stop ends the harvester and the ring. Nothing is in flight.
func (e *ringEngine) stop() {
	e.mu.Lock()
	e.stopped = true
	e.wake.Signal()
	e.mu.Unlock()
	<-e.exited
	_ = e.ring.Close()
}

// harvest is the harvester.
func (e *ringEngine) harvest() {
	defer close(e.exited)
	tries := 0
	for {
		if n := e.ring.Reap(e.cqes[:]); n > 0 {
			e.complete(e.cqes[:n], nil)
			tries = 0
			continue
		}
		next, direct := e.next()
		for op := direct.pop(); op != nil; op = direct.pop() {
			op.File.(*fdFile).runOp(op)
			e.disk.afterBatch()
		}
		switch next {
		case harvestExit:
			return
		case harvestWait:
			if err := e.ring.Wait(); err != nil && err != unix.EAGAIN && err != unix.EBUSY {
				panic("disk: io_uring_enter refuses to wait: " + err.Error())
			}
		case harvestSend:
			tries++
			e.resend(tries > sendRetries)
		}
	}
}

type harvestStep uint8

const (
	harvestReap harvestStep = iota
	harvestWait
	harvestSend
	harvestExit
)

// next decides what to do when nothing is there to reap, and parks the harvester while there
// is nothing at all to do.
func (e *ringEngine) next() (step harvestStep, direct opList) {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer func() { e.parked = false }()
	for {
		if e.guest {
			e.wake.Wait()
			continue
		}
		direct.take(&e.direct)
		switch {
		case direct.len > 0:
			return harvestReap, direct
		case e.inflight > 0:
			return harvestWait, direct
		case e.send:
			return harvestSend, direct
		case e.stopped:
			return harvestExit, direct
		}
		e.parked = true
		e.wake.Wait()
	}
}

// resend tries again what the kernel had no memory for, and gives up in the end.
func (e *ringEngine) resend(last bool) {
	runtime.Gosched()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sendAll()
	if last && e.send {
		e.bypass(unix.EAGAIN)
	}
}

// complete takes the operations out of their slots, fills the slots again, and calls Done. It
// reports whether mine was among them.
func (e *ringEngine) complete(cqes []uring.CQE, mine *Op) (found bool) {
	e.mu.Lock()
	for i, c := range cqes {
		slot := uint16(c.UserData & slotMask)
		e.ops[i] = e.slots[slot]
		e.slots[slot] = nil
		e.free = append(e.free, slot)
	}
	e.inflight -= len(cqes)
	refill := e.send
	for e.waiting.len > 0 && len(e.free) > 0 {
		refill = true
		before := len(e.prepared) + e.inflight
		e.prepare(e.waiting.pop())
		if len(e.prepared)+e.inflight == before {
			break // it went back to the list: the kernel takes no more now
		}
	}
	if refill {
		e.sendAll()
	}
	e.mu.Unlock()
	for i, c := range cqes {
		op := e.ops[i]
		e.ops[i] = nil
		found = found || op == mine
		n, err := int(c.Res), error(nil)
		if c.Res < 0 {
			n, err = 0, unix.Errno(-c.Res)
		}
		op.File.(*fdFile).finish(op, n, err)
	}
	e.disk.afterBatch()
	return found
}
