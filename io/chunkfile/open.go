package chunkfile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/ashlar-storage/ashlar/io/disk"
)

const (
	slotPrefix  = "slot-" // and ten digits
	draftPrefix = "new-"  // a slot file that is not yet complete
)

func slotName(number uint64) string { return fmt.Sprintf("%s%010d", slotPrefix, number) }

// parseSlotName returns the number of a slot file, if the name is one.
func parseSlotName(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, slotPrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n < MaxSlots && slotName(n) == name
}

// Open reads the metadata of every slot file in cfg.Dir, by batches of asynchronous reads.
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
		slots: map[uint64]*slot{}, chunks: map[ID]*Chunk{}, damage: map[uint64]Damage{},
	}
	if err := p.scan(); err != nil {
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

// scan reads all slots, a batch at a time.
func (p *Pool) scan() error {
	if err := p.disk.MkdirAll(p.cfg.Dir); err != nil {
		return fmt.Errorf("chunkfile: %w", err)
	}
	names, err := p.disk.List(p.cfg.Dir)
	if err != nil {
		return fmt.Errorf("chunkfile: %w", err)
	}
	depth := min(max(scanBytes/(2*p.geometry.metaSize), 1), scanDepth, max(len(names), 1))
	batch := make([]scanRead, depth)
	used := 0
	for _, name := range names {
		number, ok := parseSlotName(name)
		if !ok {
			if err := p.stray(name); err != nil {
				return err
			}
			continue
		}
		if !p.openSlot(number) {
			continue
		}
		batch[used].slot = p.slots[number]
		if used++; used == depth {
			p.scanBatch(batch)
			used = 0
		}
	}
	p.scanBatch(batch[:used])
	return nil
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

// openSlot opens a slot's file, and says whether its metadata can be read.
func (p *Pool) openSlot(number uint64) bool {
	s := &slot{number: number, name: p.path(slotName(number))}
	p.slots[number] = s
	file, err := p.disk.Open(s.name)
	if err != nil {
		p.report(Damage{Slot: number, File: s.name, Fatal: true,
			Err: fmt.Errorf("chunkfile: open slot: %w", err)})
		return false
	}
	s.file = file
	if want := p.geometry.slotBytes(); file.Size() != want {
		p.report(Damage{Slot: number, File: s.name, Fatal: true,
			Err: p.corrupt(s.name, 0, &fault{n: int(file.Size()), reason: fmt.Sprintf(
				"file of %d bytes, slots of chunk size %d have %d",
				file.Size(), p.geometry.chunkSize, want)})})
		return false
	}
	return true
}

// scanRead is the read of one slot's metadata.
type scanRead struct {
	slot  *slot
	bytes []byte
	vec   [1][]byte
	op    disk.Op
}

// scanBatch reads the metadata of some slots at once and takes them into the pool.
func (p *Pool) scanBatch(batch []scanRead) {
	var wait sync.WaitGroup
	for i := range batch {
		r := &batch[i]
		if r.bytes == nil {
			r.bytes = alignedBytes(2 * p.geometry.metaSize)
			r.vec[0] = r.bytes
		}
		r.op.Kind, r.op.Vec, r.op.Off = disk.Read, r.vec[:], 0
		r.op.Done = func(*disk.Op) { wait.Done() }
		wait.Add(1)
		r.slot.file.Submit(&r.op)
	}
	p.disk.Flush()
	wait.Wait()
	for i := range batch {
		p.take(&batch[i])
	}
}

// halfRead is what Open learned of one half.
type halfRead struct {
	header header
	fault  *fault
}

func (h *halfRead) view() halfView {
	return halfView{valid: h.fault == nil, version: h.header.version, sealed: h.header.sealed()}
}

// take decides on a slot and adds it to the pool.
func (p *Pool) take(r *scanRead) {
	s := r.slot
	if r.op.Err != nil {
		p.report(Damage{Slot: s.number, File: s.name, Fatal: true,
			Err: fmt.Errorf("chunkfile: read metadata: %w", r.op.Err)})
		return
	}
	var halves [2]halfRead
	for i := range halves {
		at := place{store: p.cfg.StoreID, slot: s.number, half: uint8(i)}
		half := r.bytes[i*p.geometry.metaSize:][:p.geometry.metaSize]
		halves[i].header, halves[i].fault = verifyHalf(half, p.geometry, at)
	}
	v, newest, reason := judge(halves[0].view(), halves[1].view())
	s.top = halves[newest].header
	var t *table
	if v != verdictDamaged && s.top.state == stateUsed && !p.cache.full() {
		t = p.cache.take()
		half := r.bytes[int(newest)*p.geometry.metaSize:][:p.geometry.metaSize]
		if f := decodeBody(half, p.geometry, &s.top, t); f != nil {
			halves[newest].fault = f
			v, reason = verdictDamaged, "bitmap and table contradict each other"
		}
	}
	switch v {
	case verdictDamaged:
		p.takeDamaged(s, &halves, reason)
		return
	case verdictSeal:
		if err := p.seal(s, halves[1-newest].header); err != nil {
			p.log.Warn("chunkfile: cannot seal a superseded version", "disk", p.cfg.Name,
				"file", s.name, "error", err)
		}
	case verdictFallback:
		p.report(Damage{Slot: s.number, File: s.name, ID: s.top.id,
			IDKnown: s.top.state == stateUsed, Err: p.explain(s, &halves, reason)})
	}
	if s.top.state == stateFree {
		p.free = append(p.free, s)
		return
	}
	p.takeUsed(s, t)
}

// takeUsed adds a chunk, and its table if there was room for it.
func (p *Pool) takeUsed(s *slot, t *table) {
	c := &Chunk{pool: p, id: s.top.id, slot: s}
	if other, ok := p.chunks[c.id]; ok {
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

// takeDamaged reports a slot of which no half can be used. If it says which chunk it held,
// the chunk exists and refuses all I/O.
func (p *Pool) takeDamaged(s *slot, halves *[2]halfRead, reason string) {
	d := Damage{Slot: s.number, File: s.name, Fatal: true, Err: p.explain(s, halves, reason)}
	s.top = header{}
	for i := range halves {
		h := &halves[i].header
		// A header that decoded names a chunk even where the rest of its half is bad.
		if h.version < s.top.version || h.version == 0 || !p.ours(s, uint8(i), h) {
			continue
		}
		s.top = *h
		d.ID, d.IDKnown = h.id, h.state == stateUsed
		if h.sealed() {
			d.ID, d.IDKnown = h.next.id, h.next.state == stateUsed
		}
	}
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

// ours says that a header belongs where it was found.
func (p *Pool) ours(s *slot, half uint8, h *header) bool {
	return h.store == p.cfg.StoreID && h.slot == s.number && h.half == half
}

// explain says what is wrong with the halves of a slot.
func (p *Pool) explain(s *slot, halves *[2]halfRead, reason string) error {
	errs := []error{p.corrupt(s.name, 0, &fault{n: 2 * p.geometry.metaSize, reason: reason})}
	for i := range halves {
		if f := halves[i].fault; f != nil {
			errs = append(errs, p.corrupt(s.name, p.geometry.halfOffset(uint8(i)), f))
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
