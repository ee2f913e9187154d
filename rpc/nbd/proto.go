package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Everything on an NBD connection is in network byte order. The numbers below are part of the
// protocol: do not change.

// Handshake magics and flags.
const (
	magicInit    uint64 = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption  uint64 = 0x49484156454f5054 // "IHAVEOPT"
	magicReply   uint64 = 0x0003e889045565a9 // precedes every reply to an option
	magicRequest uint32 = 0x25609513
	magicSimple  uint32 = 0x67446698
	magicChunk   uint32 = 0x668e33ef

	handFixed    uint16 = 1 << 0
	handNoZeroes uint16 = 1 << 1

	clientFixed    uint32 = 1 << 0
	clientNoZeroes uint32 = 1 << 1
)

// option is a request of the handshake.
type option uint32

const (
	optExportName  option = 1
	optAbort       option = 2
	optList        option = 3
	optStartTLS    option = 5
	optInfo        option = 6
	optGo          option = 7
	optStructured  option = 8
	optListMeta    option = 9
	optSetMeta     option = 10
	repErrorBit    uint32 = 1 << 31
	repAck         uint32 = 1
	repServer      uint32 = 2
	repInfo        uint32 = 3
	repMetaContext uint32 = 4

	repErrUnsup    = repErrorBit | 1
	repErrPolicy   = repErrorBit | 2
	repErrInvalid  = repErrorBit | 3
	repErrUnknown  = repErrorBit | 6
	repErrShutdown = repErrorBit | 7
	repErrTooBig   = repErrorBit | 9

	infoExport      uint16 = 0
	infoName        uint16 = 1
	infoDescription uint16 = 2
	infoBlockSize   uint16 = 3
)

// metaAllocation is the only metadata context served, and metaAllocationID its number in replies.
const (
	metaAllocation   = "base:allocation"
	metaAllocationID = 1
)

// TransmissionFlags tell a client what an export can do.
type TransmissionFlags uint16

// The transmission flags of the protocol.
const (
	HasFlags        TransmissionFlags = 1 << 0
	IsReadOnly      TransmissionFlags = 1 << 1
	SendFlush       TransmissionFlags = 1 << 2
	SendFUA         TransmissionFlags = 1 << 3
	IsRotational    TransmissionFlags = 1 << 4
	SendTrim        TransmissionFlags = 1 << 5
	SendWriteZeroes TransmissionFlags = 1 << 6
	SendDF          TransmissionFlags = 1 << 7
	CanMultiConn    TransmissionFlags = 1 << 8
	SendCache       TransmissionFlags = 1 << 10
	SendFastZero    TransmissionFlags = 1 << 11
)

// Cmd is a request of the transmission phase.
type Cmd uint16

// The commands of the protocol.
const (
	CmdRead        Cmd = 0
	CmdWrite       Cmd = 1
	CmdDisc        Cmd = 2
	CmdFlush       Cmd = 3
	CmdTrim        Cmd = 4
	CmdCache       Cmd = 5
	CmdWriteZeroes Cmd = 6
	CmdBlockStatus Cmd = 7
)

var cmdNames = [...]string{
	"read", "write", "disc", "flush", "trim", "cache", "write-zeroes", "block-status",
}

func (c Cmd) String() string {
	if int(c) < len(cmdNames) {
		return cmdNames[c]
	}
	return fmt.Sprintf("command %d", uint16(c))
}

// CmdFlags modify one command.
type CmdFlags uint16

// The command flags of the protocol.
const (
	FlagFUA      CmdFlags = 1 << 0 // answer only when the data is on stable storage
	FlagNoHole   CmdFlags = 1 << 1 // write-zeroes: keep the range provisioned
	FlagDF       CmdFlags = 1 << 2 // read: one content chunk
	FlagReqOne   CmdFlags = 1 << 3 // block-status: one extent
	FlagFastZero CmdFlags = 1 << 4 // write-zeroes: refuse unless faster than a write
)

// Reply chunk types and flags of structured replies.
const (
	chunkNone        uint16 = 0
	chunkData        uint16 = 1
	chunkHole        uint16 = 2
	chunkStatus      uint16 = 5
	chunkErrorBit    uint16 = 1 << 15
	chunkError              = chunkErrorBit | 1
	chunkErrorOffset        = chunkErrorBit | 2

	chunkFlagDone uint16 = 1
)

// Errno is an error number of the protocol. An Export may return one (bare or wrapped) to choose
// what its client sees; every other error reaches the client as EIO.
type Errno uint32

// The error numbers of the protocol.
const (
	EPERM     Errno = 1
	EIO       Errno = 5
	ENOMEM    Errno = 12
	EINVAL    Errno = 22
	ENOSPC    Errno = 28
	EOVERFLOW Errno = 75
	ENOTSUP   Errno = 95
	ESHUTDOWN Errno = 108
)

func (e Errno) Error() string {
	switch e {
	case EPERM:
		return "nbd: operation not permitted (EPERM)"
	case EIO:
		return "nbd: input/output error (EIO)"
	case ENOMEM:
		return "nbd: cannot allocate memory (ENOMEM)"
	case EINVAL:
		return "nbd: invalid argument (EINVAL)"
	case ENOSPC:
		return "nbd: no space left on device (ENOSPC)"
	case EOVERFLOW:
		return "nbd: value too large (EOVERFLOW)"
	case ENOTSUP:
		return "nbd: operation not supported (ENOTSUP)"
	case ESHUTDOWN:
		return "nbd: server is shutting down (ESHUTDOWN)"
	}
	return fmt.Sprintf("nbd: error %d", uint32(e))
}

// errnoOf picks the number a client sees for err.
func errnoOf(err error) Errno {
	var e Errno
	if errors.As(err, &e) && e != 0 {
		return e
	}
	return EIO
}

// requestSize is the length of a request header:
//
//	0        4         6        8          16         24        28
//	+--------+---------+--------+----------+----------+---------+
//	| magic  | flags   | type   | cookie   | offset   | length  |  then the payload of a write
//	+--------+---------+--------+----------+----------+---------+
const requestSize = 28

// header is a decoded request header.
type header struct {
	cmd    Cmd
	flags  CmdFlags
	cookie uint64
	off    uint64
	length uint32
}

var errRequestMagic = fmt.Errorf("%w: request magic", ErrProtocol)

// parseRequest decodes the first requestSize bytes of b. Only a wrong magic is an error: it
// means that the framing is lost. Every other doubtful field is judged by session.check.
func parseRequest(b []byte) (header, error) {
	_ = b[requestSize-1]
	if got := binary.BigEndian.Uint32(b); got != magicRequest {
		return header{}, fmt.Errorf("%w is %#08x, want %#08x", errRequestMagic, got, magicRequest)
	}
	return header{
		flags:  CmdFlags(binary.BigEndian.Uint16(b[4:])),
		cmd:    Cmd(binary.BigEndian.Uint16(b[6:])),
		cookie: binary.BigEndian.Uint64(b[8:]),
		off:    binary.BigEndian.Uint64(b[16:]),
		length: binary.BigEndian.Uint32(b[24:]),
	}, nil
}

// putRequest encodes h into the first requestSize bytes of b.
func putRequest(b []byte, h header) {
	_ = b[requestSize-1]
	binary.BigEndian.PutUint32(b, magicRequest)
	binary.BigEndian.PutUint16(b[4:], uint16(h.flags))
	binary.BigEndian.PutUint16(b[6:], uint16(h.cmd))
	binary.BigEndian.PutUint64(b[8:], h.cookie)
	binary.BigEndian.PutUint64(b[16:], h.off)
	binary.BigEndian.PutUint32(b[24:], h.length)
}

// Sizes of reply headers:
//
//	simple   | magic 4 | error 4 | cookie 8 |                       then the data of a read
//	chunk    | magic 4 | flags 2 | type 2 | cookie 8 | length 4 |   then length bytes
const (
	simpleSize = 16
	chunkSize  = 20
	dataSize   = chunkSize + 8 // a chunk of data starts with its offset
)

func putSimple(b []byte, e Errno, cookie uint64) int {
	_ = b[simpleSize-1]
	binary.BigEndian.PutUint32(b, magicSimple)
	binary.BigEndian.PutUint32(b[4:], uint32(e))
	binary.BigEndian.PutUint64(b[8:], cookie)
	return simpleSize
}

func putChunk(b []byte, flags, kind uint16, cookie uint64, length int) int {
	_ = b[chunkSize-1]
	binary.BigEndian.PutUint32(b, magicChunk)
	binary.BigEndian.PutUint16(b[4:], flags)
	binary.BigEndian.PutUint16(b[6:], kind)
	binary.BigEndian.PutUint64(b[8:], cookie)
	binary.BigEndian.PutUint32(b[16:], uint32(length))
	return chunkSize
}

// putData encodes the head of a data chunk: n bytes of the export from off follow it.
func putData(b []byte, flags uint16, cookie uint64, off int64, n int) int {
	_ = b[dataSize-1]
	putChunk(b, flags, chunkData, cookie, 8+n)
	binary.BigEndian.PutUint64(b[chunkSize:], uint64(off))
	return dataSize
}

// errorPayload builds the payload of an error chunk; off < 0 makes the kind without an offset.
func errorPayload(e Errno, off int64, text string) []byte {
	if len(text) > maxErrorText {
		text = text[:maxErrorText]
	}
	b := make([]byte, 0, 6+len(text)+8)
	b = binary.BigEndian.AppendUint32(b, uint32(e))
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
	b = append(b, text...)
	if off >= 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(off))
	}
	return b
}

// statusPayload builds the payload of a block-status chunk.
func statusPayload(extents []Extent) []byte {
	b := make([]byte, 0, 4+8*len(extents))
	b = binary.BigEndian.AppendUint32(b, metaAllocationID)
	for _, e := range extents {
		b = binary.BigEndian.AppendUint32(b, uint32(e.Len))
		b = binary.BigEndian.AppendUint32(b, uint32(e.State))
	}
	return b
}
