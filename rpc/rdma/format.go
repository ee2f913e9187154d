package rdma

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// A message of the card, at most SlotSize bytes:
//
//	 0          2         3         4         5         6             8
//	+----------+---------+---------+---------+---------+-------------+
//	| "AR"     | version |  kind   | pieces  |  flags  |   credits   |
//	+----------+---------+---------+---------+---------+-------------+ 8
//	|         taken                |        reserved 0               |
//	+------------------------------+---------------------------------+ 16
//	| pieces x descriptor ...                                        |
//	+----------------------------------------------------------------+
//	| descriptor of the room, with flag bit 0                        |
//	+----------------------------------------------------------------+
//	| body ...                                                       |
//	+----------------------------------------------------------------+
//
// A descriptor is a window into the sender's memory:
//
//	 0             8          12           16
//	+-------------+----------+------------+
//	|   address   |   key    |   length   |
//	+-------------+----------+------------+
//
// Little-endian. Credits is how many receives the sender has posted anew since it last said so,
// taken how many frames whose payload the receiver of it is to read have been dealt with since the
// connection began, modulo 2^32.
//
// Kinds: 1 head, a frame's header and the beginning of its metadata; 2 more, what did not fit; 3
// done, only credits and taken; 4 proof, 32 bytes of HMAC-SHA-256; 5 bye, the sender closes in good
// order. Flags of a head: bit 0, a room for the answer's payload is open; bit 1, the payload lies
// in the room of the request; bit 2, the sender runs short of windows and wants to be told at once
// when the payload was taken. Pieces are windows to read the payload from.

// FormatVersion is the version of messages and private data.
const FormatVersion = 1

const (
	slotMagic = 0x5241 // "AR" in order of bytes
	slotHead  = 16
	descSize  = 16
)

type kind uint8

const (
	kindHead kind = iota + 1
	kindMore
	kindDone
	kindProof
	kindBye
)

const (
	flagRoom uint8 = 1 << iota
	flagPlaced
	flagTell
	knownFlags = flagRoom | flagPlaced | flagTell
)

// ErrFormat: the peer sent what this protocol does not know.
var ErrFormat = errors.New("rdma: bad message")

// desc is a window of the peer.
type desc struct {
	addr uint64
	key  uint32
	size uint32
}

// slot is a decoded message. Its slices point into the message.
type slot struct {
	kind    kind
	flags   uint8
	credits uint16
	taken   uint32
	pieces  []byte // of descriptors
	room    desc
	body    []byte
}

// putSlot writes the fixed part of a message and returns its size.
func putSlot(dst []byte, s *slot) int {
	le := binary.LittleEndian
	le.PutUint16(dst, slotMagic)
	dst[2], dst[3] = FormatVersion, byte(s.kind)
	dst[4], dst[5] = byte(len(s.pieces)/descSize), s.flags
	le.PutUint16(dst[6:], s.credits)
	le.PutUint32(dst[8:], s.taken)
	le.PutUint32(dst[12:], 0)
	n := slotHead + copy(dst[slotHead:], s.pieces)
	if s.flags&flagRoom != 0 {
		s.room.put(dst[n:])
		n += descSize
	}
	return n + copy(dst[n:], s.body)
}

func (d *desc) put(dst []byte) {
	le := binary.LittleEndian
	le.PutUint64(dst, d.addr)
	le.PutUint32(dst[8:], d.key)
	le.PutUint32(dst[12:], d.size)
}

func getDesc(b []byte) desc {
	le := binary.LittleEndian
	return desc{addr: le.Uint64(b), key: le.Uint32(b[8:]), size: le.Uint32(b[12:])}
}

// parseSlot decodes a message. Errors are of class ErrFormat, or wire.ErrVersion.
func parseSlot(b []byte) (s slot, err error) {
	if len(b) < slotHead || len(b) > SlotSize {
		return s, fmt.Errorf("%w: %d bytes, want %d to %d", ErrFormat, len(b), slotHead, SlotSize)
	}
	le := binary.LittleEndian
	if m := le.Uint16(b); m != slotMagic {
		return s, fmt.Errorf("%w: magic %#04x, want %#04x", ErrFormat, m, slotMagic)
	}
	if b[2] != FormatVersion {
		return s, fmt.Errorf("%w: rdma message of version %d, this build reads %d",
			wire.ErrVersion, b[2], FormatVersion)
	}
	s = slot{kind: kind(b[3]), flags: b[5], credits: le.Uint16(b[6:]), taken: le.Uint32(b[8:])}
	pieces := int(b[4])
	if reserved := le.Uint32(b[12:]); reserved != 0 {
		return s, fmt.Errorf("%w: reserved bytes are %#08x, want 0", ErrFormat, reserved)
	}
	rest := b[slotHead:]
	if err := s.check(pieces, len(rest)); err != nil {
		return s, err
	}
	s.pieces, rest = rest[:pieces*descSize], rest[pieces*descSize:]
	if s.flags&flagRoom != 0 {
		s.room, rest = getDesc(rest), rest[descSize:]
		if s.room.size == 0 || s.room.size > wire.MaxPayload {
			return s, fmt.Errorf("%w: room of %d bytes, limit %d", ErrFormat, s.room.size,
				wire.MaxPayload)
		}
	}
	s.body = rest
	return s, nil
}

func (s *slot) check(pieces, rest int) error {
	need := pieces * descSize
	if s.flags&flagRoom != 0 {
		need += descSize
	}
	switch {
	case s.kind == 0 || s.kind > kindBye:
		return fmt.Errorf("%w: kind %d is unknown", ErrFormat, s.kind)
	case s.flags&^knownFlags != 0:
		return fmt.Errorf("%w: flags %#02x has unknown bits", ErrFormat, s.flags)
	case s.kind != kindHead && (pieces != 0 || s.flags != 0):
		return fmt.Errorf("%w: kind %d with %d pieces and flags %#02x", ErrFormat, s.kind, pieces,
			s.flags)
	case pieces > MaxPieces:
		return fmt.Errorf("%w: %d pieces, limit %d", ErrFormat, pieces, MaxPieces)
	case pieces > 0 && s.flags&flagPlaced != 0:
		return fmt.Errorf("%w: a payload that is placed and in %d pieces", ErrFormat, pieces)
	case rest < need:
		return fmt.Errorf("%w: %d bytes for %d pieces and flags %#02x", ErrFormat, rest, pieces,
			s.flags)
	case (s.kind == kindDone || s.kind == kindBye) && rest != 0:
		return fmt.Errorf("%w: kind %d with a body of %d bytes", ErrFormat, s.kind, rest)
	case s.kind == kindProof && rest != proofSize:
		return fmt.Errorf("%w: proof of %d bytes, want %d", ErrFormat, rest, proofSize)
	case s.kind == kindMore && rest == 0:
		return fmt.Errorf("%w: nothing more", ErrFormat)
	}
	return nil
}

// Private data of a connection request and of its answer:
//
//	 0              4         6         8          10        12
//	+--------------+---------+---------+----------+---------+
//	| magic "ASHR" | version |  flags  | credits  | reason  |
//	+--------------+---------+---------+----------+---------+ 12
//	|   slot size  |           nonce (16 bytes)             |
//	+--------------+----------------------------------------+ 32
//	| reserved 0 (8 bytes)                                  |
//	+-------------------------------------------------------+ 40
//
// Little-endian; cards pad with zeroes. Credits is the receives that the sender posts for this
// connection. Flag bit 0: a pre-shared key is set. Reason is 0 but in a refusal.

const (
	introMagic = 0x52485341 // "ASHR" in order of bytes
	introSize  = 40
	nonceSize  = 16
)

const (
	introKey   uint16 = 1 << iota
	introKnown        = introKey
)

// reason says why a connection is refused.
type reason uint16

const (
	reasonNone reason = iota
	reasonVersion
	reasonKey
	reasonFull
	reasonBad
	reasonEnd
)

// intro is what each side says before the connection stands.
type intro struct {
	version  uint16
	flags    uint16
	credits  uint16
	reason   reason
	slotSize uint32
	nonce    [nonceSize]byte
}

func (i *intro) appendTo(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, introMagic)
	dst = le.AppendUint16(dst, FormatVersion)
	dst = le.AppendUint16(dst, i.flags)
	dst = le.AppendUint16(dst, i.credits)
	dst = le.AppendUint16(dst, uint16(i.reason))
	dst = le.AppendUint32(dst, i.slotSize)
	dst = append(dst, i.nonce[:]...)
	return le.AppendUint64(dst, 0)
}

// parseIntro decodes private data. Errors are of class ErrFormat, or wire.ErrVersion.
func parseIntro(b []byte) (i intro, err error) {
	if len(b) < introSize {
		return i, fmt.Errorf("%w: private data of %d bytes, want %d", ErrFormat, len(b), introSize)
	}
	le := binary.LittleEndian
	if m := le.Uint32(b); m != introMagic {
		return i, fmt.Errorf("%w: private data's magic is %#08x, want %#08x", ErrFormat, m,
			introMagic)
	}
	i.version = le.Uint16(b[4:])
	if i.version != FormatVersion {
		return i, fmt.Errorf("%w: peer speaks rdma version %d, this build %d", wire.ErrVersion,
			i.version, FormatVersion)
	}
	i.flags, i.credits = le.Uint16(b[6:]), le.Uint16(b[8:])
	i.reason, i.slotSize = reason(le.Uint16(b[10:])), le.Uint32(b[12:])
	copy(i.nonce[:], b[16:])
	for _, c := range b[32:] {
		if c != 0 {
			return i, fmt.Errorf("%w: private data's reserved bytes are not 0", ErrFormat)
		}
	}
	switch {
	case i.flags&^introKnown != 0:
		return i, fmt.Errorf("%w: private data's flags are %#04x", ErrFormat, i.flags)
	case i.reason >= reasonEnd:
		return i, fmt.Errorf("%w: private data's reason is %d", ErrFormat, i.reason)
	case i.reason == 0 && (i.credits < MinCredits || i.credits > MaxCredits):
		return i, fmt.Errorf("%w: %d credits, want %d to %d", ErrFormat, i.credits, MinCredits,
			MaxCredits)
	case i.reason == 0 && i.slotSize != SlotSize:
		return i, fmt.Errorf("%w: messages of %d bytes, want %d", ErrFormat, i.slotSize, SlotSize)
	}
	return i, nil
}
