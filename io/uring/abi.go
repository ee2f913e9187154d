package uring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's ABI: include/uapi/linux/io_uring.h. The values never change.

// Opcode is an operation of the kernel's table.
type Opcode uint8

// The operations that disks use, and the one for sockets.
const (
	OpNop         Opcode = 0
	OpReadv       Opcode = 1
	OpWritev      Opcode = 2
	OpFsync       Opcode = 3
	OpReadFixed   Opcode = 4
	OpWriteFixed  Opcode = 5
	OpRead        Opcode = 22
	OpWrite       Opcode = 23
	OpSendmsgZC   Opcode = 48 // Linux 6.1
	OpReadvFixed  Opcode = 60 // Linux 6.15
	OpWritevFixed Opcode = 61

	opCount = 64
)

const (
	setupCQSize      = 1 << 3
	setupClamp       = 1 << 4
	setupSubmitAll   = 1 << 7 // Linux 5.18
	setupCoopTaskrun = 1 << 8 // Linux 5.19

	featSingleMmap   = 1 << 0
	featNoDrop       = 1 << 1
	featSubmitStable = 1 << 2
	featExtArg       = 1 << 8 // Linux 5.11

	sqeAsync = 1 << 4

	enterGetEvents = 1 << 0
	enterExtArg    = 1 << 3

	offRings = 0
	offSQEs  = 0x10000000

	registerBuffers = 0
	registerProbe   = 8

	fsyncDatasync = 1 << 0
	probeOpOK     = 1 << 0

	sendZCReportUsage = 1 << 3 // Linux 6.2
	cqeMore           = 1 << 1
	cqeNotif          = 1 << 3
	notifCopied       = 1 << 31
)

// SQE is a submission entry.
type SQE struct {
	opcode   Opcode
	flags    uint8
	ioprio   uint16
	fd       int32
	off      uint64
	addr     uint64
	length   uint32
	rwFlags  uint32
	UserData uint64 // comes back in the CQE
	bufIndex uint16
	_        [22]byte
}

// CQE is a completion: Res is the result of the operation, a negative errno on failure.
type CQE struct {
	UserData uint64
	Res      int32
	Flags    uint32
}

// More reports whether another completion of the same operation follows.
func (c CQE) More() bool { return c.Flags&cqeMore != 0 }

// Notif reports whether this is the second completion of a zero-copy send: the kernel has let go
// of the memory. Its Res is no result.
func (c CQE) Notif() bool { return c.Flags&cqeNotif != 0 }

// Copied reports of a Notif that the kernel had copied the memory, or part of it.
func (c CQE) Copied() bool { return uint32(c.Res)&notifCopied != 0 }

// getEvents is what enterExtArg says of the last argument: how long to wait.
type getEvents struct {
	_, _ uint64 // a signal mask, and its size
	ts   *unix.Timespec
}

type params struct {
	sqEntries, cqEntries, flags     uint32
	sqThreadCPU, sqThreadIdle       uint32
	features, wqFD                  uint32
	_                               [3]uint32
	sqHead, sqTail, sqMask          uint32
	sqRingEntries, sqFlags          uint32
	sqDropped, sqArray, _           uint32
	_                               uint64
	cqHead, cqTail, cqMask          uint32
	cqRingEntries, cqOverflow, cqes uint32
	cqFlags, _                      uint32
	_                               uint64
}

type probeOp struct {
	op, _ uint8
	flags uint16
	_     uint32
}

type probe struct {
	lastOp, opsLen uint8
	_              uint16
	_              [3]uint32
	ops            [opCount]probeOp
}

// The sizes the kernel expects; a wrong one does not compile.
var (
	_ [64]byte  = [unsafe.Sizeof(SQE{})]byte{}
	_ [16]byte  = [unsafe.Sizeof(CQE{})]byte{}
	_ [120]byte = [unsafe.Sizeof(params{})]byte{}
)
