package uring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Async has a worker of the kernel begin the operation that e describes, where Submit itself would
// wait for it: a file system may wait for an operation that the kernel asks it only to begin.
func (e *SQE) Async() { e.flags |= sqeAsync }

// Nop completes at once with result 0.
func (e *SQE) Nop() { e.opcode = OpNop }

// Read reads into the memory of v, which need not itself live on.
func (e *SQE) Read(fd int, v unix.Iovec, off int64) {
	e.set(OpRead, fd, unsafe.Pointer(v.Base), int(v.Len), off)
}

// Write writes the memory of v; flags are RWF_ bits, such as RWF_DSYNC.
func (e *SQE) Write(fd int, v unix.Iovec, off int64, flags uint32) {
	e.set(OpWrite, fd, unsafe.Pointer(v.Base), int(v.Len), off)
	e.rwFlags = flags
}

// ReadFixed is Read into memory of the registered buffer index (see Ring.Fixed).
func (e *SQE) ReadFixed(fd int, v unix.Iovec, off int64, index uint16) {
	e.Read(fd, v, off)
	e.opcode, e.bufIndex = OpReadFixed, index
}

// WriteFixed is Write from memory of the registered buffer index.
func (e *SQE) WriteFixed(fd int, v unix.Iovec, off int64, flags uint32, index uint16) {
	e.Write(fd, v, off, flags)
	e.opcode, e.bufIndex = OpWriteFixed, index
}

// Readv reads into the slices of iov, which must live until the completion.
func (e *SQE) Readv(fd int, iov []unix.Iovec, off int64) {
	e.set(OpReadv, fd, unsafe.Pointer(unsafe.SliceData(iov)), len(iov), off)
}

// Writev writes the slices of iov, which must live until the completion.
func (e *SQE) Writev(fd int, iov []unix.Iovec, off int64, flags uint32) {
	e.set(OpWritev, fd, unsafe.Pointer(unsafe.SliceData(iov)), len(iov), off)
	e.rwFlags = flags
}

// ReadvFixed is Readv into memory of the registered buffer index. Ask Supports before.
func (e *SQE) ReadvFixed(fd int, iov []unix.Iovec, off int64, index uint16) {
	e.Readv(fd, iov, off)
	e.opcode, e.bufIndex = OpReadvFixed, index
}

// WritevFixed is Writev from memory of the registered buffer index. Ask Supports before.
func (e *SQE) WritevFixed(fd int, iov []unix.Iovec, off int64, flags uint32, index uint16) {
	e.Writev(fd, iov, off, flags)
	e.opcode, e.bufIndex = OpWritevFixed, index
}

// Datasync makes the data of a file durable (fdatasync).
func (e *SQE) Datasync(fd int) {
	e.opcode, e.fd, e.rwFlags = OpFsync, int32(fd), fsyncDatasync
}

// SendmsgZC sends msg without copying its bytes and without raising SIGPIPE. A full socket is
// waited for, also one that does not block; what it then takes may be less than all. msg and its
// slices must live until the first completion, which gives the bytes taken; the bytes must not
// change until the second, which follows when the first says More. Ask Supports before.
func (e *SQE) SendmsgZC(fd int, msg *unix.Msghdr) {
	e.set(OpSendmsgZC, fd, unsafe.Pointer(msg), 1, 0)
	e.ioprio, e.rwFlags = sendZCReportUsage, unix.MSG_NOSIGNAL
}

func (e *SQE) set(op Opcode, fd int, addr unsafe.Pointer, n int, off int64) {
	e.opcode = op
	e.fd = int32(fd)
	e.off = uint64(off)
	e.addr = uint64(uintptr(addr))
	e.length = uint32(n)
}

// Vec returns the iovec of a slice.
func Vec(p []byte) unix.Iovec {
	v := unix.Iovec{Base: unsafe.SliceData(p)}
	v.SetLen(len(p))
	return v
}
