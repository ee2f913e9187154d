package chunkfile

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// How much of a slot must be read to decide on it? Whole halves settle everything, at 48 KiB
// for each slot of 16 MiB: 4.8 GB for 100,000 chunks, which nobody waits for at a start. The
// two headers settle it alone when the newest names no successor and the older one is sealed
// with the newest as its own: the seal was written after the newest was durable, so the newest
// is the truth, and if its bitmap and table do not fit their crc then they were lost after
// that. This is damage, never a reason to go back, so finding it out can wait for the first
// use, which verifies them before anything is served (Chunk.decode).
//
// In every other state (a crash came between a version and its seal, or something is wrong)
// the decision depends on whether a version is whole, and both halves are read.
//
// The superseded half behind a sealed header is never the truth, so its bitmap and table are
// not looked at here; Inspect does.

// scanner reads the metadata of slots at Open: whole when the cache has room for the tables of
// all, else the headers, and the rest only where these do not settle it. To fill the cache with
// some of the tables would cost memory and a tenth of a second for every thousand, for chunks that
// are no likelier to be used next than the others.
//
// Opening and reading 100,000 files keeps more than one processor busy, so the slots are cut into
// batches, which goroutines take in turns and open, read and verify. One goroutine takes them into
// the pool, in their order: what Open reports and writes does not depend on which was faster.
type scanner struct {
	pool  *Pool
	names []string // of the slot files
	depth int      // slots of a batch
	lanes []*scanBatch
	quit  atomic.Bool // the rest is not opened
}

// scanBatch is slots that are read at once, by the goroutine that has it until it is ready.
type scanBatch struct {
	reads []scanRead
	used  int
	wait  sync.WaitGroup
	ready chan struct{} // it is verified
	again chan struct{} // it was taken into the pool
}

// scanRead is the read of one slot's metadata, and what it came to.
type scanRead struct {
	slot     *slot
	err      error // of opening it
	whole    bool
	keep     bool // there is room for its table
	bytes    []byte
	vec      [1][]byte
	op       disk.Op
	unread   [2]error // why blocks of a half are zeroes here
	decision decision
	table    *table
}

// scan takes the slot files of those names into the pool.
func (p *Pool) scan(names []string) error {
	sc := &scanner{pool: p, names: names}
	lanes := min(scanLanes*runtime.GOMAXPROCS(0), maxScanLanes)
	sc.depth = min(max(scanBytes/(2*lanes*p.geometry.metaSize), 1), scanDepth, max(len(names), 1))
	batches := (len(names) + sc.depth - 1) / sc.depth
	for range min(lanes, batches) {
		sc.lanes = append(sc.lanes, &scanBatch{reads: make([]scanRead, sc.depth),
			ready: make(chan struct{}), again: make(chan struct{})})
	}
	for i := range sc.lanes {
		go sc.work(i)
	}
	var err error
	for i := range batches {
		b := sc.lanes[i%len(sc.lanes)]
		<-b.ready
		for j := range b.reads[:b.used] {
			if e := p.take(&b.reads[j]); e != nil && err == nil {
				err = e
				sc.quit.Store(true)
			}
		}
		b.again <- struct{}{}
	}
	return err
}

// work reads every batch of one lane.
func (sc *scanner) work(lane int) {
	b := sc.lanes[lane]
	stride := sc.depth * len(sc.lanes)
	for first := lane * sc.depth; first < len(sc.names); first += stride {
		b.used = min(sc.depth, len(sc.names)-first)
		for i := range b.used {
			r := &b.reads[i]
			r.slot, r.err, r.op.Err, r.table, r.unread = nil, nil, nil, nil, [2]error{}
			r.keep = len(sc.names) <= sc.pool.cache.bound
			if r.whole = r.keep; !sc.quit.Load() {
				r.open(sc.pool, sc.names[first+i])
			}
		}
		b.read(sc.pool)
		b.ready <- struct{}{}
		<-b.again
	}
}

// open opens the file of a slot and sees that it has the size of one.
func (r *scanRead) open(p *Pool, name string) {
	number, _ := parseSlotName(name)
	r.slot = &slot{number: number, name: p.path(name)}
	file, err := p.disk.Open(r.slot.name)
	if err != nil {
		r.err = fmt.Errorf("chunkfile: open slot: %w", err)
		return
	}
	r.slot.file = file
	if f := p.geometry.checkSize(file); f != nil {
		r.err = p.corrupt(r.slot.name, 0, f)
	}
}

// read reads the slots of a batch and decides on them. Those that headers do not settle are read
// whole.
func (b *scanBatch) read(p *Pool) {
	var doubt []*scanRead
	for i := range b.reads[:b.used] {
		if r := &b.reads[i]; r.slot != nil && r.err == nil {
			b.submit(r, p.geometry)
		}
	}
	p.disk.Flush()
	b.wait.Wait()
	for i := range b.reads[:b.used] {
		r := &b.reads[i]
		if r.slot != nil && r.err == nil && !r.decide(p) {
			r.whole = true
			b.submit(r, p.geometry)
			doubt = append(doubt, r)
		}
	}
	if len(doubt) == 0 {
		return
	}
	p.disk.Flush()
	b.wait.Wait()
	for _, r := range doubt {
		r.decide(p)
	}
}

// submit queues the read of both halves of a slot, or of what ends with the second header. That
// is one operation either way: devices are slower at twice as many than at a few more blocks.
func (b *scanBatch) submit(r *scanRead, g geometry) {
	if r.bytes == nil {
		r.bytes = alignedBytes(2 * g.metaSize)
		r.op.Done = func(*disk.Op) { b.wait.Done() }
	}
	n := g.metaSize + headerPage
	if r.whole {
		n = 2 * g.metaSize
	}
	r.vec[0] = r.bytes[:n]
	r.op.Kind, r.op.Vec, r.op.Off = disk.Read, r.vec[:], 0
	b.wait.Add(1)
	r.slot.file.Submit(&r.op)
}

// decide judges what was read of a slot, and says whether that settles it.
func (r *scanRead) decide(p *Pool) bool {
	g, store := p.geometry, p.cfg.StoreID
	if r.op.Err != nil && r.whole {
		r.unread, r.op.Err = salvage(r.slot.file, r.bytes, g)
	}
	if r.op.Err != nil {
		return r.whole
	}
	if !r.whole {
		d := &r.decision
		d.halves = verifyHalves(r.bytes, g, store, r.slot.number, verifyHeader)
		d.verdict, d.newest, d.reason = judge(d.halves[0].view(), d.halves[1].view())
		return d.verdict == verdictUse
	}
	r.decision = decide(r.bytes, g, store, r.slot.number)
	d := &r.decision
	d.note(r.unread)
	if r.keep && d.verdict != verdictDamaged && d.halves[d.newest].header.state == stateUsed {
		r.table = p.cache.take()
		d.load(r.bytes, g, r.table)
	}
	return true
}

// salvage reads the metadata of a slot block by block, after the read of all of it failed: a
// device error costs the half that it concerns. What cannot be read is zeroes, which fit no
// checksum unless they are what was written. err: nothing could be read, or it is not for the
// device to say.
func salvage(file disk.File, image []byte, g geometry) (unread [2]error, err error) {
	good := false
	for off := 0; off < len(image); off += BlockSize {
		block := image[off:][:BlockSize]
		_, e := file.ReadAt(block, int64(off))
		if e == nil {
			good = true
			continue
		}
		if errors.Is(e, disk.ErrFileLimit) {
			return unread, e
		}
		clear(block)
		if half := off / g.metaSize; unread[half] == nil {
			unread[half] = e
		}
	}
	if !good {
		err = unread[0]
	}
	return unread, err
}

// halfRead is what Open learned of one half.
type halfRead struct {
	header header
	fault  *fault
	unread error // the device could not read all of it
}

func (h *halfRead) view() halfView {
	return halfView{valid: h.fault == nil, version: h.header.version, sealed: h.header.sealed()}
}

// verifyHalves checks both halves of a slot, by their headers or as a whole.
func verifyHalves(image []byte, g geometry, store [16]byte, slot uint64,
	verify func([]byte, geometry, place) (header, *fault)) (halves [2]halfRead) {
	for i := range halves {
		at := place{store: store, slot: slot, half: uint8(i)}
		half := image[g.halfOffset(uint8(i)):][:g.metaSize]
		halves[i].header, halves[i].fault = verify(half, g, at)
	}
	return halves
}

// decision is what all metadata of a slot amounts to.
type decision struct {
	halves  [2]halfRead
	verdict verdict
	newest  uint8 // the half to use, unless damaged
	reason  string
}

// decide judges a slot by both its halves.
func decide(image []byte, g geometry, store [16]byte, slot uint64) (d decision) {
	d.halves = verifyHalves(image, g, store, slot, verifyHalf)
	d.verdict, d.newest, d.reason = judge(d.halves[0].view(), d.halves[1].view())
	return d
}

// note keeps why halves that are not valid could not be read.
func (d *decision) note(unread [2]error) {
	for i := range d.halves {
		d.halves[i].unread = unread[i]
	}
}

// load fills a table from the half to use; a half that contradicts itself is damage.
func (d *decision) load(image []byte, g geometry, t *table) {
	half := &d.halves[d.newest]
	if f := decodeBody(image[g.halfOffset(d.newest):], g, &half.header, t); f != nil {
		half.fault = f
		d.verdict, d.reason = verdictDamaged, "bitmap and table contradict each other"
	}
}

// takeAs adds a slot to the pool as its newest header says.
func (p *Pool) takeAs(s *slot, top header, t *table) {
	s.top = top
	if s.top.state == stateFree {
		p.free = append(p.free, s)
		return
	}
	p.takeUsed(s, t)
}

// take adds a slot to the pool as the scanner found it. A process that may not have as many files
// open as there are slots is told so: that is no damage.
func (p *Pool) take(r *scanRead) error {
	s := r.slot
	if s == nil {
		return nil
	}
	p.slots[s.number] = s
	if r.err == nil && r.op.Err != nil {
		r.err = fmt.Errorf("chunkfile: read metadata: %w", r.op.Err)
	}
	switch {
	case errors.Is(r.err, disk.ErrFileLimit):
		return fmt.Errorf("chunkfile: slot %d: each of the slots needs an open file: %w",
			s.number, r.err)
	case r.err != nil:
		p.report(Damage{Slot: s.number, File: s.name, Fatal: true, Err: r.err})
		return nil
	}
	d := &r.decision
	s.top = d.halves[d.newest].header
	switch d.verdict {
	case verdictDamaged:
		p.takeDamaged(s, &d.halves, d.reason)
		return nil
	case verdictSeal:
		if err := p.seal(s, d.halves[1-d.newest].header); err != nil {
			p.log.Warn("chunkfile: cannot seal a superseded version", "disk", p.cfg.Name,
				"file", s.name, "error", err)
		}
	case verdictFallback:
		p.report(Damage{Slot: s.number, File: s.name, ID: s.top.id,
			IDKnown: s.top.state == stateUsed, Err: p.explain(s, &d.halves, d.reason)})
	}
	p.takeAs(s, s.top, r.table)
	return nil
}
