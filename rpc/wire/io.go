package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// Metadata of a block request (OpWrite, OpRead, OpZero), and of OpFence, where all but copyset,
// volume, session and epoch is 0:
//
//	 0  copyset u64     8  volume u64      16 chunk u64
//	24  offset u32     28  length u32      32 session u64
//	40  epoch u64      48  op id u64       56 low water u64
//	64  flags u32      68  checksums u16   70 reserved u16 = 0
//	72  checksums x crc32c u32
//
// and of an answer; an answer with nothing to say has no metadata at all:
//
//	 0  leader replica u64   8 leader node u64   16 retry after ms u32
//	20  address length u16  22 message length u16
//	24  checksums u16       26 reserved u16 = 0
//	28  checksums x crc32c u32, address, message

const (
	requestFixed  = 72
	responseFixed = 28
)

// IORequest is the metadata of a block request. Offset and Length are bytes
// inside the chunk, of any alignment.
type IORequest struct {
	Copyset, Volume, Chunk uint64
	Offset, Length         uint32
	// Session names the client's attachment and Epoch fences older ones.
	Session, Epoch uint64
	// OpID is unique and increasing in the session. Every op id below LowWater
	// is finished at the client and will never be sent again.
	OpID, LowWater uint64
	Flags          uint32
	// CRCs holds one crc32c per touched block, over the bytes of the request
	// inside that block: of the payload of a write, empty otherwise.
	CRCs []uint32
}

// AppendTo appends the encoding to dst. More than MaxCRCs checksums are a
// programming error that the receiver will refuse.
func (r *IORequest) AppendTo(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, r.Copyset)
	dst = le.AppendUint64(dst, r.Volume)
	dst = le.AppendUint64(dst, r.Chunk)
	dst = le.AppendUint32(dst, r.Offset)
	dst = le.AppendUint32(dst, r.Length)
	dst = le.AppendUint64(dst, r.Session)
	dst = le.AppendUint64(dst, r.Epoch)
	dst = le.AppendUint64(dst, r.OpID)
	dst = le.AppendUint64(dst, r.LowWater)
	dst = le.AppendUint32(dst, r.Flags)
	dst = le.AppendUint16(dst, uint16(len(r.CRCs)))
	dst = le.AppendUint16(dst, 0)
	return appendCRCs(dst, r.CRCs)
}

// Decode fills r from meta, reusing the capacity of r.CRCs and allocating
// nothing else. The error is of class ErrMeta; r is then undefined.
func (r *IORequest) Decode(meta []byte) error {
	if len(meta) < requestFixed {
		return fmt.Errorf("%w: request of %d bytes, want at least %d",
			ErrMeta, len(meta), requestFixed)
	}
	le := binary.LittleEndian
	n, reserved := int(le.Uint16(meta[68:])), le.Uint16(meta[70:])
	if reserved != 0 {
		return fmt.Errorf("%w: request's reserved bytes are %#04x, want 0", ErrMeta, reserved)
	}
	if n > MaxCRCs {
		return fmt.Errorf("%w: request with %d checksums, limit %d", ErrMeta, n, MaxCRCs)
	}
	if want := requestFixed + 4*n; len(meta) != want {
		return fmt.Errorf("%w: request of %d bytes, its %d checksums make %d",
			ErrMeta, len(meta), n, want)
	}
	r.Copyset, r.Volume, r.Chunk = le.Uint64(meta), le.Uint64(meta[8:]), le.Uint64(meta[16:])
	r.Offset, r.Length = le.Uint32(meta[24:]), le.Uint32(meta[28:])
	r.Session, r.Epoch = le.Uint64(meta[32:]), le.Uint64(meta[40:])
	r.OpID, r.LowWater = le.Uint64(meta[48:]), le.Uint64(meta[56:])
	r.Flags = le.Uint32(meta[64:])
	r.CRCs = readCRCs(r.CRCs, meta[requestFixed:], n)
	return nil
}

// Check tells whether the fields fit the operation and a payload of
// payloadLen bytes: lengths agree, a write has its checksums, nothing
// overflows. The chunk's size is the caller's to check. The error is of class
// ErrBadRequest.
func (r *IORequest) Check(op Op, payloadLen uint32) error {
	switch {
	case op == OpFence:
		return r.checkFence(payloadLen)
	case r.Length == 0:
		return fmt.Errorf("%w: length is 0", ErrBadRequest)
	case uint64(r.Offset)+uint64(r.Length) > math.MaxUint32:
		return fmt.Errorf("%w: offset %d + length %d overflows", ErrBadRequest, r.Offset, r.Length)
	case op != OpZero && r.Length > MaxPayload:
		return fmt.Errorf("%w: length %d, limit %d", ErrBadRequest, r.Length, MaxPayload)
	}
	switch op {
	case OpWrite:
		if payloadLen != r.Length {
			return fmt.Errorf("%w: length %d with a payload of %d bytes",
				ErrBadRequest, r.Length, payloadLen)
		}
		if want := SplitBlocks(r.Offset, r.Length); len(r.CRCs) != want {
			return fmt.Errorf("%w: %d checksums for %d blocks", ErrBadRequest, len(r.CRCs), want)
		}
	case OpRead, OpZero:
		if payloadLen != 0 || len(r.CRCs) != 0 {
			return fmt.Errorf("%w: %v with a payload of %d bytes and %d checksums, want none",
				ErrBadRequest, op, payloadLen, len(r.CRCs))
		}
	default:
		return fmt.Errorf("%w: %v is not a block operation", ErrBadRequest, op)
	}
	return nil
}

func (r *IORequest) checkFence(payloadLen uint32) error {
	blocks := uint64(r.Offset) | uint64(r.Length) | r.Chunk | r.OpID | uint64(payloadLen) |
		uint64(len(r.CRCs))
	if r.Epoch == 0 || blocks != 0 {
		return fmt.Errorf("%w: fence of epoch %d with a chunk, a range, data or an op id",
			ErrBadRequest, r.Epoch)
	}
	return nil
}

// IOResponse is the metadata of an answer. A redirect carries the leader, an
// overloaded node a hint when to try again, a failure its text, a read the
// checksums of the blocks it returns (as IORequest.CRCs).
type IOResponse struct {
	LeaderReplica, LeaderNode uint64
	LeaderAddr                string
	RetryAfterMS              uint32
	Message                   string
	CRCs                      []uint32
}

func (r *IOResponse) empty() bool {
	return r.LeaderReplica == 0 && r.LeaderNode == 0 && r.RetryAfterMS == 0 &&
		r.LeaderAddr == "" && r.Message == "" && len(r.CRCs) == 0
}

// AppendTo appends the encoding to dst: nothing for a zero answer. The message
// is cut to MaxMessage bytes and an address above MaxAddr is left out.
func (r *IOResponse) AppendTo(dst []byte) []byte {
	if r.empty() {
		return dst
	}
	addr, msg := r.LeaderAddr, cut(r.Message, MaxMessage)
	if len(addr) > MaxAddr {
		addr = ""
	}
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, r.LeaderReplica)
	dst = le.AppendUint64(dst, r.LeaderNode)
	dst = le.AppendUint32(dst, r.RetryAfterMS)
	dst = le.AppendUint16(dst, uint16(len(addr)))
	dst = le.AppendUint16(dst, uint16(len(msg)))
	dst = le.AppendUint16(dst, uint16(len(r.CRCs)))
	dst = le.AppendUint16(dst, 0)
	dst = appendCRCs(dst, r.CRCs)
	dst = append(dst, addr...)
	return append(dst, msg...)
}

// Decode fills r from meta, reusing the capacity of r.CRCs; it allocates
// otherwise only for an address or a message that is present. The error is of
// class ErrMeta; r is then undefined.
func (r *IOResponse) Decode(meta []byte) error {
	if len(meta) == 0 {
		*r = IOResponse{CRCs: r.CRCs[:0]}
		return nil
	}
	if len(meta) < responseFixed {
		return fmt.Errorf("%w: answer of %d bytes, want at least %d",
			ErrMeta, len(meta), responseFixed)
	}
	le := binary.LittleEndian
	addr, msg, n := int(le.Uint16(meta[20:])), int(le.Uint16(meta[22:])), int(le.Uint16(meta[24:]))
	switch {
	case le.Uint16(meta[26:]) != 0:
		return fmt.Errorf("%w: answer's reserved bytes are not 0", ErrMeta)
	case addr > MaxAddr:
		return fmt.Errorf("%w: leader address of %d bytes, limit %d", ErrMeta, addr, MaxAddr)
	case msg > MaxMessage:
		return fmt.Errorf("%w: message of %d bytes, limit %d", ErrMeta, msg, MaxMessage)
	case n > MaxCRCs:
		return fmt.Errorf("%w: answer with %d checksums, limit %d", ErrMeta, n, MaxCRCs)
	case len(meta) != responseFixed+4*n+addr+msg:
		return fmt.Errorf("%w: answer of %d bytes, its parts make %d",
			ErrMeta, len(meta), responseFixed+4*n+addr+msg)
	}
	r.LeaderReplica, r.LeaderNode = le.Uint64(meta), le.Uint64(meta[8:])
	r.RetryAfterMS = le.Uint32(meta[16:])
	r.CRCs = readCRCs(r.CRCs, meta[responseFixed:], n)
	rest := meta[responseFixed+4*n:]
	r.LeaderAddr, r.Message = string(rest[:addr]), string(rest[addr:])
	return nil
}

func appendCRCs(dst []byte, crcs []uint32) []byte {
	for _, c := range crcs {
		dst = binary.LittleEndian.AppendUint32(dst, c)
	}
	return dst
}

func readCRCs(dst []uint32, b []byte, n int) []uint32 {
	dst = dst[:0]
	if cap(dst) < n {
		dst = make([]uint32, 0, n)
	}
	for i := range n {
		dst = append(dst, binary.LittleEndian.Uint32(b[4*i:]))
	}
	return dst
}

// cut shortens s to at most n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
