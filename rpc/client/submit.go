package client

import (
	"errors"
	"fmt"
	"sync"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Kind is what an operation does.
type Kind uint8

// The kinds of operations.
const (
	OpRead  Kind = 1 + iota // fills Data from the volume
	OpWrite                 // writes Data; durable on a majority when Done is called
	OpZero                  // makes Len bytes read as zeroes and frees their space
	OpFlush                 // completes at once: an acknowledged write is durable already
	OpFetch                 // reads Len bytes into buffers, which the caller gets as Bufs
)

// Op is one operation for Submit. It may be used again after Done.
type Op struct {
	Kind Kind
	// Off is the position in the volume in bytes, of any alignment.
	Off int64
	// Data is read into, or written from by reference: it must not change until Done. At most
	// MaxOpBytes.
	Data []byte
	// Buf is the buffer of Client.Buffer that the Data of an OpWrite lies in, nil if it lies in
	// none; with it and without Data, all of the buffer is written. The client takes references of
	// its own while a connection may still read it, which can be after Done: an attempt that was
	// given up. What lies there then, after Done, cannot reach the volume any more.
	Buf *buf.Buf
	// Len is the number of bytes for OpZero and OpFetch; the other kinds take it from Data.
	Len int64
	// Bufs is what an OpFetch brought: of each request that it took, in order, the buffer in which
	// the answer came, its Bytes being of the right length. A request is of one chunk and at most
	// 1 MiB that does not cross a multiple of it in the chunk. The references are the caller's from
	// Done on; after an error there are none. Answers that come too late have buffers of their own.
	Bufs []*buf.Buf
	// Done is called exactly once, from a goroutine of the client or, when the operation is
	// refused or has nothing to do, from inside Submit. It must not block: the answers of a whole
	// node wait behind it.
	Done func(*Op)
	// Err is the outcome, set before Done.
	Err error
	// User is the caller's own.
	User any

	state opState
}

// opState follows an operation through its pieces.
type opState struct {
	mu       sync.Mutex
	next     int64 // where the next piece begins
	end      int64
	live     int // pieces under way, plus one while Submit makes them
	deadline int64
	cost     int64 // bytes it was admitted with
	err      error // the first failure
}

// Submit starts an operation and returns; Done tells its end. It blocks while Config.MaxInflight
// operations or Config.MaxInflightBytes of data are under way, or an operation thousands of writes
// older is still unfinished. Operations under way together are not ordered, even where they
// overlap: wait for Done of the first to have the second after it. A caller that submits from
// within Done must keep below those bounds by itself.
//
// Offsets and lengths need no alignment. A block of 4 KiB is the unit of atomicity: after a failure
// each block of the range is old or new.
func (v *Volume) Submit(op *Op) {
	n, err := v.check(op)
	if err != nil || n == 0 {
		v.refuse(op, err)
		return
	}
	cost := n
	if op.Kind == OpZero {
		cost = 0
	}
	if err := v.admit.enter(cost); err != nil {
		v.refuse(op, err)
		return
	}
	s := &op.state
	s.next, s.end, s.err, s.live, s.cost = op.Off, op.Off+n, nil, 1, cost
	s.deadline = v.c.coarse.Load() + int64(v.c.cfg.Timeout)
	for range piecesPerOp {
		s.mu.Lock()
		if s.next == s.end {
			s.mu.Unlock()
			break
		}
		x := newPiece()
		v.cut(x, op)
		last := s.next == s.end
		if !last {
			s.live++ // this piece's own; the last one takes over Submit's
		}
		s.mu.Unlock()
		v.launch(x, true)
		if last {
			return // op may have new uses by now
		}
	}
	v.settle(op)
}

// check validates op and returns how many bytes it concerns.
func (v *Volume) check(op *Op) (int64, error) {
	if err := v.failed(); err != nil {
		return 0, err
	}
	n, data := op.Len, true
	switch op.Kind {
	case OpFlush:
		return 0, nil
	case OpZero:
		data = false
	case OpFetch:
		op.Bufs = op.Bufs[:0]
	case OpRead, OpWrite:
		if err := v.c.checkMemory(op); err != nil {
			return 0, err
		}
		n = int64(len(op.data()))
	default:
		return 0, fmt.Errorf("%w: operation of kind %d", ErrInvalid, op.Kind)
	}
	if data && n > MaxOpBytes {
		return 0, fmt.Errorf("%w: %d bytes of data in one operation: split it at %d",
			ErrInvalid, n, MaxOpBytes)
	}
	if v.readOnly && op.Kind != OpRead && op.Kind != OpFetch {
		return 0, ErrReadOnly
	}
	if size := v.Size(); op.Off < 0 || n < 0 || op.Off > size || n > size-op.Off {
		return 0, fmt.Errorf("%w: offset %d + %d bytes in a volume of %d",
			ErrOutOfRange, op.Off, n, size)
	}
	return n, nil
}

func (v *Volume) refuse(op *Op, err error) {
	op.Err = err
	if err != nil {
		v.count.errors.Add(1)
	}
	op.Done(op)
}

// cut makes x the next piece of op: within one chunk, and for data within one stretch of MaxPayload
// bytes that begins at a multiple of it in the chunk. So no two pieces share a block, and none
// touches more blocks than an aligned one. The caller holds the state's lock.
func (v *Volume) cut(x *piece, op *Op) {
	s := &op.state
	chunk, offset := s.next/v.chunkBytes, s.next%v.chunkBytes
	n := min(s.end-s.next, v.chunkBytes-offset)
	x.op, x.vol, x.chunk, x.offset = op, v, uint64(chunk), uint32(offset)
	x.m = machine{deadline: s.deadline}
	switch op.Kind {
	case OpZero:
		x.kind = wire.OpZero
	case OpRead, OpFetch:
		x.kind = wire.OpRead
	default:
		x.kind, x.buf = wire.OpWrite, op.Buf
	}
	if x.kind != wire.OpZero {
		n = min(n, wire.MaxPayload-offset%wire.MaxPayload)
	}
	switch at := s.next - op.Off; op.Kind {
	case OpRead, OpWrite:
		x.data = op.data()[at : at+n : at+n]
	case OpFetch:
		x.at = len(op.Bufs)
		op.Bufs = append(op.Bufs, nil)
	}
	x.length = uint32(n)
	s.next += n
}

// launch gives a new piece its op id and checksums and sends it off.
func (v *Volume) launch(x *piece, direct bool) {
	if x.kind == wire.OpWrite {
		x.crcs = wire.ChecksumPieces(x.crcs[:0], x.offset, x.data)
	}
	if x.kind != wire.OpRead {
		x.id = v.admit.start()
	}
	if r := v.routeOf(x); r != nil {
		x.route = r
		v.c.drive(x, event{kind: evStart, now: v.c.coarse.Load()}, direct)
	}
}

// pieceDone takes a finished piece: it becomes the operation's next piece, or is put away.
func (v *Volume) pieceDone(x *piece, err error) {
	if x.id != 0 {
		v.raiseLowWater(v.admit.finish(x.id))
	}
	if err != nil && errors.Is(err, ErrFenced) {
		v.fail(err)
	}
	op := x.op
	s := &op.state
	s.mu.Lock()
	if x.got != nil {
		op.Bufs[x.at] = x.got
	}
	if err != nil {
		if s.err == nil {
			s.err = err
		}
		s.next = s.end
	}
	if s.next < s.end {
		crcs := x.crcs[:0]
		*x = piece{crcs: crcs}
		v.cut(x, op)
		s.mu.Unlock()
		v.launch(x, false)
		return
	}
	s.mu.Unlock()
	x.free()
	v.settle(op)
}

// settle counts down the pieces of op and completes it with the last one.
func (v *Volume) settle(op *Op) {
	s := &op.state
	s.mu.Lock()
	s.live--
	last := s.live == 0
	s.mu.Unlock()
	if !last {
		return
	}
	if op.Err = s.err; op.Err != nil && op.Kind == OpFetch {
		op.dropBufs()
	}
	v.countOp(op)
	v.admit.leave(s.cost)
	op.Done(op)
}

// dropBufs gives back what a fetch that failed had brought already.
func (op *Op) dropBufs() {
	for i, b := range op.Bufs {
		if b != nil {
			b.Release()
		}
		op.Bufs[i] = nil
	}
	op.Bufs = op.Bufs[:0]
}

func (v *Volume) countOp(op *Op) {
	c := &v.count
	n := op.state.cost
	switch op.Kind {
	case OpRead, OpFetch:
		c.reads.Add(1)
		if op.Err == nil {
			c.readBytes.Add(n)
		}
	case OpWrite:
		c.writes.Add(1)
		if op.Err == nil {
			c.writeBytes.Add(n)
		}
	case OpZero:
		c.zeroes.Add(1)
	}
	if op.Err != nil {
		c.errors.Add(1)
		if errors.Is(op.Err, ErrTimeout) {
			c.timeouts.Add(1)
		}
	}
}

// raiseLowWater publishes a newer low-water mark; they can arrive out of order.
func (v *Volume) raiseLowWater(low uint64) {
	for {
		old := v.lowWater.Load()
		if low <= old || v.lowWater.CompareAndSwap(old, low) {
			return
		}
	}
}
