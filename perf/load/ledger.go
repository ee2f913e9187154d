package load

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The head of a verified block, little endian: magic, crc32c of all that follows it, offset, seed,
// number of the write of this block.
const (
	headBytes = 32
	headMagic = 0x4c485341 // "ASHL"
	sector    = 512        // what a device writes at once at least
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ledger knows which write each block must hold. It is pure, and not safe for concurrent use; fill
// and check only read what never changes, and may run beside everything.
type ledger struct {
	v       *Verify
	block   int64
	offset  int64
	seed    uint64
	written []uint32 // number of the last acknowledged write of each block; 0: none
	taken   []uint64 // bits: an operation is under way
}

func newLedger(v *Verify, block int, offset, size int64, seed uint64) *ledger {
	n := size / int64(block)
	return &ledger{v: v, block: int64(block), offset: offset, seed: seed,
		written: make([]uint32, n), taken: make([]uint64, n/64+1)}
}

// take begins an operation on the block at off of the region, or on the next one that is free: two
// at a time on one block would leave open what it must hold. The stamp is the number of the write
// that begins, or of the one that a read must return; 0 when that is not known.
func (l *ledger) take(off int64, kind Kind) (at int64, stamp uint32) {
	i := uint64(off / l.block)
	for l.taken[i/64]&(1<<(i%64)) != 0 {
		i = (i + 1) % uint64(len(l.written))
	}
	l.taken[i/64] |= 1 << (i % 64)
	stamp = l.written[i]
	if kind == Write {
		stamp++
	}
	return int64(i) * l.block, stamp
}

// give ends an operation.
func (l *ledger) give(off int64, kind Kind, stamp uint32) {
	i := uint64((off - l.offset) / l.block)
	l.taken[i/64] &^= 1 << (i % 64)
	if kind == Write {
		l.written[i] = stamp
	}
}

// after is the first written block at or behind from; false when there is none.
func (l *ledger) after(from int) (i int, ok bool) {
	for i = from; i < len(l.written); i++ {
		if l.written[i] > 0 {
			return i, true
		}
	}
	return i, false
}

// fill makes the content of a write.
func (l *ledger) fill(data []byte, off int64, stamp uint32) {
	if l.v.Pattern != nil {
		l.repeat(data, off)
		return
	}
	x := mix(l.seed ^ mix(uint64(off)) ^ uint64(stamp)<<1)
	rest := data[headBytes:]
	for len(rest) >= 8 {
		x = x*6364136223846793005 + 1442695040888963407
		binary.LittleEndian.PutUint64(rest, x^x>>29)
		rest = rest[8:]
	}
	for i := range rest {
		rest[i] = byte(i)
	}
	binary.LittleEndian.PutUint32(data, headMagic)
	binary.LittleEndian.PutUint64(data[8:], uint64(off))
	binary.LittleEndian.PutUint64(data[16:], l.seed)
	binary.LittleEndian.PutUint64(data[24:], uint64(stamp))
	binary.LittleEndian.PutUint32(data[4:], crc32.Checksum(data[8:], castagnoli))
}

func (l *ledger) repeat(data []byte, off int64) {
	p := bytes.Clone(l.v.Pattern)
	if at := l.v.PatternAt; at >= 0 {
		binary.LittleEndian.PutUint64(p[at:], uint64(off))
	}
	for n := 0; n < len(data); {
		n += copy(data[n:], p)
	}
}

// check says whether data, read at off, is write number stamp; 0 stands for any write of a job with
// the same seed.
func (l *ledger) check(data []byte, off int64, stamp uint32) error {
	if l.v.Pattern != nil {
		want := make([]byte, len(data))
		l.repeat(want, off)
		if i := differ(data, want); i < len(data) {
			return fmt.Errorf("%w: offset %d: byte %d is %#02x, the pattern has %#02x", ErrLied,
				off, i, data[i], want[i])
		}
		return nil
	}
	h := headOf(data)
	switch {
	case !h.whole:
		return l.broken(data, off, stamp)
	case h.seed != l.seed:
		return fmt.Errorf("%w: offset %d: a block of another run (seed %#x, this one has %#x)",
			ErrLied, off, h.seed, l.seed)
	case h.off != uint64(off):
		return fmt.Errorf("%w: offset %d: the block of offset %d is here", ErrLied, off, h.off)
	case stamp > 0 && h.stamp != uint64(stamp):
		return fmt.Errorf("%w: offset %d: write %d of this block is here, and %d was acknowledged",
			ErrLied, off, h.stamp, stamp)
	}
	return nil
}

type head struct {
	whole            bool // magic and checksum fit
	off, seed, stamp uint64
}

func headOf(data []byte) head {
	le := binary.LittleEndian
	return head{off: le.Uint64(data[8:]), seed: le.Uint64(data[16:]), stamp: le.Uint64(data[24:]),
		whole: le.Uint32(data) == headMagic &&
			le.Uint32(data[4:]) == crc32.Checksum(data[8:], castagnoli)}
}

// broken says what is wrong with a block that is no write as a whole.
func (l *ledger) broken(data []byte, off int64, stamp uint32) error {
	if stamp == 0 {
		stamp = uint32(headOf(data).stamp)
	}
	if zero(data) {
		return fmt.Errorf("%w: offset %d: zeroes are here, and write %d was acknowledged", ErrLied,
			off, stamp)
	}
	// Which write each sector is of; 0: of none that is tried.
	var parts []uint32
	for at := 0; at < len(data); at += sector {
		parts = append(parts, 0)
	}
	whole := true
	want := make([]byte, len(data))
	for back := uint32(0); back < min(tornLookBack, stamp); back++ {
		l.fill(want, off, stamp-back)
		for i := range parts {
			end := min((i+1)*sector, len(data))
			if parts[i] == 0 && bytes.Equal(data[i*sector:end], want[i*sector:end]) {
				parts[i] = stamp - back
			}
		}
	}
	for _, p := range parts {
		whole = whole && p > 0
	}
	if whole {
		return fmt.Errorf("%w: offset %d: torn: its sectors are of the writes %v of this block",
			ErrLied, off, parts)
	}
	l.fill(want, off, stamp)
	return fmt.Errorf("%w: offset %d: corrupt: differs from write %d of this block from byte %d "+
		"on (its sectors are of the writes %v, 0: of none)", ErrLied, off, stamp,
		differ(data, want), parts)
}

func zero(data []byte) bool {
	for _, b := range data {
		if b != 0 {
			return false
		}
	}
	return true
}

func differ(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}
