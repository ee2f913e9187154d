package disk

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
)

// openNames reads the directory of a device and ends what a power cut left half done. To look,
// it leaves the device as it is.
func openNames(m medium, look bool, log *slog.Logger) (*deviceNames, error) {
	sb, err := readSuperblock(m, look, log)
	if err != nil {
		return nil, err
	}
	part := min(scanBytes, int(sb.directory()))
	l := loader{m: m, sb: sb, look: look, log: log, one: aligned(part), two: aligned(part),
		d: &deviceNames{m: m, sb: sb, names: map[string]*devNode{}}}
	for off := int64(0); off < sb.directory(); off += scanBytes {
		if err := l.scan(off, min(scanBytes, sb.directory()-off)); err != nil {
			return nil, err
		}
	}
	if err := l.settle(); err != nil {
		return nil, err
	}
	return l.d, nil
}

// loader reads a directory.
type loader struct {
	m    medium
	sb   superblock
	look bool
	log  *slog.Logger
	d    *deviceNames
	// one and two are a part of each copy.
	one, two []byte
	// older are the entries whose name a newer one has.
	older []entry
	// damaged counts the slots that are bad in both copies; worst is the error of the first.
	damaged int
	worst   error
	// rotten counts those that are bad in one; rot is the error of the first.
	rotten int
	rot    error
}

// scan reads a part of both copies.
func (l *loader) scan(off, n int64) error {
	first, second := l.sb.firstCopy()+off, l.sb.secondCopy()+off
	a, b := l.readPart(l.one[:n], first), l.readPart(l.two[:n], second)
	block := aligned(BlockSize)
	for at := int64(0); at < n; at += BlockSize {
		one, two := a[at:at+BlockSize], b[at:at+BlockSize]
		copy(block, one)
		before := l.damaged
		for i := int64(0); i < BlockSize; i += entrySize {
			err := l.slot((off+at+i)/entrySize, block[i:i+entrySize], two[i:i+entrySize])
			if err != nil {
				return err
			}
		}
		if l.look || l.damaged > before {
			continue
		}
		if err := l.mend(first+at, one, block); err != nil {
			return err
		}
		if err := l.mend(second+at, two, block); err != nil {
			return err
		}
	}
	return nil
}

// readPart reads a part of one copy. What cannot be read is zeroes, which are no entries.
func (l *loader) readPart(p []byte, at int64) []byte {
	if _, err := l.m.ReadAt(p, at); err == nil {
		return p
	}
	for i := int64(0); i < int64(len(p)); i += BlockSize {
		if _, err := l.m.ReadAt(p[i:i+BlockSize], at+i); err != nil {
			clear(p[i : i+BlockSize])
		}
	}
	return p
}

// slot takes of the two copies of an entry the one that counts, and leaves it in one.
func (l *loader) slot(slot int64, one, two []byte) error {
	e, err1 := decodeEntry(one, &l.sb, slot)
	f, err2 := decodeEntry(two, &l.sb, slot)
	switch {
	case errors.Is(err1, ErrVersion):
		return err1
	case errors.Is(err2, ErrVersion):
		return err2
	case err1 != nil && err2 != nil:
		l.damage(slot, err1)
		return nil
	case err1 == nil && err2 == nil && e.gen == f.gen && e != f:
		l.damage(slot, fmt.Errorf("%w: two contents of one generation", ErrCorrupt))
		return nil
	case err1 != nil || err2 == nil && f.gen > e.gen:
		copy(one, two)
		e = f
	}
	if err := cmp.Or(err1, err2); err != nil {
		if l.rotten++; l.rotten == 1 {
			l.rot = fmt.Errorf("entry %d, %q: %w", slot, e.name, err)
		}
	}
	l.add(e)
	return nil
}

func (l *loader) damage(slot int64, why error) {
	if l.damaged++; l.damaged == 1 {
		l.worst = fmt.Errorf("entry %d, at offsets %d and %d: %w", slot,
			l.sb.firstCopy()+slot*entrySize, l.sb.secondCopy()+slot*entrySize, why)
	}
}

// mend writes a block of a copy again where it is not as it should be.
func (l *loader) mend(at int64, had, want []byte) error {
	if bytes.Equal(had, want) {
		return nil
	}
	if err := l.m.WriteVec([][]byte{want}, at, true); err != nil {
		return fmt.Errorf("disk: mend the directory: %w", err)
	}
	return nil
}

// add takes an entry over.
func (l *loader) add(e entry) {
	d := l.d
	d.gen = max(d.gen, e.gen)
	if e.kind == entryFree {
		d.slots = append(d.slots, e.slot)
		return
	}
	if n := d.names[e.name]; n != nil {
		if n.gen > e.gen {
			l.older = append(l.older, e)
			return
		}
		l.older = append(l.older, n.entry)
	}
	d.names[e.name] = &devNode{entry: e, refs: 1}
}

// settle finds out what is free, and frees the entries whose names are those of newer ones.
func (l *loader) settle() error {
	d := l.d
	if l.rotten > 0 {
		l.log.Warn("entries of the device's directory are damaged in one copy: the other is used",
			"entries", l.rotten, "first", l.rot)
	}
	if l.damaged > 0 {
		return fmt.Errorf("%w: %d entries of the directory are damaged in both copies, so files "+
			"are missing; the first is %w", ErrCorrupt, l.damaged, l.worst)
	}
	used := make([]extent, 0, len(d.names))
	for name, n := range d.names {
		if !d.isDir(path.Dir(name)) {
			return fmt.Errorf("%w: %s is in the directory of the device, and %s is not",
				ErrCorrupt, name, path.Dir(name))
		}
		used = append(used, n.extent())
	}
	free, at, ok := newSpace(d.sb.blocks(), used)
	if !ok {
		return fmt.Errorf("%w: two files have block %d of the device", ErrCorrupt, at.first)
	}
	d.space = free
	slices.Reverse(d.slots)
	if l.look {
		return nil
	}
	for _, e := range l.older {
		if err := d.commit("free", &entry{kind: entryFree, slot: e.slot}); err != nil {
			return err
		}
		d.slots = append(d.slots, e.slot)
	}
	return nil
}
