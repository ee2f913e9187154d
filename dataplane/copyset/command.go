package copyset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"
)

// ErrBadCommand marks bytes that are no command of this version.
var ErrBadCommand = errors.New("copyset: bad command")

// CommandKind is what a log entry does to the state.
type CommandKind uint8

// Part of the log format; the numbers must not change.
const (
	CmdWrite        CommandKind = 1 // Count blocks get new bytes, all in the payload
	CmdZero         CommandKind = 2 // Count blocks read as zeroes, but for edge blocks
	CmdDeleteVolume CommandKind = 3 // every chunk of the volume is dropped
	CmdFence        CommandKind = 4 // sessions of the volume with an older epoch write no more
	CmdErased       CommandKind = 5 // of the volumes up to number Chunk nothing is left anywhere
)

// The flags of a CmdZero whose range does not begin or end on a block border: the payload has the
// first, the last, or both blocks whole.
const (
	flagHead = 1 << 0
	flagTail = 1 << 1
)

const (
	commandVersion = 1
	commandHeader  = 72
)

// Command is one replicated operation. It is what raft carries as an entry's data; the payload
// travels beside it. Part of the log format:
//
//	 0      1         2       3          4           8
//	+------+---------+-------+----------+-----------+---------+-------+-------+-----------+
//	| kind | version | flags | reserved | crc count | session | epoch | op id | low water |
//	+------+---------+-------+----------+-----------+---------+-------+-------+-----------+
//	 40       48      56            60      64         72
//	+--------+-------+-------------+-------+----------+------------------------------------+
//	| volume | chunk | first block | count | reserved | crc32c of each payload block, u32  |
//	+--------+-------+-------------+-------+----------+------------------------------------+
//
// All numbers are little-endian; session to chunk are 8 bytes, the rest 4 or 1. Reserved is zero.
type Command struct {
	Kind           CommandKind
	Flags          uint8
	Session, Epoch uint64
	OpID, LowWater uint64
	Volume, Chunk  uint64
	First, Count   uint32
	CRCs           []uint32
}

// PayloadBlocks is how many payload blocks the command has.
func (c *Command) PayloadBlocks() int {
	switch c.Kind {
	case CmdWrite:
		return int(c.Count)
	case CmdZero:
		return int(c.Flags&flagHead) + int(c.Flags&flagTail)>>1
	}
	return 0
}

// blockAt is which block of the payload becomes a block that the command changes; -1: none.
func (c *Command) blockAt(block uint32) int {
	switch last := c.First + c.Count - 1; {
	case c.Kind == CmdWrite:
		return int(block - c.First)
	case c.Kind == CmdZero && c.Flags&flagHead != 0 && block == c.First:
		return 0
	case c.Kind == CmdZero && c.Flags&flagTail != 0 && block == last:
		return len(c.CRCs) - 1
	}
	return -1
}

// changes says whether the command changes a block of a chunk.
func (c *Command) changes(chunk Chunk, block uint32) bool {
	switch {
	case c.Volume != chunk.Volume:
		return false
	case c.Kind == CmdDeleteVolume:
		return true
	}
	return c.OnBlocks() && c.Chunk == chunk.Index && block >= c.First && block-c.First < c.Count
}

// OnBlocks says whether the command is about blocks of a chunk, and not about a volume.
func (c *Command) OnBlocks() bool { return c.Kind == CmdWrite || c.Kind == CmdZero }

// AppendTo appends the encoded command to dst.
func (c *Command) AppendTo(dst []byte) []byte {
	le := binary.LittleEndian
	dst = append(dst, byte(c.Kind), commandVersion, c.Flags, 0)
	dst = le.AppendUint32(dst, uint32(len(c.CRCs)))
	for _, v := range [...]uint64{c.Session, c.Epoch, c.OpID, c.LowWater, c.Volume, c.Chunk} {
		dst = le.AppendUint64(dst, v)
	}
	dst = le.AppendUint32(dst, c.First)
	dst = le.AppendUint32(dst, c.Count)
	dst = le.AppendUint64(dst, 0)
	for _, crc := range c.CRCs {
		dst = le.AppendUint32(dst, crc)
	}
	return dst
}

// commandCRCs is the checksums of an encoded command, without a copy where the bytes lie as the
// machine has its numbers.
func commandCRCs(b []byte) []uint32 {
	n := (len(b) - commandHeader) / 4
	if n <= 0 {
		return nil
	}
	p := unsafe.Pointer(&b[commandHeader])
	if littleEndian && uintptr(p)%4 == 0 {
		return unsafe.Slice((*uint32)(p), n)
	}
	out := make([]uint32, n)
	for i := range out {
		out[i] = binary.LittleEndian.Uint32(b[commandHeader+4*i:])
	}
	return out
}

// commandTarget is the chunk and the first block of an encoded command.
func commandTarget(b []byte) (c Chunk, first uint32) {
	le := binary.LittleEndian
	return Chunk{Volume: le.Uint64(b[40:]), Index: le.Uint64(b[48:])}, le.Uint32(b[56:])
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

func (c *Command) size() int { return commandHeader + 4*len(c.CRCs) }

// Decode reads a command. Its checksums are those in b where that is possible without a copy, so b
// must stay as it is while they are used. It fails with ErrBadCommand.
func (c *Command) Decode(b []byte) error {
	if len(b) < commandHeader {
		return fmt.Errorf("%w: %d bytes, the header has %d", ErrBadCommand, len(b), commandHeader)
	}
	le := binary.LittleEndian
	n := int(le.Uint32(b[4:]))
	if b[1] != commandVersion {
		return fmt.Errorf("%w: version %d, this build reads %d", ErrBadCommand, b[1],
			commandVersion)
	}
	if b[3] != 0 || le.Uint64(b[64:]) != 0 {
		return fmt.Errorf("%w: reserved bytes are not zero", ErrBadCommand)
	}
	if len(b) != commandHeader+4*n {
		return fmt.Errorf("%w: %d bytes with %d checksums", ErrBadCommand, len(b), n)
	}
	c.Kind, c.Flags = CommandKind(b[0]), b[2]
	c.Session, c.Epoch = le.Uint64(b[8:]), le.Uint64(b[16:])
	c.OpID, c.LowWater = le.Uint64(b[24:]), le.Uint64(b[32:])
	at, first := commandTarget(b)
	c.Volume, c.Chunk, c.First, c.Count = at.Volume, at.Index, first, le.Uint32(b[60:])
	c.CRCs = commandCRCs(b)
	return c.validate()
}

func (c *Command) validate() error {
	switch {
	case c.Kind < CmdWrite || c.Kind > CmdErased:
		return fmt.Errorf("%w: kind %d", ErrBadCommand, c.Kind)
	case c.Flags&^(flagHead|flagTail) != 0 || c.Flags != 0 && c.Kind != CmdZero:
		return fmt.Errorf("%w: flags %#x with kind %d", ErrBadCommand, c.Flags, c.Kind)
	case c.OnBlocks() && (c.Count == 0 || c.First+c.Count < c.First):
		return fmt.Errorf("%w: blocks %d+%d", ErrBadCommand, c.First, c.Count)
	case c.Kind == CmdFence && (c.Epoch == 0 || c.Chunk|uint64(c.First)|uint64(c.Count) != 0):
		return fmt.Errorf("%w: fence of epoch %d, chunk %d, blocks %d+%d", ErrBadCommand, c.Epoch,
			c.Chunk, c.First, c.Count)
	case c.Kind == CmdErased && (c.Volume == 0 || c.Volume > c.Chunk):
		return fmt.Errorf("%w: erased volumes %d to %d", ErrBadCommand, c.Volume, c.Chunk)
	case c.PayloadBlocks() > int(c.Count):
		return fmt.Errorf("%w: two edges in one block", ErrBadCommand)
	case len(c.CRCs) != c.PayloadBlocks():
		return fmt.Errorf("%w: %d checksums for %d payload blocks", ErrBadCommand,
			len(c.CRCs), c.PayloadBlocks())
	}
	return nil
}
