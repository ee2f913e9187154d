package copyset

import (
	"encoding/binary"
	"errors"
)

// errShort is a decoder's complaint that the bytes end before the format does.
var errShort = errors.New("bytes end too early")

// errOrder is its complaint that numbers which rise do not.
var errOrder = errors.New("numbers out of order")

// reader takes little-endian numbers off a byte slice. After an error every read gives zero, so a
// decoder checks once, at its end.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n < 0 || len(r.b) < n {
		r.err, r.b = errShort, nil
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) u8() uint8 {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	if p := r.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if p := r.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

// count reads a number of items of at least size bytes each. A number that the remaining bytes
// cannot hold is an error, so no decoder allocates more than its input justifies.
func (r *reader) count(size int) int {
	n := r.u32()
	if r.err == nil && uint64(n)*uint64(size) > uint64(len(r.b)) {
		r.err, r.b = errShort, nil
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

// bytes reads a length and that many bytes, which alias the input.
func (r *reader) bytes() []byte { return r.take(r.count(1)) }

// ids reads a number of ids and the ids.
func (r *reader) ids() (ids []uint64) {
	for range r.count(8) {
		ids = append(ids, r.u64())
	}
	return ids
}
