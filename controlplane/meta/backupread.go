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
)

// backupReader reads a backup and believes nothing of it.
type backupReader struct {
	from    io.Reader
	info    Backup
	sum     hash.Hash
	parts   uint64
	records uint64
	last    []byte // key
}

// readBackup calls fn for every record, in the order of the keys. A record may come before what
// follows it turns out to be damaged: only when it returns nil was all of it a backup. Errors are
// of class ErrBackup or ErrVersion, or fn's.
func readBackup(from io.Reader, fn func(key, value []byte) error) (Backup, error) {
	r := &backupReader{from: from, sum: sha256.New()}
	head := make([]byte, backupHeaderBytes)
	if err := r.read(head, "its header"); err != nil {
		return r.info, err
	}
	if err := r.info.take(head); err != nil {
		return r.info, err
	}
	for {
		ended, err := r.next(fn)
		if err != nil || ended {
			return r.info, err
		}
	}
}

// read fills b, and takes it into the sum.
func (r *backupReader) read(b []byte, what string) error {
	_, err := io.ReadFull(r.from, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends within %s", ErrBackup, what)
	}
	if err != nil {
		return fmt.Errorf("meta: read backup: %w", err)
	}
	r.sum.Write(b)
	r.info.Bytes += uint64(len(b))
	return nil
}

// next reads a part, or the end.
func (r *backupReader) next(fn func(key, value []byte) error) (ended bool, err error) {
	what := fmt.Sprintf("part %d", r.parts+1)
	before := hex.EncodeToString(r.sum.Sum(nil))
	head := make([]byte, backupPartHead)
	if err := r.read(head, what); err != nil {
		return false, err
	}
	le := binary.LittleEndian
	length := le.Uint32(head[20:])
	switch {
	case le.Uint32(head[4:]) == endMagic:
		return true, r.end(head, before)
	case le.Uint32(head[4:]) != partMagic || le.Uint64(head[8:]) != r.parts+1 ||
		length > backupPartMost:
		return false, fmt.Errorf("%w: %s is damaged", ErrBackup, what)
	}
	r.parts++
	records := make([]byte, length)
	if err := r.read(records, what); err != nil {
		return false, err
	}
	sum := crc32.Update(crc32.Checksum(head[4:], castagnoli), castagnoli, records)
	if le.Uint32(head) != sum {
		return false, fmt.Errorf("%w: %s fails its checksum", ErrBackup, what)
	}
	return false, r.give(records, le.Uint32(head[16:]), what, fn)
}

// give hands the records of a part on.
func (r *backupReader) give(b []byte, count uint32, what string, fn func(k, v []byte) error) error {
	le := binary.LittleEndian
	for range count {
		if len(b) < recordHead {
			return fmt.Errorf("%w: %s has too few records", ErrBackup, what)
		}
		k, v := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:]))
		b = b[recordHead:]
		if k+v > uint64(len(b)) {
			return fmt.Errorf("%w: a record of %s is cut off", ErrBackup, what)
		}
		key, value := b[:k], b[k:k+v]
		b = b[k+v:]
		if checkEntry(key, value) != nil || bytes.Compare(key, r.last) <= 0 {
			return fmt.Errorf("%w: %s has a key that cannot be there", ErrBackup, what)
		}
		r.last = append(r.last[:0], key...)
		r.records++
		if err := fn(key, value); err != nil {
			return err
		}
	}
	if len(b) > 0 {
		return fmt.Errorf("%w: %s has bytes behind its records", ErrBackup, what)
	}
	return nil
}

// end checks what stands at the end against what was read.
func (r *backupReader) end(head []byte, sum string) error {
	b := append(head, make([]byte, backupEndBytes-backupPartHead)...)
	if err := r.read(b[backupPartHead:], "its end"); err != nil {
		return err
	}
	le := binary.LittleEndian
	switch {
	case le.Uint32(b) != crc32.Checksum(b[4:], castagnoli) || !isZero(b[56:]):
		return fmt.Errorf("%w: its end is damaged", ErrBackup)
	case le.Uint64(b[8:]) != r.parts || le.Uint64(b[16:]) != r.records:
		return fmt.Errorf("%w: it has %d parts with %d records, its end says %d with %d",
			ErrBackup, r.parts, r.records, le.Uint64(b[8:]), le.Uint64(b[16:]))
	case hex.EncodeToString(b[24:56]) != sum:
		return fmt.Errorf("%w: it fails its sha256", ErrBackup)
	}
	if n, err := r.from.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something is behind its end", ErrBackup)
	}
	r.info.Records, r.info.SHA256 = r.records, sum
	return nil
}
