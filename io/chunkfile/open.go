package chunkfile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/ashlar-storage/ashlar/io/disk"
)

const (
	slotPrefix  = "slot-" // and slotDigits
	slotDigits  = 10
	draftPrefix = "new-" // a slot file that is not yet complete
)

func slotName(number uint64) string { return fmt.Sprintf("%s%0*d", slotPrefix, slotDigits, number) }

// parseSlotName returns the number of a slot file, if the name is one.
func parseSlotName(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, slotPrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n < MaxSlots && len(digits) == slotDigits
}

// Open reads the metadata of every slot file in cfg.Dir, by batches of asynchronous reads on
// several goroutines.
// Slots that cannot be trusted do not fail it: they are in Damage. ErrInvalid.
func Open(cfg Config) (*Pool, error) {
	cfg, err := cfg.normalize()
	if err != nil {
		return nil, err
	}
	g := newGeometry(cfg.ChunkSize)
	p := &Pool{
		cfg: cfg, disk: cfg.Disk, geometry: g, log: cfg.Logger,
		cache: cache{geometry: g, bound: cfg.CacheChunks},
		jobs:  jobs{size: g.metaSize},
		kick:  make(chan struct{}, 1), stop: make(chan struct{}),
		damage: map[uint64]Damage{}, lent: map[uint64]*slot{},
	}
	if err := p.load(); err != nil {
		p.closeFiles()
		return nil, err
	}
	p.reportGaps()
	if cfg.Reserve > 0 {
		p.stopped.Add(1)
		go p.fill()
		p.wake()
	}
	return p, nil
}

func (p *Pool) closeFiles() {
	for _, s := range p.slots {
		if s.file != nil {
			_ = s.file.Close() // nothing was written
		}
	}
}

// load reads all slots.
func (p *Pool) load() error {
	if err := p.disk.MkdirAll(p.cfg.Dir); err != nil {
		return fmt.Errorf("chunkfile: %w", err)
	}
	names, err := p.disk.List(p.cfg.Dir)
	if err != nil {
		return fmt.Errorf("chunkfile: %w", err)
	}
	slots := names[:0]
	for _, name := range names {
		if _, ok := parseSlotName(name); ok {
			slots = append(slots, name)
		} else if err := p.stray(name); err != nil {
			return err
		}
	}
	p.slots = make(map[uint64]*slot, len(slots))
	p.chunks = make(map[ID]*Chunk, len(slots))
	return p.scan(slots)
}

// stray handles a file that is not a slot: drafts of slots go, others stay.
func (p *Pool) stray(name string) error {
	if !strings.HasPrefix(name, draftPrefix) {
		p.log.Warn("chunkfile: unknown file in the pool's folder", "disk", p.cfg.Name,
			"dir", p.cfg.Dir, "file", name)
		return nil
	}
	err := p.disk.Remove(p.path(name))
	if err != nil && !errors.Is(err, disk.ErrNotExist) {
		return fmt.Errorf("chunkfile: remove a slot file that was not complete: %w", err)
	}
	return nil
}

func (p *Pool) path(name string) string { return p.cfg.Dir + "/" + name }

// checkSize refuses a file that is not as long as a slot.
func (g geometry) checkSize(file disk.File) *fault {
	if want := g.slotBytes(); file.Size() != want {
		return &fault{n: int(file.Size()), reason: fmt.Sprintf(
			"file of %d bytes, slots of chunk size %d have %d", file.Size(), g.chunkSize, want)}
	}
	return nil
}

// takeUsed adds a chunk, and its table if there was room for it.
func (p *Pool) takeUsed(s *slot, t *table) {
	c := &Chunk{pool: p, id: s.top.id, slot: s}
	if other, ok := p.chunks[c.id]; ok {
		if p.moved(c, other, t) {
			return
		}
		err := p.corrupt(s.name, 0, &fault{n: headerSector, reason: fmt.Sprintf(
			"chunk %v is in %s too", c.id, other.slot.name)})
		other.refuse = err
		for _, each := range []*slot{s, other.slot} {
			p.report(Damage{Slot: each.number, File: each.name, Fatal: true, ID: c.id,
				IDKnown: true, Err: err})
		}
		return
	}
	p.chunks[c.id] = c
	if t != nil {
		c.table = t
		p.cache.admit(c, false)
	}
}

// moved settles which of two slots has a chunk, when the power went while it moved from one to the
// other. The one that it moved from is freed.
func (p *Pool) moved(c, other *Chunk, t *table) bool {
	came := func(to, from *slot) bool {
		return to.top.from == origin{from.top.version, from.number}
	}
	left := c.slot
	switch {
	case other.refuse != nil:
		return false
	case came(c.slot, other.slot):
		left = other.slot
		if other.table != nil {
			p.cache.remove(other, other.table)
		}
		p.chunks[c.id] = c
		if t != nil {
			c.table = t
			p.cache.admit(c, false)
		}
	case !came(other.slot, c.slot):
		return false
	}
	if err := p.retire(left); err != nil { // the next checkpoint, or opening, tries again
		p.chunks[c.id].old = left
		p.log.Warn("chunkfile: cannot free the slot that a chunk has left", "disk", p.cfg.Name,
			"file", left.name, "error", err)
		return true
	}
	p.freeLocked(left)
	return true
}

// takeDamaged reports a slot of which no half can be used. If it says which chunk it held,
// the chunk exists and refuses all I/O. If it says that it held none, nothing is lost.
func (p *Pool) takeDamaged(s *slot, halves *[2]halfRead, reason string) {
	d := Damage{Slot: s.number, File: s.name, Fatal: true, Err: p.explain(s, halves, reason)}
	var claimed successor
	s.top, claimed = newestClaim(halves, p.cfg.StoreID, s.number)
	if leftFree(halves, p.geometry, claimed) {
		p.takeLeftFree(s, d)
		return
	}
	d.ID, d.IDKnown = claimed.id, claimed.state == stateUsed
	p.report(d)
	if !d.IDKnown {
		return
	}
	if other, ok := p.chunks[d.ID]; ok {
		other.refuse = d.Err
		return
	}
	p.chunks[d.ID] = &Chunk{pool: p, id: d.ID, slot: s, refuse: d.Err}
}

// newestClaim is the newest header that belongs where it was found, and what it says the slot
// holds now. A header that decoded names a chunk even where the rest of its half is bad.
func newestClaim(halves *[2]halfRead, store [16]byte, slot uint64) (top header, now successor) {
	for i := range halves {
		h := &halves[i].header
		ours := h.store == store && h.slot == slot && h.half == uint8(i)
		if h.version < top.version || h.version == 0 || !ours {
			continue
		}
		top, now = *h, h.follower()
		if h.sealed() {
			now = h.next
		}
	}
	return top, now
}

// leftFree reports whether a damaged slot is known to hold no chunk: the newest header, which is
// whole, says it of itself or, in its seal, of the version after it. Nothing is known where a half
// is of a newer release or its header is none of ours, nor where both claim one version.
func leftFree(halves *[2]halfRead, g geometry, now successor) bool {
	for i := range halves {
		h, f := &halves[i].header, halves[i].fault
		if f != nil && f.class == ErrVersion || h.version != 0 &&
			(h.inconsistent() != "" || h.chunkSize != g.chunkSize) {
			return false
		}
	}
	return now.state == stateFree && halves[0].header.version != halves[1].header.version
}

// takeLeftFree makes the metadata of a damaged slot anew that held no chunk. A device that fails
// at this keeps the slot out of use: that costs room, and no chunk.
func (p *Pool) takeLeftFree(s *slot, d Damage) {
	d.Fatal = false
	if err := p.renew(s); err != nil {
		d.Err = errors.Join(d.Err, err)
		p.damage[s.number] = d
		p.log.Warn("chunkfile: cannot make a free slot anew", "disk", p.cfg.Name, "file", s.name,
			"error", d.Err)
		return
	}
	p.report(d)
	p.free = append(p.free, s)
}

// explain says what is wrong with the halves of a slot.
func (p *Pool) explain(s *slot, halves *[2]halfRead, reason string) error {
	errs := []error{p.corrupt(s.name, 0, &fault{n: 2 * p.geometry.metaSize, reason: reason})}
	for i := range halves {
		if f := halves[i].fault; f != nil {
			errs = append(errs, p.corrupt(s.name, p.geometry.halfOffset(uint8(i)), f))
			if err := halves[i].unread; err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// reportGaps reports slot files that are missing below others: they are made in order.
func (p *Pool) reportGaps() {
	var top uint64
	for number := range p.slots {
		top = max(top, number)
	}
	reported := 0
	for number := uint64(0); number < top && reported < maxGapReports; number++ {
		if p.slots[number] != nil {
			continue
		}
		name := p.path(slotName(number))
		d := Damage{Slot: number, File: name, Fatal: true,
			Err: p.corrupt(name, 0, &fault{reason: "slot file is missing"})}
		p.notes = append(p.notes, d) // stays when the filler makes the file anew
		p.log.Warn("chunkfile: slot file missing", "disk", p.cfg.Name, "file", name)
		reported++
	}
}
