package wal

import (
	"fmt"
	"unsafe"
)

// extent is what an append takes of a frame.
type extent struct {
	records int
	slices  int // payloads
	blocks  int // of payload
	body    int // bytes of encoded records
}

func (x extent) plus(o extent) extent {
	return extent{x.records + o.records, x.slices + o.slices, x.blocks + o.blocks,
		x.body + o.body}
}

// descriptor returns the bytes of the frame's descriptor.
func (x extent) descriptor() int { return blocksFor(frameHeaderSize+x.body) * BlockSize }

// frame returns the bytes of the frame on disk.
func (x extent) frame() int64 { return int64(x.descriptor() + x.blocks*BlockSize) }

// joins tells whether an append of extent o may share the frame of x, with room bytes left in
// the segment.
func (x extent) joins(o extent, room int64) bool {
	sum := x.plus(o)
	return sum.blocks*BlockSize <= MaxBatch && sum.slices <= MaxAppendRecords &&
		sum.records <= maxFrameRecords && sum.descriptor() <= maxDescriptor &&
		sum.frame() <= room
}

// measure validates records and returns their extent. It allocates only for an error.
func measure(records []Record, segmentSize int64) (x extent, err error) {
	meta := 0
	for i := range records {
		r := &records[i]
		if err := checkRecord(r, i); err != nil {
			return extent{}, err
		}
		if r.Payload != nil {
			x.slices++
		}
		meta += len(r.Meta)
		x.blocks += len(r.CRCs)
		x.body += recordHeaderSize + 4*len(r.CRCs) + len(r.Meta)
	}
	x.records = len(records)
	switch {
	case x.records > MaxAppendRecords:
		err = tooLarge("records", x.records, MaxAppendRecords)
	case x.blocks > MaxAppendBytes/BlockSize:
		err = tooLarge("bytes of payload", x.blocks*BlockSize, MaxAppendBytes)
	case meta > MaxAppendMeta:
		err = tooLarge("bytes of meta", meta, MaxAppendMeta)
	case x.frame() > segmentSize-BlockSize:
		err = tooLarge("bytes on disk", int(x.frame()), int(segmentSize-BlockSize))
	}
	if err != nil {
		return extent{}, err
	}
	return x, nil
}

func tooLarge(what string, n, limit int) error {
	return fmt.Errorf("%w: %d %s, at most %d: split it", ErrTooLarge, n, what, limit)
}

func checkRecord(r *Record, i int) error {
	switch {
	case r.Kind == 0:
		return fmt.Errorf("%w: record %d: Kind 0: use 1 to 255", ErrInvalid, i)
	case len(r.Meta) > MaxMeta:
		return fmt.Errorf("%w: record %d: Meta of %d bytes, at most %d", ErrInvalid, i,
			len(r.Meta), MaxMeta)
	case len(r.Payload)%BlockSize != 0:
		return fmt.Errorf("%w: record %d: Payload of %d bytes is not whole blocks of %d",
			ErrInvalid, i, len(r.Payload), BlockSize)
	case len(r.CRCs) != len(r.Payload)/BlockSize:
		return fmt.Errorf("%w: record %d: %d CRCs for %d blocks of Payload", ErrInvalid, i,
			len(r.CRCs), len(r.Payload)/BlockSize)
	case len(r.Payload) > 0 && !aligned(r.Payload):
		return fmt.Errorf("%w: record %d: Payload is not aligned to %d in memory",
			ErrInvalid, i, BlockSize)
	case invariants && badBlocks(r.Payload, r.CRCs) > 0:
		return fmt.Errorf("%w: record %d: CRCs are not those of Payload", ErrInvalid, i)
	}
	return nil
}

func aligned(p []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))%BlockSize == 0
}

// alignedBytes returns n zeroed bytes that start at a multiple of BlockSize. The runtime does
// not move what it has allocated.
func alignedBytes(n int) []byte {
	b := make([]byte, n+BlockSize)
	skip := 0
	if r := int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % BlockSize); r != 0 {
		skip = BlockSize - r
	}
	return b[skip : skip+n : skip+n]
}

// appendSlice adds p to vec, or lengthens the last slice when p follows it in the same memory.
func appendSlice(vec [][]byte, p []byte) [][]byte {
	if n := len(vec); n > 0 {
		last := vec[n-1]
		if sum := len(last) + len(p); cap(last) >= sum {
			if joined := last[:sum]; &joined[len(last)] == &p[0] {
				vec[n-1] = joined
				return vec
			}
		}
	}
	return append(vec, p)
}
