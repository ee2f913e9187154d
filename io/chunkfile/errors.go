package chunkfile

import (
	"errors"
	"fmt"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// Classes of errors, for errors.Is.
var (
	// ErrCorrupt: stored bytes do not fit their checksum, or a slot's metadata is lost. The
	// error is or wraps a *CorruptError, which says where.
	ErrCorrupt = errors.New("chunkfile: corrupt")
	// ErrTable: the device cannot read a chunk's metadata back, tried twice. It is disk.ErrIO too.
	ErrTable = errors.New("chunkfile: metadata unreadable")
	// ErrForeign: a slot file belongs to another store, or to another place of this one. It
	// matches ErrCorrupt too.
	ErrForeign = errors.New("chunkfile: foreign slot")
	// ErrNoSpace: no free slot and none can be made. It is disk.ErrNoSpace too.
	ErrNoSpace = fmt.Errorf("chunkfile: %w", disk.ErrNoSpace)
	// ErrExists: the store has a chunk of that id already.
	ErrExists = errors.New("chunkfile: chunk exists")
	// ErrNotExist: the store has no chunk of that id.
	ErrNotExist = errors.New("chunkfile: no such chunk")
	// ErrDeleted: the chunk was deleted while the caller held it.
	ErrDeleted = errors.New("chunkfile: chunk deleted")
	// ErrClosed: the pool is closed.
	ErrClosed = errors.New("chunkfile: closed")
	// ErrInvalid: the caller's request or configuration is wrong. The text says which field.
	ErrInvalid = errors.New("chunkfile: invalid argument")
	// ErrVersion: the slot was written by a newer release.
	ErrVersion = errors.New("chunkfile: unknown format version")
)

// CorruptError says which bytes of which disk do not fit. It matches ErrCorrupt.
type CorruptError struct {
	Disk   string // Config.Name
	File   string // name on the disk
	Offset int64  // first byte of the region in the file
	Length int64  // bytes of the region
	Want   uint32 // crc32c on record; 0 with Got 0 when the fault is not a checksum
	Got    uint32 // crc32c of what was read
	Reason string

	class error // ErrForeign, ErrVersion or nil
}

// Error names disk, file, offset, expected and got.
func (e *CorruptError) Error() string {
	where := fmt.Sprintf("chunkfile: corrupt: disk %s, file %s, offset %d, %d bytes: %s",
		e.Disk, e.File, e.Offset, e.Length, e.Reason)
	if e.Want == 0 && e.Got == 0 {
		return where
	}
	return fmt.Sprintf("%s: want crc32c %08x, got %08x", where, e.Want, e.Got)
}

// Is makes the error match ErrCorrupt, and ErrForeign or ErrVersion where that is the cause.
func (e *CorruptError) Is(target error) bool {
	return target == ErrCorrupt || (e.class != nil && target == e.class)
}
