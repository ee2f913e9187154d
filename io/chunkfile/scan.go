package chunkfile

import (
	"fmt"
	"sync"

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

// scanner reads the metadata of slots at Open: of as many as the cache has room for tables
// whole, of all others the headers, and the rest only where these do not settle it. One batch
// is read while the files of the next are opened.
type scanner struct {
	pool     *Pool
	next     *scanBatch // being filled
	underway *scanBatch // being read; may be empty
	room     int        // slots that may still be read whole
}

// scanBatch is slots that are read at once.
type scanBatch struct {
	reads []scanRead
	used  int
	wait  sync.WaitGroup
}

// scanRead is the read of one slot's metadata.
type scanRead struct {
	slot  *slot
	whole bool
	bytes []byte
	vec   [1][]byte
	op    disk.Op
}

func newScanner(p *Pool, slots int) *scanner {
	depth := min(max(scanBytes/(4*p.geometry.metaSize), 1), scanDepth, max(slots, 1))
	batch := func() *scanBatch { return &scanBatch{reads: make([]scanRead, depth)} }
	return &scanner{pool: p, next: batch(), underway: batch(), room: p.cache.bound}
}

// add reads a slot with the batch it fills.
func (sc *scanner) add(s *slot) {
	b := sc.next
	b.reads[b.used].slot, b.reads[b.used].whole = s, sc.room > 0
	sc.room--
	if b.used++; b.used == len(b.reads) {
		sc.turn()
	}
}

// finish reads what waits and takes everything into the pool.
func (sc *scanner) finish() {
	sc.turn()
	sc.turn()
}

// turn sends the batch that was filled, and takes the one sent before it.
func (sc *scanner) turn() {
	for i := range sc.next.used {
		sc.next.submit(i, sc.pool.geometry)
	}
	sc.pool.disk.Flush()
	sc.next, sc.underway = sc.underway, sc.next
	sc.take(sc.next)
}

// take waits for a batch and takes its slots into the pool. Those that headers do not settle
// are read whole.
func (sc *scanner) take(b *scanBatch) {
	b.wait.Wait()
	var doubt []int
	for i := range b.reads[:b.used] {
		r := &b.reads[i]
		if r.whole {
			sc.pool.take(r)
		} else if !sc.pool.takeSettled(r) {
			r.whole = true
			b.submit(i, sc.pool.geometry)
			doubt = append(doubt, i)
		}
	}
	b.used = 0
	if len(doubt) == 0 {
		return
	}
	sc.pool.disk.Flush()
	b.wait.Wait()
	for _, i := range doubt {
		sc.pool.take(&b.reads[i])
	}
}

// submit queues the read of both halves of a slot, or of what ends with the second header. That
// is one operation either way: devices are slower at twice as many than at a few more blocks.
func (b *scanBatch) submit(i int, g geometry) {
	r := &b.reads[i]
	if r.bytes == nil {
		r.bytes = alignedBytes(2 * g.metaSize)
	}
	n := g.metaSize + headerPage
	if r.whole {
		n = 2 * g.metaSize
	}
	r.vec[0] = r.bytes[:n]
	r.op.Kind, r.op.Vec, r.op.Off = disk.Read, r.vec[:], 0
	r.op.Done = func(*disk.Op) { b.wait.Done() }
	b.wait.Add(1)
	r.slot.file.Submit(&r.op)
}

// halfRead is what Open learned of one half.
type halfRead struct {
	header header
	fault  *fault
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

// load fills a table from the half to use; a half that contradicts itself is damage.
func (d *decision) load(image []byte, g geometry, t *table) {
	half := &d.halves[d.newest]
	if f := decodeBody(image[g.halfOffset(d.newest):], g, &half.header, t); f != nil {
		half.fault = f
		d.verdict, d.reason = verdictDamaged, "bitmap and table contradict each other"
	}
}

// takeSettled adds a slot to the pool if its headers settle what it is.
func (p *Pool) takeSettled(r *scanRead) bool {
	if r.op.Err != nil {
		return false
	}
	halves := verifyHalves(r.bytes, p.geometry, p.cfg.StoreID, r.slot.number, verifyHeader)
	v, newest, _ := judge(halves[0].view(), halves[1].view())
	if v != verdictUse {
		return false
	}
	p.takeAs(r.slot, halves[newest].header, nil)
	return true
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

// take decides on a slot of which all metadata was read, and adds it to the pool.
func (p *Pool) take(r *scanRead) {
	s := r.slot
	if err := r.op.Err; err != nil {
		p.report(Damage{Slot: s.number, File: s.name, Fatal: true,
			Err: fmt.Errorf("chunkfile: read metadata: %w", err)})
		return
	}
	d := decide(r.bytes, p.geometry, p.cfg.StoreID, s.number)
	s.top = d.halves[d.newest].header
	var t *table
	if d.verdict != verdictDamaged && s.top.state == stateUsed && !p.cache.full() {
		t = p.cache.take()
		d.load(r.bytes, p.geometry, t)
	}
	switch d.verdict {
	case verdictDamaged:
		p.takeDamaged(s, &d.halves, d.reason)
		return
	case verdictSeal:
		if err := p.seal(s, d.halves[1-d.newest].header); err != nil {
			p.log.Warn("chunkfile: cannot seal a superseded version", "disk", p.cfg.Name,
				"file", s.name, "error", err)
		}
	case verdictFallback:
		p.report(Damage{Slot: s.number, File: s.name, ID: s.top.id,
			IDKnown: s.top.state == stateUsed, Err: p.explain(s, &d.halves, d.reason)})
	}
	p.takeAs(s, s.top, t)
}
