package disk

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
)

// readSuperblock reads both superblocks. A few bytes of the first 64 KiB that are not as they
// should be are rot, and are mended from the other copy; more is the beginning of something else
// that was put over ours, and nothing is touched.
func readSuperblock(m medium, look bool, log *slog.Logger) (sb superblock, err error) {
	head, tail := aligned(deviceHead), aligned(BlockSize)
	end := m.Size() / BlockSize * BlockSize
	if end < minDevice {
		return sb, fmt.Errorf("%w: %d bytes are too few for a device, which has %d at least",
			ErrForeign, end, minDevice)
	}
	if _, err := m.ReadAt(head, 0); err != nil {
		return sb, fmt.Errorf("disk: superblock: %w", err)
	}
	sb, err = decodeSuperblock(head)
	if errors.Is(err, ErrForeign) {
		if _, rerr := m.ReadAt(tail, end-BlockSize); rerr != nil {
			return sb, fmt.Errorf("disk: superblock: %w", rerr)
		}
		sb, err = decodeSuperblock(tail)
	}
	switch {
	case err == nil:
	case errors.Is(err, ErrForeign):
		return sb, foreign(head)
	default:
		return sb, err
	}
	if sb.size > end {
		return sb, fmt.Errorf("%w: the device has %d bytes, and was formatted with %d", ErrCorrupt,
			end, sb.size)
	}
	return sb, mendSuperblocks(m, &sb, head, look, log)
}

// foreign says what is at the beginning of a device that is not ours.
func foreign(head []byte) error {
	if blank(head) {
		return fmt.Errorf("%w: it is blank: `ashlar store format` makes it one", ErrForeign)
	}
	at := bytes.IndexFunc(head, func(r rune) bool { return r != 0 })
	return fmt.Errorf("%w: it carries something else, from byte %d on: name another device, or "+
		"erase this one with `ashlar store format --force`", ErrForeign, at)
}

// mendSuperblocks writes a damaged superblock again.
func mendSuperblocks(m medium, sb *superblock, head []byte, look bool, log *slog.Logger) error {
	page := sb.encode()
	whole := make([]byte, deviceHead)
	copy(whole, page)
	wrong := differing(head, whole)
	if wrong > rotBytes {
		return foreign(head)
	}
	tail := aligned(BlockSize)
	if _, err := m.ReadAt(tail, sb.again()); err != nil {
		clear(tail)
	}
	if wrong == 0 && bytes.Equal(tail, page) {
		return nil
	}
	log.Warn("one superblock of the device is damaged: the other is used", "first", wrong > 0)
	if look {
		return nil
	}
	if wrong > 0 {
		copy(head, whole)
		if err := m.WriteVec([][]byte{head}, 0, true); err != nil {
			return fmt.Errorf("disk: mend the superblock: %w", err)
		}
	}
	if err := m.WriteVec([][]byte{page}, sb.again(), true); err != nil {
		return fmt.Errorf("disk: mend the superblock: %w", err)
	}
	return nil
}

// differing counts the bytes in which two slices differ.
func differing(a, b []byte) (n int) {
	if bytes.Equal(a, b) {
		return 0
	}
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

// format makes an empty device of a medium. The first superblock is written last: without it
// there is no device.
func format(m medium, sb *superblock, force bool) (err error) {
	if !force {
		if err := checkBlank(m, sb.size); err != nil {
			return err
		}
	}
	none := aligned(deviceHead)
	page := sb.encode()
	write := func(p []byte, at int64) {
		if err == nil {
			err = m.WriteVec([][]byte{p}, at, true)
		}
	}
	write(none, 0)
	write(none[:BlockSize], sb.again())
	for off := int64(0); off < sb.directory() && err == nil; off += scanBytes {
		p := freeEntries(sb, off, min(scanBytes, sb.directory()-off))
		write(p, sb.firstCopy()+off)
		write(p, sb.secondCopy()+off)
	}
	write(page, sb.again())
	write(page, 0)
	if err != nil {
		return fmt.Errorf("disk: format: %w", err)
	}
	return nil
}

// freeEntries is a part of a directory without files.
func freeEntries(sb *superblock, off, n int64) []byte {
	p := aligned(int(n))
	for at := int64(0); at < n; at += entrySize {
		e := entry{kind: entryFree, slot: (off + at) / entrySize}
		e.put(p[at:], sb.id)
	}
	return p
}

// checkBlank refuses a medium that has something at its beginning or its end, where partition
// tables, file systems and arrays leave their marks.
func checkBlank(m medium, size int64) error {
	p := aligned(deviceHead)
	for _, at := range []int64{0, size - deviceHead} {
		if _, err := m.ReadAt(p, at); err != nil {
			return fmt.Errorf("disk: format: %w", err)
		}
		if blank(p) {
			continue
		}
		what := "something"
		if _, err := decodeSuperblock(p); err == nil {
			what = "a store"
		}
		return fmt.Errorf("%w: it is not blank, it carries %s at byte %d or behind: `ashlar store "+
			"format --force` erases that", ErrExists, what, at)
	}
	return nil
}

func newDeviceID() (id deviceID) {
	_, _ = rand.Read(id[:]) // which never fails
	return id
}
