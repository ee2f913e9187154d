package copyset

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// simSegment is how coarse the log is recycled, in bytes.
const simSegment = 64 << 10

var (
	errSimBad  = errors.New("bad block")
	errSimFull = errors.New("no space")
)

// simLog is a replica's log: what is durable, and what is on its way there.
type simLog struct {
	records []wal.Record // payloads and metadata are copies
	head    wal.LSN
	tail    wal.LSN // what is released
	gone    wal.LSN // what is released for good, as the last write said so
	queue   []simAppend
	writing int // appends of the queue that the write under way has
}

type simAppend struct {
	a   *Append
	job *simJob
}

func (l *simLog) append(n *simNode, a *Append) {
	job := n.begin(func() { a.Err = errPower; n.r.AppendDone(a, n.clock(), &n.fx) })
	l.queue = append(l.queue, simAppend{a, job})
	if n.failing { // what comes behind a failed write fails too
		l.refuse(n)
		return
	}
	if l.writing == 0 {
		l.write(n)
	}
}

// write begins one write of all that waits.
func (l *simLog) write(n *simNode) {
	l.writing = len(l.queue)
	life := n.life
	n.s.after(n.s.deviceTime(), func() {
		if n.life != life || !n.up {
			return
		}
		if n.s.chance(n.s.cfg.writeFails) {
			l.fail(n)
			return
		}
		done := l.queue[:l.writing]
		l.queue, l.writing = l.queue[l.writing:], 0
		for _, q := range done {
			l.keep(n.s, q.a)
			n.end(q.job)
			n.post(func(now int64) { n.r.AppendDone(q.a, now, &n.fx) })
		}
		l.cut()
		if len(l.queue) > 0 {
			l.write(n)
		}
	})
}

// fail is a write that the device reports as failed, whatever is there now. The store stops, and is
// started again some time later.
func (l *simLog) fail(n *simNode) {
	n.s.mark("log write failed")
	for _, q := range l.queue[:n.s.rng.IntN(len(l.queue)+1)] {
		l.keep(n.s, q.a)
	}
	n.failing = true
	l.refuse(n)
	life := n.life
	n.s.after(n.s.around(50*time.Millisecond), func() {
		if n.life == life {
			n.crash()
			n.s.after(n.s.around(300*time.Millisecond), n.start)
		}
	})
}

// refuse ends all that waits with an error.
func (l *simLog) refuse(n *simNode) {
	queue := l.queue
	l.queue, l.writing = nil, 0
	for _, q := range queue {
		q.a.Err = errSimIO
		n.end(q.job)
		n.post(func(now int64) { n.r.AppendDone(q.a, now, &n.fx) })
	}
}

// keep makes an append durable. Its payloads must still be what they were.
func (l *simLog) keep(s *sim, a *Append) {
	for i := range a.Records {
		r := &a.Records[i]
		if len(r.CRCs) != len(r.Payload)/BlockSize {
			s.fail("record %d has %d checksums for %d bytes", r.Index, len(r.CRCs), len(r.Payload))
			return
		}
		for k, crc := range r.CRCs {
			if wire.CRC32C(r.Payload[k*BlockSize:(k+1)*BlockSize]) != crc {
				s.fail("payload of record %d of term %d changed before it was written", r.Index,
					r.Term)
			}
		}
		r.At = l.head + BlockSize
		l.head = r.At + wal.LSN(len(r.Payload))
		c := *r
		c.Meta, c.Payload = bytes.Clone(r.Meta), bytes.Clone(r.Payload)
		c.CRCs = slices.Clone(r.CRCs)
		l.records = append(l.records, c)
	}
}

// release lets whole segments go that end before lsn.
func (l *simLog) release(lsn wal.LSN) {
	l.tail = max(l.tail, lsn/simSegment*simSegment)
}

func (l *simLog) cut() {
	i := 0
	for i < len(l.records) && l.records[i].At < l.tail {
		i++
	}
	l.records = slices.Delete(l.records, 0, i)
	l.gone = l.tail
}

// crash keeps any prefix of the appends whose end was not reported.
func (l *simLog) crash(n *simNode) {
	for _, q := range l.queue[:n.s.rng.IntN(len(l.queue)+1)] {
		l.keep(n.s, q.a)
		n.s.mark("unreported append kept")
	}
	l.queue, l.writing = nil, 0
}

// replay gives the log's records from one buffer, as the log does. What was released in the life
// before, but not for good, is there again.
func (l *simLog) replay(s *sim, rc *Recovered) {
	l.tail = l.gone
	var meta, payload []byte
	for i := range l.records {
		r := l.records[i]
		meta, payload = append(meta[:0], r.Meta...), append(payload[:0], r.Payload...)
		r.Meta, r.Payload = meta, payload
		if err := rc.Add(&r); err != nil {
			s.fail("replay: %v", err)
		}
	}
}

// block reads one block of a payload back.
func (l *simLog) block(at wal.LSN) []byte {
	behind, _ := slices.BinarySearchFunc(l.records, at+1, func(r wal.Record, at wal.LSN) int {
		return cmp.Compare(r.At, at)
	})
	if behind == 0 {
		return nil
	}
	r := &l.records[behind-1]
	if at >= r.At+wal.LSN(len(r.Payload)) {
		return nil
	}
	return r.Payload[at-r.At:][:BlockSize]
}

// simBlock is a block in a chunk file. The data is never written to.
type simBlock struct {
	data []byte
	sum  uint32 // the checksum on record
	bad  bool   // the bytes do not fit it
}

// simFiles is the chunk files: as they are now, and as they surely are after a power cut.
type simFiles struct{ now, durable map[Chunk]map[uint32]simBlock }

func (f *simFiles) init() {
	f.now, f.durable = map[Chunk]map[uint32]simBlock{}, map[Chunk]map[uint32]simBlock{}
}

func (f *simFiles) write(c Chunk, block uint32, data []byte) {
	if f.now[c] == nil {
		f.now[c] = map[uint32]simBlock{}
	}
	f.now[c][block] = simBlock{data: bytes.Clone(data), sum: wire.CRC32C(data)}
}

func (f *simFiles) zero(c Chunk, block uint32) { delete(f.now[c], block) }

// drop is durable at once.
func (f *simFiles) drop(c Chunk) {
	delete(f.now, c)
	delete(f.durable, c)
}

// sync is the chunk files' part of a checkpoint.
func (f *simFiles) sync() {
	for c := range f.now {
		f.syncChunk(c)
	}
}

func (f *simFiles) syncChunk(c Chunk) { f.durable[c] = maps.Clone(f.now[c]) }

func (f *simFiles) list() []Chunk { return sortedChunks(f.now) }

func sortedChunks[V any](m map[Chunk]V) []Chunk {
	return slices.SortedFunc(maps.Keys(m), func(a, b Chunk) int {
		if a.Before(b) {
			return -1
		}
		return 1
	})
}

// crash leaves of each changed block the old one, the new one, or bytes that fit no checksum.
func (f *simFiles) crash(s *sim) {
	for _, c := range sortedChunks(f.now) {
		old, lost := f.durable[c], s.chance(0.3)
		if old == nil {
			if lost || s.chance(0.5) {
				delete(f.now, c)
			}
			continue
		}
		for b := range uint32(simChunkBlocks) {
			was, had := old[b]
			is, has := f.now[c][b]
			if had == has && bytes.Equal(was.data, is.data) {
				continue
			}
			switch {
			case lost || s.chance(0.3):
				if delete(f.now[c], b); had {
					f.now[c][b] = was
				}
			case had && s.chance(0.5):
				f.now[c][b] = simBlock{bad: true, data: was.data, sum: was.sum}
				s.mark("block torn")
			}
		}
	}
	f.durable = map[Chunk]map[uint32]simBlock{}
	f.sync()
}

// rot spoils a block at rest.
func (f *simFiles) rot(s *sim, c Chunk, block uint32) {
	for _, m := range []map[Chunk]map[uint32]simBlock{f.now, f.durable} {
		if b, ok := m[c][block]; ok {
			m[c][block] = simBlock{bad: true, data: b.data, sum: b.sum}
			s.mark("bit rot")
		}
	}
}

// readParts does what a ReadJob asks for.
func (n *simNode) readParts(job *ReadJob) {
	for i := range job.Parts {
		p := &job.Parts[i]
		if p.At != 0 {
			data := n.log.block(p.At)
			if data == nil || wire.CRC32C(data) != p.CRCs[0] {
				n.s.fail("replica %d: block %d of %v is not in the log at %d", n.id, p.First,
					job.Chunk, p.At)
				return
			}
			n.s.mark("read from the log")
			copy(p.Dst, data)
			continue
		}
		for k := range p.Count {
			b, ok := n.chunks.now[job.Chunk][p.First+k]
			if p.Dst == nil {
				p.CRCs[k] = sumOnRecord(b, ok)
				continue
			}
			dst := p.Dst[k*BlockSize : (k+1)*BlockSize]
			switch {
			case b.bad:
				n.s.mark("bad block read")
				job.Err, job.Bad = errSimBad, append(job.Bad, p.First+k)
			case ok:
				copy(dst, b.data)
			default:
				clear(dst)
			}
			p.CRCs[k] = wire.CRC32C(dst)
		}
	}
}

func sumOnRecord(b simBlock, written bool) uint32 {
	if !written {
		return wire.ZeroCRC
	}
	return b.sum
}

// flushAll does what a FlushJob asks for.
func (n *simNode) flushAll(job *FlushJob) {
	if job.DeleteVolume != 0 {
		for _, c := range n.chunks.list() {
			if c.Volume == job.DeleteVolume {
				n.chunks.drop(c)
			}
		}
		return
	}
	if job.ZeroChunk {
		n.chunks.drop(job.Chunk)
	}
	for _, run := range job.Runs {
		for k := range run.Count {
			n.flushBlock(job.Chunk, run, k)
		}
	}
}

// flushSome does a part of it.
func (n *simNode) flushSome(job *FlushJob) {
	if job.DeleteVolume != 0 || job.ZeroChunk {
		return
	}
	for _, run := range job.Runs {
		for k := range run.Count {
			if n.s.chance(0.5) {
				n.flushBlock(job.Chunk, run, k)
			}
		}
	}
}

func (n *simNode) flushBlock(c Chunk, run *FlushRun, k uint32) {
	if run.Zero {
		n.chunks.zero(c, run.First+k)
		return
	}
	data := run.Data[k].B
	if data == nil {
		n.s.mark("flush from the log")
		data = n.log.block(run.Data[k].At)
	}
	if data == nil || wire.CRC32C(data) != run.CRCs[k] {
		n.s.fail("replica %d: block %d of %v to flush does not fit its checksum (at %d, "+
			"in memory %v, in the log %v, log %d..%d))", n.id, run.First+k, c, run.Data[k].At,
			run.Data[k].B != nil, data != nil, n.log.tail, n.log.head)
		return
	}
	n.write(c, run.First+k, data)
}

// room fails when the chunk would have to be made and the disk is full.
func (n *simNode) room(c Chunk) error {
	if n.s.now >= n.fullUntil || n.chunks.now[c] != nil {
		return nil
	}
	n.s.mark("disk full")
	return errSimFull
}

// write puts a block into its place, or not: the disk says that it did, and leaves what was there,
// or writes over another block. Only where one may be lost.
func (n *simNode) write(c Chunk, block uint32, data []byte) {
	other := block + uint32(len(n.s.members.places)) // which this node may lose as well
	mayLose := n.s.mayLose(c, block) == n && other < simChunkBlocks
	if !mayLose || !n.s.chance(n.s.cfg.astray) {
		n.chunks.write(c, block, data)
		return
	}
	was := n.chunks.now[c][block].data
	n.chunks.write(c, block, data)
	n.chunks.now[c][block] = simBlock{bad: true, data: was, sum: wire.CRC32C(data)}
	if !n.s.chance(0.5) {
		n.s.mark("write lost")
		return
	}
	n.s.mark("write misdirected")
	if was, ok := n.chunks.now[c][other]; ok {
		n.chunks.now[c][other] = simBlock{bad: true, data: bytes.Clone(data), sum: was.sum}
	}
}

// buffer copies bytes into a buffer of the node's pool; nil when there are none or no room.
func (n *simNode) buffer(p []byte) *buf.Buf {
	if len(p) == 0 {
		return nil
	}
	b, err := n.pool.Get(len(p))
	if err != nil {
		n.s.mark("no buffer")
		return nil
	}
	copy(b.Bytes(), p)
	return b
}

// content is what a replica would answer for a block; ok is false when it cannot say.
func (n *simNode) content(c Chunk, block uint32) (data []byte, ok bool) {
	if b, found := n.r.overlay.lookup(c, block); found {
		switch {
		case b.zero:
			return zeroes[:BlockSize], true
		case b.data.B != nil:
			return b.data.B, true
		}
		return n.log.block(b.data.At), true
	}
	b, found := n.chunks.now[c][block]
	if !found {
		return zeroes[:BlockSize], true
	}
	return b.data, !b.bad
}
