package meta

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"time"

	"github.com/google/uuid"
)

// A backup is a header, parts with the records in the order of their keys, and an end. Numbers are
// little-endian, checksums crc32c, reserved bytes zero.
//
// Header of a backup:
//
//	 0 crc32c u32 of bytes 4..127
//	 4 magic u32 "ASMB"
//	 8 version u16 | 10 reserved u16 | 12 size u32 of the header = 128
//	16 cluster id, 16 bytes
//	32 revision u64: of the last transaction that is in it
//	40 taken u64: when, nanoseconds since 1970
//	48 reserved to 127
//
// Part of a backup:
//
//	 0 crc32c u32 of all bytes of the part behind it
//	 4 magic u32 "ASMP"
//	 8 number u64: of this part, from 1
//	16 records u32 in it | 20 length u32 of what follows
//	24 records, each: length of the key u32, length of the value u32, key, value
//
// End of a backup:
//
//	 0 crc32c u32 of bytes 4..63
//	 4 magic u32 "ASME"
//	 8 parts u64
//	16 records u64 in all
//	24 sha256 of everything before the end, 32 bytes
//	56 reserved u64, and then nothing more
const (
	backupVersion = 1

	backupMagic = 0x424d5341
	partMagic   = 0x504d5341
	endMagic    = 0x454d5341

	backupHeaderBytes = 128
	backupPartHead    = 24
	backupEndBytes    = 64
	recordHead        = 8
)

// ErrBackup marks a file that is no whole backup: cut off, damaged, or something else.
var ErrBackup = errors.New("meta: not a sound backup")

// Backup is what a backup file holds.
type Backup struct {
	ClusterID string
	Revision  uint64 // of the last transaction in it
	Taken     time.Time
	Records   uint64
	Bytes     uint64 // of the file
	SHA256    string // of everything in the file before its end
}

// put writes the header.
func (h *Backup) put(b []byte) error {
	id, err := uuid.Parse(h.ClusterID)
	if err != nil {
		return fmt.Errorf("%w: cluster id %q: %w", ErrCorrupt, h.ClusterID, err)
	}
	le := binary.LittleEndian
	le.PutUint32(b[4:], backupMagic)
	le.PutUint16(b[8:], backupVersion)
	le.PutUint32(b[12:], backupHeaderBytes)
	copy(b[16:], id[:])
	le.PutUint64(b[32:], h.Revision)
	le.PutUint64(b[40:], uint64(h.Taken.UnixNano()))
	le.PutUint32(b[0:], crc32.Checksum(b[4:], castagnoli))
	return nil
}

// take reads the header.
func (h *Backup) take(b []byte) error {
	le := binary.LittleEndian
	version, id := le.Uint16(b[8:]), uuid.UUID(b[16:32])
	switch {
	case le.Uint32(b[4:]) != backupMagic:
		return fmt.Errorf("%w: it does not begin like one", ErrBackup)
	case version > backupVersion:
		return fmt.Errorf("%w: a backup of version %d, this program knows up to %d: run a newer "+
			"program", ErrVersion, version, backupVersion)
	case le.Uint32(b) != crc32.Checksum(b[4:], castagnoli):
		return fmt.Errorf("%w: its header fails its checksum", ErrBackup)
	case version == 0 || le.Uint16(b[10:]) != 0 || le.Uint32(b[12:]) != backupHeaderBytes ||
		!isZero(b[48:]):
		return fmt.Errorf("%w: its header has what nobody writes", ErrBackup)
	}
	h.ClusterID, h.Revision = id.String(), le.Uint64(b[32:])
	h.Taken = time.Unix(0, int64(le.Uint64(b[40:])))
	return nil
}

func isZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// backupWriter writes a backup.
type backupWriter struct {
	to      io.Writer
	info    Backup
	sum     hash.Hash
	part    []byte // head and records
	records uint32 // in the part
	parts   uint64
	last    []byte // key
}

func newBackupWriter(to io.Writer, info Backup) (*backupWriter, error) {
	w := &backupWriter{to: to, info: info, sum: sha256.New(), part: make([]byte, backupPartHead)}
	head := make([]byte, backupHeaderBytes)
	if err := w.info.put(head); err != nil {
		return nil, err
	}
	return w, w.write(head)
}

func (w *backupWriter) write(b []byte) error {
	w.sum.Write(b)
	w.info.Bytes += uint64(len(b))
	_, err := w.to.Write(b)
	return err
}

// add takes the next record; keys rise.
func (w *backupWriter) add(key, value []byte) error {
	if err := checkEntry(key, value); err != nil {
		return err
	}
	if bytes.Compare(key, w.last) <= 0 {
		return fmt.Errorf("%w: key %q after %q", ErrCorrupt, key, w.last)
	}
	size := recordHead + len(key) + len(value)
	if w.records > 0 && len(w.part)+size > backupPartBytes {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.last = append(w.last[:0], key...)
	w.part = binary.LittleEndian.AppendUint32(w.part, uint32(len(key)))
	w.part = binary.LittleEndian.AppendUint32(w.part, uint32(len(value)))
	w.part = append(append(w.part, key...), value...)
	w.records++
	w.info.Records++
	return nil
}

// flush writes the part.
func (w *backupWriter) flush() error {
	w.parts++
	putPart(w.part, w.parts, w.records)
	err := w.write(w.part)
	w.part, w.records = w.part[:backupPartHead], 0
	return err
}

func putPart(b []byte, number uint64, records uint32) {
	le := binary.LittleEndian
	le.PutUint32(b[4:], partMagic)
	le.PutUint64(b[8:], number)
	le.PutUint32(b[16:], records)
	le.PutUint32(b[20:], uint32(len(b)-backupPartHead))
	le.PutUint32(b[0:], crc32.Checksum(b[4:], castagnoli))
}

// end completes the backup.
func (w *backupWriter) end() (Backup, error) {
	if w.records > 0 {
		if err := w.flush(); err != nil {
			return w.info, err
		}
	}
	sum := w.sum.Sum(nil)
	w.info.SHA256 = hex.EncodeToString(sum)
	err := w.write(putEnd(w.parts, w.info.Records, sum))
	return w.info, err
}

func putEnd(parts, records uint64, sum []byte) []byte {
	b := make([]byte, backupEndBytes)
	le := binary.LittleEndian
	le.PutUint32(b[4:], endMagic)
	le.PutUint64(b[8:], parts)
	le.PutUint64(b[16:], records)
	copy(b[24:], sum)
	le.PutUint32(b[0:], crc32.Checksum(b[4:], castagnoli))
	return b
}
