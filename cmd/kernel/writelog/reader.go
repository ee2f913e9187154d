package writelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrFormat marks bytes that are no log of this version, or one that is cut short.
var ErrFormat = errors.New("writelog: bad log")

// MaxData bounds the data of one entry, in bytes: beyond what any block layer sends at once.
const MaxData = 64 << 20

const (
	magic      = 0x6a736677736872
	version    = 1
	superBytes = 28
	entryBytes = 32
	sectorMin  = 512
	sectorMax  = 4096
)

// Flags of an entry.
type Flags uint64

const (
	Flush Flags = 1 << iota
	FUA
	Discard
	Mark
	Metadata
	known = Flush | FUA | Discard | Mark | Metadata
)

// Entry is one request that the device was given, or a mark.
type Entry struct {
	Offset int64 // bytes
	Length int64 // bytes
	Flags  Flags
	Text   string // of a mark
	Data   []byte // of a write; valid until the next entry is read
}

// Has reports whether any of the flags is set.
func (e *Entry) Has(f Flags) bool { return e.Flags&f != 0 }

// Reader reads entries one after the other.
type Reader struct {
	from   io.Reader
	sector int64
	left   uint64
	index  uint64
	head   []byte
	data   []byte
}

// Open reads the head of a log.
func Open(from io.Reader) (*Reader, error) {
	head := make([]byte, sectorMin)
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, fmt.Errorf("%w: no head: %w", ErrFormat, err)
	}
	if got := binary.LittleEndian.Uint64(head); got != magic {
		return nil, fmt.Errorf("%w: magic %#x, want %#x", ErrFormat, got, uint64(magic))
	}
	if got := binary.LittleEndian.Uint64(head[8:]); got != version {
		return nil, fmt.Errorf("%w: version %d, want %d", ErrFormat, got, version)
	}
	r := &Reader{from: from, left: binary.LittleEndian.Uint64(head[16:]),
		sector: int64(binary.LittleEndian.Uint32(head[24:superBytes]))}
	if r.sector < sectorMin || r.sector > sectorMax || r.sector&(r.sector-1) != 0 {
		return nil, fmt.Errorf("%w: sector size %d", ErrFormat, r.sector)
	}
	r.head = make([]byte, r.sector)
	if _, err := io.CopyN(io.Discard, from, r.sector-sectorMin); err != nil {
		return nil, fmt.Errorf("%w: head: %w", ErrFormat, err)
	}
	return r, nil
}

// Entries is how many are left to read.
func (r *Reader) Entries() uint64 { return r.left }

// Next reads an entry; io.EOF after the last one.
func (r *Reader) Next(e *Entry) error {
	if r.left == 0 {
		return io.EOF
	}
	if _, err := io.ReadFull(r.from, r.head); err != nil {
		return r.broken("cut short: %v", err)
	}
	sectors := binary.LittleEndian.Uint64(r.head[8:])
	*e = Entry{Flags: Flags(binary.LittleEndian.Uint64(r.head[16:]))}
	text := binary.LittleEndian.Uint64(r.head[24:])
	first := binary.LittleEndian.Uint64(r.head)
	switch {
	case e.Flags&^known != 0:
		return r.broken("flags %#x", uint64(e.Flags))
	case first > 1<<52 || sectors > 1<<52:
		return r.broken("%d sectors at %d", sectors, first)
	case e.Has(Mark) && (sectors != 0 || text > uint64(r.sector-entryBytes)):
		return r.broken("mark of %d bytes and %d sectors", text, sectors)
	}
	e.Offset, e.Length = int64(first)*r.sector, int64(sectors)*r.sector
	if e.Has(Mark) {
		e.Text = strings.TrimRight(string(r.head[entryBytes:entryBytes+text]), "\x00\n")
	} else if err := r.readData(e); err != nil {
		return err
	}
	r.left--
	r.index++
	return nil
}

func (r *Reader) readData(e *Entry) error {
	if e.Has(Discard) {
		return nil
	}
	if e.Length > MaxData {
		return r.broken("%d bytes of data, at most %d", e.Length, MaxData)
	}
	if int64(cap(r.data)) < e.Length {
		r.data = make([]byte, e.Length)
	}
	e.Data = r.data[:e.Length]
	if _, err := io.ReadFull(r.from, e.Data); err != nil {
		return r.broken("data cut short: %v", err)
	}
	return nil
}

func (r *Reader) broken(format string, args ...any) error {
	return fmt.Errorf("%w: entry %d: %s", ErrFormat, r.index, fmt.Sprintf(format, args...))
}
