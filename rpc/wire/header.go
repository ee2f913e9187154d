package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A frame:
//
//	 0              4        5        6              8
//	+--------------+--------+--------+--------------+
//	| magic "ASHL" | version|   op   |    flags     |
//	+--------------+--------+--------+--------------+ 8
//	|                  request id                   |
//	+-----------------------+-----------------------+ 16
//	|      meta length      |    payload length     |
//	+-----------+-----------+-----------------------+ 24
//	|  status   | reserved 0|        crc32c         |
//	+-----------+-----------+-----------------------+ 32
//	| meta (meta length bytes) ...                  |
//	+-----------------------------------------------+
//	| payload (payload length bytes) ...            |
//	+-----------------------------------------------+
//
// Little-endian. The crc32c covers bytes 0..27 and the metadata. In flags, bit
// 0 marks an answer and the others are 0. A request has status 0.

// Classes of framing errors; a connection that gave one is closed.
var (
	ErrMagic   = errors.New("wire: not an ashlar frame")
	ErrVersion = errors.New("wire: unknown version")
	ErrHeader  = errors.New("wire: bad frame header")
	ErrMeta    = errors.New("wire: bad metadata")
)

const magic = 0x4c485341 // "ASHL" in file order

// Op says what a frame asks for. The low numbers are the client's, those from
// OpRaft are between nodes.
type Op uint8

// The operations. Numbers are never reused.
const (
	OpHello    Op = 1
	OpWrite    Op = 2
	OpRead     Op = 3
	OpZero     Op = 4 // makes a range read as zeroes: trim and write-zeroes
	OpFlush    Op = 5
	OpPing     Op = 6
	OpFence    Op = 7  // sessions of a volume with an older epoch write no more in this copyset
	OpRaft     Op = 16 // one way, never answered
	OpSnapList Op = 17
	OpSnapRead Op = 18
	OpSnapSums Op = 19 // a node without it answers that the request is bad
)

var opNames = map[Op]string{
	OpHello: "hello", OpWrite: "write", OpRead: "read", OpZero: "zero", OpFlush: "flush",
	OpPing: "ping", OpFence: "fence", OpRaft: "raft", OpSnapList: "snap-list",
	OpSnapRead: "snap-read", OpSnapSums: "snap-sums",
}

func (o Op) String() string {
	if s, ok := opNames[o]; ok {
		return s
	}
	return fmt.Sprintf("op-%d", uint8(o))
}

// Known reports whether this build defines the operation.
func (o Op) Known() bool { return opNames[o] != "" }

// OneWay reports whether frames of this operation are never answered.
func (o Op) OneWay() bool { return o == OpRaft }

// FlagResponse marks an answer; its request id is that of the request.
const FlagResponse uint16 = 1 << 0

const knownFlags = FlagResponse

// Header is the decoded fixed part of a frame. MetaLen and PayloadLen are in
// bytes.
type Header struct {
	Op         Op
	Flags      uint16
	ID         uint64
	Status     Status
	MetaLen    uint32
	PayloadLen uint32
}

// Response reports whether the frame is an answer.
func (h Header) Response() bool { return h.Flags&FlagResponse != 0 }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// PutHeader writes the 32 bytes of h into dst, which must hold HeaderSize
// bytes, with the length and the checksum of meta. h.MetaLen is ignored.
func PutHeader(dst []byte, h Header, meta []byte) {
	_ = dst[HeaderSize-1]
	le := binary.LittleEndian
	le.PutUint32(dst[0:], magic)
	dst[4] = FrameVersion
	dst[5] = byte(h.Op)
	le.PutUint16(dst[6:], h.Flags)
	le.PutUint64(dst[8:], h.ID)
	le.PutUint32(dst[16:], uint32(len(meta)))
	le.PutUint32(dst[20:], h.PayloadLen)
	le.PutUint16(dst[24:], uint16(h.Status))
	le.PutUint16(dst[26:], 0)
	le.PutUint32(dst[28:], headerCRC(dst, meta))
}

func headerCRC(head, meta []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[:28], castagnoli), castagnoli, meta)
}

// ParseHeader decodes and bounds-checks the first HeaderSize bytes of b. It
// cannot check the crc32c, which needs the metadata: VerifyMeta does, and
// until then the fields are only plausible. Errors are of class ErrMagic,
// ErrVersion or ErrHeader.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("%w: %d bytes, want %d", ErrHeader, len(b), HeaderSize)
	}
	le := binary.LittleEndian
	if m := le.Uint32(b); m != magic {
		return Header{}, fmt.Errorf("%w: magic %#08x, want %#08x", ErrMagic, m, magic)
	}
	if b[4] != FrameVersion {
		return Header{}, fmt.Errorf("%w: frame version %d, this build reads %d",
			ErrVersion, b[4], FrameVersion)
	}
	h := Header{
		Op: Op(b[5]), Flags: le.Uint16(b[6:]), ID: le.Uint64(b[8:]),
		MetaLen: le.Uint32(b[16:]), PayloadLen: le.Uint32(b[20:]),
		Status: Status(le.Uint16(b[24:])),
	}
	return h, h.check(le.Uint16(b[26:]))
}

func (h Header) check(reserved uint16) error {
	switch {
	case h.Op == 0:
		return fmt.Errorf("%w: op is 0", ErrHeader)
	case h.Flags&^knownFlags != 0:
		return fmt.Errorf("%w: flags %#04x has unknown bits", ErrHeader, h.Flags)
	case reserved != 0:
		return fmt.Errorf("%w: reserved bytes are %#04x, want 0", ErrHeader, reserved)
	case h.MetaLen > MaxMeta:
		return fmt.Errorf("%w: meta length %d, limit %d", ErrHeader, h.MetaLen, MaxMeta)
	case h.PayloadLen > MaxPayload:
		return fmt.Errorf("%w: payload length %d, limit %d", ErrHeader, h.PayloadLen, MaxPayload)
	case !h.Response() && h.Status != StatusOK:
		return fmt.Errorf("%w: request with status %d", ErrHeader, h.Status)
	}
	return nil
}

// VerifyMeta checks the crc32c of a header (its HeaderSize raw bytes) and its
// metadata. The error is of class ErrChecksum.
func VerifyMeta(head, meta []byte) error {
	if len(head) < HeaderSize {
		return fmt.Errorf("%w: %d bytes, want %d", ErrHeader, len(head), HeaderSize)
	}
	want := binary.LittleEndian.Uint32(head[28:])
	if got := headerCRC(head, meta); got != want {
		return fmt.Errorf("%w: frame header and metadata give %#08x, header says %#08x",
			ErrChecksum, got, want)
	}
	return nil
}
