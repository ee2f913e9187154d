package copyset

import (
	"encoding/binary"
	"fmt"

	"github.com/ashlar-storage/ashlar/io/wal"
)

// The payload of a large write may stand in a slot file, where the store put it before it gave the
// record to the log (chunkfile.Twin). To the replica it is a payload that is only in the log: its
// position has the highest bit set, which no position in the log has, and names slot and block.
// What stands there may be written over by later writes of the same chunk, once it is applied; its
// checksums tell.
//
//	 63   62       52 51        28 27                        0
//	+---+------------+------------+---------------------------+
//	| 1 | 0          | slot       | byte in the slot's chunk  |
//	+---+------------+------------+---------------------------+
const (
	placedBit  wal.LSN = 1 << 63
	placeShift         = 28
	placeMask  wal.LSN = 1<<placeShift - 1
	slotMask           = 1<<24 - 1
)

// placedHead is what the meta of a RecordPlaced has before the command:
//
//	 0            8            16
//	+------------+------------+---------------------+
//	| slot u64   | reserved   | command             |
//	+------------+------------+---------------------+
//
// Little-endian; reserved is zero. The payload has the blocks of the slot that the command writes.
const placedHead = 16

// PlaceOf is the position of a block of a slot.
func PlaceOf(slot uint64, block uint32) wal.LSN {
	return placedBit | wal.LSN(slot)<<placeShift | wal.LSN(block)*BlockSize
}

// PlaceAt is the slot and the block at a position; false for a position in the log.
func PlaceAt(at wal.LSN) (slot uint64, block uint32, ok bool) {
	if at&placedBit == 0 {
		return 0, 0, false
	}
	return uint64(at>>placeShift) & slotMask, uint32(at&placeMask) / BlockSize, true
}

// Large is the chunk and the first block of a record's write, if it has at least so many bytes of
// payload.
func (a *Append) Large(record, least int) (c Chunk, first uint32, ok bool) {
	rec := &a.Records[record]
	if rec.Kind != RecordEntry || len(rec.Payload) < least || len(rec.Meta) < commandHeader ||
		CommandKind(rec.Meta[0]) != CmdWrite {
		return Chunk{}, 0, false
	}
	c, first = commandTarget(rec.Meta)
	return c, first, true
}

// Place makes a record of a large write name the slot that has its payload, in place of the bytes.
// The record must be durable after them.
func (a *Append) Place(record int, slot uint64) {
	rec := &a.Records[record]
	a.placed += len(rec.Payload)
	meta := make([]byte, placedHead, placedHead+len(rec.Meta))
	binary.LittleEndian.PutUint64(meta, slot)
	rec.Kind, rec.Meta = RecordPlaced, append(meta, rec.Meta...)
	rec.Payload, rec.CRCs = nil, nil
}

// PlacedCommand is the slot and the encoded command of a RecordPlaced. It fails with ErrBadCommand.
func PlacedCommand(meta []byte) (slot uint64, command []byte, err error) {
	if len(meta) < placedHead+commandHeader {
		return 0, nil, fmt.Errorf("%w: placed, with %d bytes", ErrBadCommand, len(meta))
	}
	le := binary.LittleEndian
	slot = le.Uint64(meta)
	if slot > slotMask || le.Uint64(meta[8:]) != 0 {
		return 0, nil, fmt.Errorf("%w: placed in slot %d, reserved bytes %#x", ErrBadCommand, slot,
			le.Uint64(meta[8:]))
	}
	return slot, meta[placedHead:], nil
}

// placedPayload is the payload of a RecordPlaced, and its command.
func placedPayload(rec *wal.Record) (Payload, []byte, error) {
	slot, command, err := PlacedCommand(rec.Meta)
	if err != nil {
		return Payload{}, nil, err
	}
	var c Command
	if err := c.Decode(command); err != nil {
		return Payload{}, nil, err
	}
	if c.Kind != CmdWrite {
		return Payload{}, nil, fmt.Errorf("%w: placed, and a %v", ErrBadCommand, c.Kind)
	}
	return Payload{Len: int(c.Count) * BlockSize, At: PlaceOf(slot, c.First)}, command, nil
}

// payloadAt is where a record's payload is, once it is durable.
func payloadAt(rec *wal.Record) wal.LSN {
	if rec.Kind != RecordPlaced {
		return rec.At
	}
	_, first := commandTarget(rec.Meta[placedHead:])
	return PlaceOf(binary.LittleEndian.Uint64(rec.Meta), first)
}

// Last is the index of the newest entry in the replica's log.
func (r *Replica) Last() uint64 { return r.entries.last() }

// newestPlaced is the newest entry whose payload stands in a slot; 0: there is none.
func (l *entryLog) newestPlaced() uint64 {
	for i := l.last(); i > l.base; i-- {
		if l.get(i).payload.At&placedBit != 0 {
			return i
		}
	}
	return 0
}

// Unreadable tells that the payload at a place was written over by later writes. A follower that
// lacks the entry is sent a snapshot, as if the log had been recycled up to there, when a state is
// recorded that has the entry. It returns false while there is none.
func (r *Replica) Unreadable(at wal.LSN) bool {
	for i := r.entries.last(); i > r.entries.base; i-- {
		if r.entries.get(i).payload.At == at {
			r.overwritten = max(r.overwritten, i)
			break
		}
	}
	r.forgetOverwritten()
	return r.overwritten <= r.entries.base
}

func (r *Replica) forgetOverwritten() {
	if r.overwritten > r.entries.base {
		r.entries.compact(min(r.overwritten, r.stateIndex, r.entries.last()))
	}
}
