package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/ashlar-storage/ashlar/cmd/kernel/writelog"
)

// sectorBytes is what a device writes whole or not at all.
const sectorBytes = 512

// Variants of what a power cut leaves at a flush.
const (
	whole = iota
	bare
	part
	stale // none that a power cut may leave: see canary
	variants
)

var variantNames = [variants]string{"whole", "bare", "part", "stale"}

// pending is a write that no flush has made durable yet.
type pending struct {
	offset int64
	data   []byte
	fs     bool // the file system's own
}

// walker builds the device as the log goes on: what is durable, what is not, and which operations
// were sent and acknowledged.
type walker struct {
	image   []byte
	scratch []byte
	old     []byte // of the canary
	oldDone int    // how many operations were acknowledged then
	pending []pending
	rng     *rand.Rand

	started, over bool
	sent          uint64
	sentDurable   uint64 // when the image last changed
	done          map[uint64]bool
	window        *window
	windows       []window // those that can be judged
	point         int
}

// window counts what the device was given between two marks.
type window struct {
	data, dataBytes, fs, flushes, fua, discards int64
	entered                                     int64 // segments of the log
}

// state is the disk that one power cut leaves, and what must be on it.
type state struct {
	point, variant int
	image          []byte
	sent           uint64
	done           map[uint64]bool
}

func newWalker(base []byte, seed uint64) *walker {
	return &walker{image: append([]byte(nil), base...), done: map[uint64]bool{},
		rng: rand.New(rand.NewPCG(seed, 77))}
}

// add takes the next entry and gives the states to be checked at it.
func (w *walker) add(e *writelog.Entry, give func(state)) error {
	if e.Has(writelog.Mark) {
		if e.Text == markOver {
			w.give(whole, w.full(), give)
		}
		return w.mark(e.Text)
	}
	if end := e.Offset + e.Length; end > int64(len(w.image)) {
		return fmt.Errorf("kernel: the log writes up to byte %d of a disk of %d", end, len(w.image))
	}
	if w.window != nil {
		w.window.count(e)
	}
	at := e.Has(writelog.Flush|writelog.FUA) && w.started && !w.over
	if at {
		w.point++
		w.give(bare, w.image, give)
		if len(w.pending) > 0 {
			w.give(part, w.some(), give)
		}
		w.canary(give)
	}
	w.apply(e)
	// Without anything pending this is the bare disk of the next flush, which is judged there by
	// what was acknowledged until then, and sent until now.
	if at && len(w.pending) > 0 {
		w.give(whole, w.full(), give)
	}
	return nil
}

// canary now and then gives the disk as it was some flushes ago: what a device leaves that forgets
// them. The lane must see that acknowledged writes are missing, or it sees nothing.
func (w *walker) canary(give func(state)) {
	switch at := w.point % canaryEvery; {
	case at == canaryEvery-canaryAge:
		w.old, w.oldDone = append(w.old[:0], w.image...), len(w.done)
	case w.old != nil && len(w.done)-w.oldDone >= canaryAcks:
		w.give(stale, w.old, give)
		w.old = nil
	}
}

// apply takes the write itself. A flush is for what completed before it; a FUA write is durable
// when it ends, and promises nothing about others.
func (w *walker) apply(e *writelog.Entry) {
	if e.Has(writelog.Flush) {
		for _, p := range w.pending {
			copy(w.image[p.offset:], p.data)
		}
		w.pending, w.sentDurable = nil, w.sent
	}
	switch {
	case e.Has(writelog.Discard), e.Length == 0:
	case e.Has(writelog.FUA):
		copy(w.image[e.Offset:], e.Data)
		w.sentDurable = w.sent
		for i := range w.pending { // an older write of the same place must not come back
			w.pending[i].overtaken(e.Offset, e.Data)
		}
	default:
		w.pending = append(w.pending, pending{offset: e.Offset,
			data: append([]byte(nil), e.Data...), fs: e.Has(writelog.Metadata)})
	}
}

// overtaken makes the bytes that a later write replaced those of that write.
func (p *pending) overtaken(offset int64, data []byte) {
	from, to := max(p.offset, offset), min(p.offset+int64(len(p.data)), offset+int64(len(data)))
	if from < to {
		copy(p.data[from-p.offset:to-p.offset], data[from-offset:])
	}
}

// full is the device with every pending write.
func (w *walker) full() []byte {
	if len(w.pending) == 0 {
		return w.image
	}
	w.scratch = append(w.scratch[:0], w.image...)
	image := w.scratch
	for _, p := range w.pending {
		copy(image[p.offset:], p.data)
	}
	return image
}

// some is the device with a random part of the pending writes.
func (w *walker) some() []byte {
	w.scratch = append(w.scratch[:0], w.image...)
	image := w.scratch
	for _, p := range w.pending {
		if p.fs {
			if w.rng.IntN(2) == 0 {
				copy(image[p.offset:], p.data)
			}
			continue
		}
		for at := 0; at < len(p.data); at += sectorBytes {
			if w.rng.IntN(2) == 0 {
				copy(image[p.offset+int64(at):], p.data[at:at+sectorBytes])
			}
		}
	}
	return image
}

// give hands out a state; its image is good until the walker goes on.
func (w *walker) give(variant int, image []byte, give func(state)) {
	sent := w.sent
	if variant == bare {
		sent = w.sentDurable
	}
	give(state{point: w.point, variant: variant, image: image, sent: sent,
		done: maps.Clone(w.done)})
}

func (w *walker) mark(text string) error {
	word, number, numbered := strings.Cut(text, ":")
	if numbered {
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return fmt.Errorf("kernel: mark %q: %w", text, err)
		}
		switch word {
		case markSent:
			w.sent = n
			return nil
		case markDone:
			w.done[n] = true
			return nil
		}
	}
	switch word {
	case markStart:
		w.started = true
	case markOver:
		w.over = true
	case markBegin:
		w.window = &window{}
	case markEnd:
		w.windows = append(w.windows, *w.window)
		w.window = nil
	case markSlow:
		w.window = nil
	case markRemoved:
	default:
		return fmt.Errorf("kernel: mark %q is none of the workload's", text)
	}
	return nil
}

func (n *window) count(e *writelog.Entry) {
	switch {
	case e.Has(writelog.Discard):
		n.discards++
		return
	case e.Length > 0 && e.Has(writelog.Metadata):
		n.fs++
	case e.Length > 0:
		n.data++
		n.dataBytes += e.Length
		if e.Length == enteringBytes {
			n.entered++
		}
	}
	if e.Has(writelog.FUA) {
		n.fua++
	} else if e.Has(writelog.Flush) {
		n.flushes++
	}
}

// enteringBytes is the write with which the log enters a segment: header, descriptor, one block.
const enteringBytes = 3 * blockSize

// judge says what a lone durable write must cost: one write of data made durable by one flush, or
// by FUA, and nothing of the file system's. For each segment that the log entered in the window, of
// which there are few, the header of the one before may be written again.
func (n *window) judge(client int64) error {
	more := n.data - client
	if more < 0 || more > n.entered || n.flushes+n.fua != n.data || n.fs != 0 || n.discards != 0 {
		return fmt.Errorf("kernel: %d client writes cost %d data writes, %d flushes, %d FUA "+
			"writes, %d writes of the file system and %d discards; one data write and one "+
			"flush each is the promise", client, n.data, n.flushes, n.fua, n.fs, n.discards)
	}
	return nil
}
