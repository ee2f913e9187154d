package disk

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fdFile is an open file of a real disk: a range of the bytes behind a descriptor.
type fdFile struct {
	disk  *fdDisk
	outer *gate // of what must not be closed while an operation is under way: the disk's
	home  home
	fd    int   // -1 while parked; valid while an operation is under way
	base  int64 // where the file begins behind the descriptor
	name  string
	size  int64
	gate  gate
	desc  descriptor
}

// home is what the disk that an fdFile is of does for it.
type home interface {
	// unpark opens a parked file again. The caller has entered its gate.
	unpark(f *fdFile) error
	// release ends a file that is closed.
	release(f *fdFile) error
}

// hold keeps an open file until it is closed, or the disk is.
func (d *fdDisk) hold(f *fdFile) *fdFile {
	f.disk, f.outer = d, &d.gate
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[f] = struct{}{}
	return f
}

// Name implements File.
func (f *fdFile) Name() string { return f.name }

// Size implements File.
func (f *fdFile) Size() int64 { return f.size }

// begin counts an operation in; the outer gate is entered first and left last.
func (f *fdFile) begin(kind Kind, off int64) error {
	if f.outer.enter() {
		if f.gate.enter() {
			if !f.gate.isParked() {
				return nil
			}
			err := f.home.unpark(f)
			if err != nil {
				f.end()
			}
			return err
		}
		f.outer.leave()
	}
	return fmt.Errorf("%w: %v %s at offset %d", ErrClosed, kind, f.name, off)
}

func (f *fdFile) end() {
	f.gate.leave()
	f.outer.leave()
}

// ReadAt implements File: one pread on the calling goroutine, which at depth one is faster
// than any hand-off.
func (f *fdFile) ReadAt(p []byte, off int64) (int, error) {
	v := vecs.Get().(*vec1)
	defer v.put()
	v.one[0] = p
	want, err := checkVec(Read, f.name, v.one[:], off, f.size)
	if err != nil {
		return 0, err
	}
	if err := f.begin(Read, off); err != nil {
		return 0, err
	}
	defer f.end()
	n, err := f.move(Read, v.gather(v.one[:]), off, false)
	return f.result(Read, off, n, want, err)
}

// WriteVec implements File: one pwritev2 on the calling goroutine.
func (f *fdFile) WriteVec(vec [][]byte, off int64, durable bool) error {
	want, err := checkVec(Write, f.name, vec, off, f.size)
	if err != nil {
		return err
	}
	if err := f.begin(Write, off); err != nil {
		return err
	}
	defer f.end()
	v := vecs.Get().(*vec1)
	defer v.put()
	n, err := f.move(Write, v.gather(vec), off, durable)
	runtime.KeepAlive(vec) // joined iovecs refer to the first of their slices only
	n, err = f.result(Write, off, n, want, err)
	if err == nil {
		f.disk.count.write(n, durable)
	}
	return err
}

// Sync implements File.
func (f *fdFile) Sync() error {
	if err := f.begin(Sync, 0); err != nil {
		return err
	}
	defer f.end()
	_, err := f.result(Sync, 0, 0, 0, fdatasync(f.fd))
	return err
}

// Submit implements File.
func (f *fdFile) Submit(op *Op) {
	op.File, op.N, op.Err = f, 0, nil
	op.state.want, op.Err = op.check(f.name, f.size)
	if err := f.begin(op.Kind, op.Off); err != nil {
		op.Err = err
		go func() { // the engine may be gone
			op.Done(op)
			f.disk.afterBatch()
		}()
		return
	}
	if op.Err == nil && op.Kind != Sync {
		op.state.iov = gather(op.state.iov[:0], op.Vec)
	}
	f.disk.engine.submit(op)
	if f.gate.isShut() || f.outer.isShut() {
		f.disk.engine.flush() // Close may have flushed before we queued
	}
}

// finish records the result of a submitted operation and gives it back to its caller.
func (f *fdFile) finish(op *Op, n int, err error) {
	if op.Err == nil {
		op.N, op.Err = f.result(op.Kind, op.Off, n, op.state.want, err)
	}
	if op.Err == nil && op.Kind == Write {
		f.disk.count.write(op.N, op.Durable)
	}
	clear(op.state.iov)
	op.Done(op)
	f.end()
}

// result turns what the kernel said into the package's terms, and counts all but writes, whose
// durability it does not know.
func (f *fdFile) result(kind Kind, off int64, n, want int, err error) (int, error) {
	if err != nil {
		f.disk.count.errors.Add(1)
		return 0, failed(classOf(err), kind, f.name, off, err)
	}
	switch kind {
	case Read:
		f.disk.count.read(n)
	case Sync:
		f.disk.count.syncs.Add(1)
	}
	if n < want {
		f.disk.count.errors.Add(1)
		return n, short(kind, f.name, off, n, want)
	}
	return n, nil
}

// Close implements File. It must not be called within Done, which it waits for.
func (f *fdFile) Close() error {
	if !f.gate.shut() {
		return fmt.Errorf("%w: close %s", ErrClosed, f.name)
	}
	f.disk.engine.flush()
	f.gate.wait()
	f.disk.mu.Lock()
	delete(f.disk.files, f)
	f.disk.mu.Unlock()
	return f.home.release(f)
}

// move is one preadv2 or pwritev2.
func (f *fdFile) move(kind Kind, iov []unix.Iovec, off int64, durable bool) (int, error) {
	off += f.base
	call, flags := uintptr(unix.SYS_PREADV2), uintptr(0)
	if kind == Write {
		call = unix.SYS_PWRITEV2
	}
	if durable {
		flags = unix.RWF_DSYNC
	}
	for {
		n, _, errno := unix.Syscall6(call, uintptr(f.fd), uintptr(unsafe.Pointer(&iov[0])),
			uintptr(len(iov)), uintptr(off), 0, flags)
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return 0, errno
		case n == 0:
			return 0, io.ErrUnexpectedEOF
		}
		return int(n), nil
	}
}

// vec1 is scratch memory of the blocking calls.
type vec1 struct {
	one [1][]byte
	iov []unix.Iovec
}

var vecs = sync.Pool{New: func() any { return new(vec1) }}

func (v *vec1) gather(vec [][]byte) []unix.Iovec {
	v.iov = gather(v.iov[:0], vec)
	return v.iov
}

func (v *vec1) put() {
	v.one[0] = nil
	clear(v.iov)
	vecs.Put(v)
}

// gather appends the slices as iovecs, those that adjoin in memory as one: the fewer, the
// less the kernel does, and a single one can be a fixed buffer.
func gather(iov []unix.Iovec, vec [][]byte) []unix.Iovec {
	var end uintptr
	for _, p := range vec {
		at := unsafe.Pointer(unsafe.SliceData(p))
		if uintptr(at) == end && len(iov) > 0 {
			last := &iov[len(iov)-1]
			last.SetLen(int(last.Len) + len(p))
		} else {
			iov = append(iov, unix.Iovec{Base: (*byte)(at)})
			iov[len(iov)-1].SetLen(len(p))
		}
		end = uintptr(at) + uintptr(len(p))
	}
	return iov
}
