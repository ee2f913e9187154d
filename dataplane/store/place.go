package store

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/io/wal"
)

// Large writes of a sequence are written once: their payload to a twin of the chunk's slot, and
// then, when it is durable there, a record to the log that names slot and checksums. Reading back
// what the log has goes there too. A slot that a record names is used for no other chunk until the
// log before is released; each checkpoint closes the twins, and the chunks take them over or not.

// places knows the twins that take writes, and the slots that the log names.
type places struct {
	least int // bytes; 0: nothing is placed

	mu    sync.Mutex
	open  map[chunkfile.ID]*chunkfile.Twin
	ends  map[chunkfile.ID]uint32 // where the last large write of a chunk ended
	slots map[uint64]*placedSlot
	bytes int64 // of all slots
}

// placedSlot is a slot that the log names.
type placedSlot struct {
	twin    *chunkfile.Twin // nil: found in the log at the opening
	last    wal.LSN         // the newest record that names it
	pending int             // records under way
	bytes   int64           // of payload
}

func (p *places) init(least int) {
	p.least = least
	p.open, p.ends = map[chunkfile.ID]*chunkfile.Twin{}, map[chunkfile.ID]uint32{}
	p.slots = map[uint64]*placedSlot{}
}

// claim gives blocks of a twin to a write; nil when it is to be logged with its bytes. lend makes a
// twin.
func (p *places) claim(id chunkfile.ID, first, count uint32, lend func() *chunkfile.Twin,
) *chunkfile.Twin {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.open[id]
	if t == nil && p.inOrder(id, first) && len(p.open) < placeOpen && len(p.slots) < placeSlots {
		if t = lend(); t != nil {
			p.open[id], p.slots[t.Slot()] = t, &placedSlot{twin: t}
		}
	}
	p.note(id, first+count)
	if t == nil || !t.Claim(int(first), int(count)) {
		return nil
	}
	s := p.slots[t.Slot()]
	s.pending++
	s.bytes += int64(count) * buf.BlockSize
	p.bytes += int64(count) * buf.BlockSize
	return t
}

// inOrder reports whether a write seems to belong to a sequence: only then is the chunk likely to
// be written so far that its twin takes its place, and nothing is copied.
func (p *places) inOrder(id chunkfile.ID, first uint32) bool {
	end, seen := p.ends[id]
	return first == 0 || seen && first+placeNear >= end && first <= end+placeNear
}

func (p *places) note(id chunkfile.ID, end uint32) {
	if len(p.ends) >= placeSeen {
		clear(p.ends)
	}
	p.ends[id] = end
}

// logged notes where the records of an append stand that name slots, or that they came to nothing.
func (p *places) logged(a *copyset.Append) {
	if p.least == 0 {
		return
	}
	for i := range a.Records {
		rec := &a.Records[i]
		if rec.Kind != copyset.RecordPlaced {
			continue
		}
		slot, _, err := copyset.PlacedCommand(rec.Meta)
		if err != nil {
			continue
		}
		p.mu.Lock()
		s := p.slots[slot]
		s.pending--
		if a.Err == nil {
			s.last = max(s.last, rec.At)
		}
		p.mu.Unlock()
	}
}

// of is the twin that has blocks of a run from number i on, and how many; nil for blocks that no
// twin has.
func (p *places) of(run *copyset.FlushRun, i int) (*chunkfile.Twin, int) {
	slot, block, placed := copyset.PlaceAt(run.Data[i].At)
	n := 1
	for i+n < len(run.Data) {
		s, b, ok := copyset.PlaceAt(run.Data[i+n].At)
		if ok != placed || ok && (s != slot || b != block+uint32(n)) {
			break
		}
		n++
	}
	if !placed || block != run.First+uint32(i) {
		return nil, n
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.slots[slot]; s != nil {
		return s.twin, n
	}
	return nil, n
}

// held is the bytes of payload in slots that the log names.
func (p *places) held() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

// close ends the claims of all twins of some copysets, and says whether there were any.
func (p *places) close(of func(copyset uint64) bool) (any bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, t := range p.open {
		if of(id.Group) {
			any = true
			t.Close()
			delete(p.open, id)
		}
	}
	return any
}

// closePlaces ends the claims of all twins of some copysets and waits for a moment until what was
// placed is committed: a twin that has all its writes can be its chunk's slot after the checkpoint.
func (s *Store) closePlaces(ctx context.Context, of func(copyset uint64) bool) {
	if !s.placed.close(of) {
		return
	}
	last := map[*member]uint64{} // of the others 0: nothing to wait for
	note := func(_ *Owner, m *member) {
		if of(m.ID()) {
			last[m] = m.Last()
		}
	}
	if !s.look(note) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, placeCalm)
	defer cancel()
	s.awaitAll(ctx, func(m *member) bool { return m.Applied() >= min(last[m], m.Last()) })
}

// keepFrom is the place in the log behind which the slots that it names have no more than so many
// bytes: as much as is kept for followers that were away for a short time.
func (p *places) keepFrom(bytes int64) (from wal.LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.bytesFrom(from) > bytes {
		next := wal.LSN(0)
		for _, s := range p.slots {
			if s.last > 0 && s.last >= from && (next == 0 || s.last < next) {
				next = s.last
			}
		}
		if next == 0 {
			break
		}
		from = next + 1
	}
	return from
}

func (p *places) bytesFrom(at wal.LSN) (n int64) {
	for _, s := range p.slots {
		if s.last >= at {
			n += s.bytes
		}
	}
	return n
}

// release gives the slots that no record from a place on names.
func (p *places) release(before wal.LSN) (slots []uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n, s := range p.slots {
		if s.pending == 0 && s.last < before && (s.twin == nil || s.twin.Settled()) {
			p.bytes -= s.bytes
			delete(p.slots, n)
			slots = append(slots, n)
		}
	}
	slices.Sort(slots) // equal histories use equal slots
	return slots
}

// keepPlaced has the slot that a record names kept, when the log is replayed.
func (s *Store) keepPlaced(rec *wal.Record) {
	if rec.Kind != copyset.RecordPlaced {
		return
	}
	slot, _, err := copyset.PlacedCommand(rec.Meta)
	if err != nil {
		return
	}
	p := &s.placed
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.slots[slot] == nil {
		p.slots[slot] = new(placedSlot)
		s.chunks.Keep(slot)
	}
	p.slots[slot].last = rec.At
}

// readBack reads whole blocks of payload that the log has, or a slot that it names.
func (s *Store) readBack(at wal.LSN, dst []byte) error {
	if slot, block, placed := copyset.PlaceAt(at); placed {
		return s.chunks.ReadSlot(slot, int(block), dst)
	}
	return s.wal.ReadPayload(at, dst)
}

// unreadable has a replica forget an entry whose payload was written over, or a checkpoint taken
// after which it can.
func (s *Store) unreadable(copysetID uint64, at wal.LSN) {
	o := s.Owner(copysetID)
	o.post(func() {
		if m := o.replicas[copysetID]; m != nil && !m.Unreadable(at) {
			s.hurry.Store(true)
		}
	})
}

// placement is an append whose large payloads are on their way to their slots.
type placement struct {
	owner  *Owner
	append *copyset.Append
	left   atomic.Int32 // writes under way
	safe   atomic.Bool  // they are durable, or one failed
	failed atomic.Pointer[error]
	writes []*placedWrite
}

type placedWrite struct {
	chunkfile.TwinWrite
	twin *chunkfile.Twin
}

// toLog gives an append to the log, when its large payloads are durable in their slots, and those
// of the replica's appends before it: the log has them in their order.
func (o *Owner) toLog(a *copyset.Append) {
	before := o.placing[a.Replica]
	p := o.place(a)
	if p == nil && len(before) == 0 {
		o.store.wal.Queue(&a.Append)
		o.appended = true
		return
	}
	if p == nil {
		p = &placement{owner: o, append: a}
		p.safe.Store(true)
	}
	o.placing[a.Replica] = append(before, p)
	p.left.Store(int32(len(p.writes)))
	for _, w := range p.writes {
		w.twin.Write(&w.TwinWrite)
	}
	o.reads += len(p.writes)
}

// place has the records of an append name the slots that get their payloads, where they are large;
// nil when none is.
func (o *Owner) place(a *copyset.Append) (p *placement) {
	s := o.store
	if s.placed.least == 0 || s.scarce.Load() {
		return nil
	}
	for i := range a.Records {
		c, first, large := a.Large(i, s.placed.least)
		if !large {
			continue
		}
		id, data := s.chunkID(a.Replica.ID(), c), a.Records[i].Payload
		t := s.placed.claim(id, first, uint32(len(data)/buf.BlockSize),
			func() *chunkfile.Twin { return s.chunks.Lend(id) })
		if t == nil {
			continue
		}
		if p == nil {
			p = &placement{owner: o, append: a}
		}
		p.add(t, int(first), data)
		a.Place(i, t.Slot())
	}
	return p
}

// add adds a payload to the writes: to the last one, when it goes on where that ends.
func (p *placement) add(t *chunkfile.Twin, block int, data []byte) {
	if n := len(p.writes); n > 0 {
		last := p.writes[n-1]
		blocks := 0
		for _, v := range last.Vec {
			blocks += len(v) / buf.BlockSize
		}
		if last.twin == t && last.Block+blocks == block && len(last.Vec) < disk.MaxVec {
			last.Vec = append(last.Vec, data)
			return
		}
	}
	w := &placedWrite{twin: t}
	w.Block, w.Vec, w.Loose, w.Done = block, [][]byte{data}, true, p.done
	p.writes = append(p.writes, w)
}

// done ends one write; the last one has them made durable.
func (p *placement) done(w *chunkfile.TwinWrite) {
	p.fail(w.Err)
	switch {
	case p.left.Add(-1) > 0:
	case p.failed.Load() != nil:
		p.end()
	default:
		p.owner.store.placedSync.add(p)
	}
}

func (p *placement) fail(err error) {
	if err != nil {
		p.failed.CompareAndSwap(nil, &err)
	}
}

// end tells the owner that the append may go to the log.
func (p *placement) end() {
	p.safe.Store(true)
	e := event{copyset: p.append.Replica.ID(), placed: p}
	if p.owner.store.batched {
		p.owner.queue.put(e) // goOn follows
	} else {
		p.owner.queue.post(e)
	}
}

// placedSync makes payloads durable in their slots: those of all placements that wait when one sync
// begins share it, as appends share a write of the log.
type placedSync struct {
	disk    disk.Disk
	mu      sync.Mutex
	waiting []*placement
	running bool
}

// add takes a placement whose writes are done.
func (y *placedSync) add(p *placement) {
	y.mu.Lock()
	y.waiting = append(y.waiting, p)
	begin := !y.running
	y.running = true
	y.mu.Unlock()
	if begin {
		y.next()
	}
}

// next syncs for those that wait, and again for those that came meanwhile.
func (y *placedSync) next() {
	y.mu.Lock()
	batch := y.waiting
	y.waiting, y.running = nil, len(batch) > 0
	y.mu.Unlock()
	var twins []*chunkfile.Twin
	for _, p := range batch {
		for _, w := range p.writes {
			if !slices.Contains(twins, w.twin) {
				twins = append(twins, w.twin)
			}
		}
	}
	var left atomic.Int32
	left.Store(int32(len(twins)))
	for _, t := range twins {
		t.Sync(func(err error) {
			for _, p := range batch {
				p.fail(err)
			}
			if left.Add(-1) > 0 {
				return
			}
			for _, p := range batch {
				p.end()
			}
			y.next()
		})
	}
	y.disk.Flush()
}

// placementDone gives the log what waited for the placement. After a failed write the store ends,
// as after a failed write of the log: nobody knows what the slot has.
func (o *Owner) placementDone(p *placement) {
	r := p.append.Replica
	waiting := o.placing[r]
	for len(waiting) > 0 && waiting[0].safe.Load() {
		next := waiting[0]
		waiting = waiting[1:]
		if err := next.failed.Load(); err != nil {
			o.unlogged(next.append, *err)
		} else if o.ended {
			o.unlogged(next.append, errStopping)
		} else {
			o.store.wal.Queue(&next.append.Append)
			o.appended = true
		}
	}
	if len(waiting) == 0 {
		delete(o.placing, r)
		return
	}
	o.placing[r] = waiting
}

// unlogged ends an append that the log does not get.
func (o *Owner) unlogged(a *copyset.Append, err error) {
	a.Err = err
	o.handle(&event{copyset: a.Replica.ID(), appnd: a}, o.store.clock())
}
