package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/ebpf/mark"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// read is a ReadJob under way. It stays with the job, which may be used again.
type read struct {
	owner *Owner
	job   *copyset.ReadJob
	left  atomic.Int32
	mu    sync.Mutex // of job.Err and job.Bad, which parts on several goroutines may set
	parts []*readPart
}

// readPart is one part of it, as the chunk file sees it.
type readPart struct {
	io   chunkfile.IO
	read *read
	part *copyset.ReadPart
	vec  [1][]byte
}

func (rd *read) part(i int) *readPart {
	for len(rd.parts) <= i {
		p := &readPart{read: rd}
		p.io.Done, p.io.User = doneWithPart, p
		rd.parts = append(rd.parts, p)
	}
	return rd.parts[i]
}

func doneWithPart(io *chunkfile.IO) {
	r := io.User.(*readPart)
	copy(r.part.CRCs, io.CRCs)
	r.part.Written = uint32(io.Written)
	r.read.done(io.Err, io.Bad, r.read.owner.store.batched)
}

// startRead asks the chunk file and the log for the parts of a job. The owner flushes the disk.
func (o *Owner) startRead(job *copyset.ReadJob) {
	job.Err, job.Bad = nil, job.Bad[:0]
	rd, _ := job.User.(*read)
	if rd == nil {
		rd = new(read)
		job.User = rd
	}
	rd.owner, rd.job = o, job
	rd.left.Store(int32(len(job.Parts)) + 1)
	id := o.store.chunkID(job.Replica.ID(), job.Chunk)
	tag := mark.Tag(job.For())
	for i := range job.Parts {
		p := &job.Parts[i]
		if p.At != 0 {
			o.readLog(rd, p)
			continue
		}
		chunk, ok := o.store.chunks.Get(id)
		if !ok {
			clear(p.Dst)
			for k := range p.CRCs {
				p.CRCs[k] = wire.ZeroCRC
			}
			rd.done(nil, nil, true)
			continue
		}
		r := rd.part(i)
		r.part, r.vec[0] = p, p.Dst
		r.io.Block, r.io.Count, r.io.CRCs = int(p.First), int(p.Count), p.CRCs[:0]
		r.io.Vec, r.io.Tag = r.vec[:], tag
		if p.Dst == nil {
			chunk.Sums(&r.io)
			continue
		}
		chunk.Read(&r.io)
	}
	rd.done(nil, nil, true)
}

// readLog is a function of its own because of what its closure costs: p would be in the heap for
// every part.
func (o *Owner) readLog(rd *read, p *copyset.ReadPart) {
	o.store.background(func() { rd.fromLog(p) })
}

// fromLog reads one block back from the log.
func (rd *read) fromLog(p *copyset.ReadPart) {
	s := rd.owner.store
	s.logReads <- struct{}{}
	err := s.readLogBlock(p.At, p.Dst, p.CRCs[0])
	<-s.logReads
	p.Written = 1
	if err != nil {
		rd.done(err, []int{int(p.First)}, false)
		return
	}
	rd.done(nil, nil, false)
}

func (s *Store) readLogBlock(at wal.LSN, dst []byte, want uint32) error {
	if err := s.readBack(at, dst); err != nil {
		return err
	}
	if got := wire.CRC32C(dst); got != want {
		return fmt.Errorf("store: log at %d: %w: crc32c %08x, want %08x", at, wal.ErrCorrupt, got,
			want)
	}
	return nil
}

// done ends a part. With goesOn the owner looks for the result without being woken: it is its own
// turn, or goOn follows.
func (rd *read) done(err error, bad []int, goesOn bool) {
	if err != nil {
		rd.mu.Lock()
		rd.job.Err = err
		for _, b := range bad {
			rd.job.Bad = append(rd.job.Bad, uint32(b))
		}
		rd.mu.Unlock()
	}
	if rd.left.Add(-1) > 0 {
		return
	}
	e := event{copyset: rd.job.Replica.ID(), read: rd.job}
	if goesOn {
		rd.owner.queue.put(e)
	} else {
		rd.owner.queue.post(e)
	}
}

// flush does a FlushJob: on a goroutine of its own, because a new chunk may have to be written.
func (o *Owner) flush(job *copyset.FlushJob) {
	s := o.store
	places := s.flushes
	if s.mayTakeItsTime() {
		places = s.calmFlushes
	}
	places <- struct{}{}
	job.Err = s.flushJob(job)
	<-places
	switch {
	case job.Err == nil:
	case errors.Is(job.Err, disk.ErrNoSpace):
		s.noSpace(job.Err)
	case errors.Is(job.Err, buf.ErrExhausted):
	case len(job.Bad) > 0:
		s.noteBad(job.Err, len(job.Bad))
	case lostChunk(job.Err, 0): // the owner ends the replica
	default:
		s.fail(job.Err)
	}
	o.queue.post(event{copyset: job.Replica.ID(), flush: job})
}

// mayTakeItsTime reports whether neither memory nor log wait for flushes. Then few are under way at
// a time, so that the device is there for clients, and blocks gather meanwhile.
func (s *Store) mayTakeItsTime() bool {
	return s.poolShare() < pressureLow && !s.logShort()
}

func (s *Store) flushJob(job *copyset.FlushJob) error {
	group := job.Replica.ID()
	if job.DeleteVolume != 0 {
		return s.deleteVolume(group, job.DeleteVolume)
	}
	id := s.chunkID(group, job.Chunk)
	if job.ZeroChunk {
		if err := s.chunks.Delete(id); err != nil && !errors.Is(err, chunkfile.ErrNotExist) {
			return err
		}
	}
	chunk, ok := s.chunks.Get(id)
	if !ok {
		if !job.HasData() {
			s.settled(id, 0)
			return nil
		}
		var err error
		if chunk, err = s.chunks.Create(id); err != nil {
			return err
		}
		s.settled(id, 1)
	}
	return s.writeRuns(chunk, job)
}

func (s *Store) deleteVolume(group, volume uint64) error {
	for _, id := range s.chunks.List(group) {
		if id.Volume != volume {
			continue
		}
		if err := s.chunks.Delete(id); err != nil {
			return err
		}
	}
	return nil
}

// runWrite is memory for the writes of a flush job, which has up to some hundred pieces.
type runWrite struct {
	wait   sync.WaitGroup
	ios    []*chunkfile.IO
	pieces []piece
	vecs   [][]byte
	done   func(*chunkfile.IO)
}

// piece is part of a run that is to be written: the rest was turned to a twin that has it.
type piece struct {
	first uint32
	data  []copyset.Payload
	crcs  []uint32
}

var runWrites = sync.Pool{New: func() any {
	w := new(runWrite)
	w.done = func(*chunkfile.IO) { w.wait.Done() }
	return w
}}

// room gives n writes, none of which has failed.
func (w *runWrite) room(n int) []*chunkfile.IO {
	for len(w.ios) < n {
		w.ios = append(w.ios, &chunkfile.IO{Done: w.done})
	}
	for _, io := range w.ios[:n] {
		io.Err = nil
	}
	return w.ios[:n]
}

// put gives the memory back, without what it refers to.
func (w *runWrite) put() {
	for _, io := range w.ios {
		io.Vec, io.CRCs = nil, nil
	}
	clear(w.vecs)
	clear(w.pieces)
	runWrites.Put(w)
}

// writeRuns writes the runs of a job to the chunk and waits for all of them.
func (s *Store) writeRuns(chunk *chunkfile.Chunk, job *copyset.FlushJob) error {
	w := runWrites.Get().(*runWrite)
	defer w.put()
	if err := s.turnRuns(w, chunk, job.Runs); err != nil {
		return err
	}
	wait, ios, vecs := &w.wait, w.room(len(w.pieces)), w.vecs[:0]
	var loadErr error
	pending := 0
	for i := range w.pieces {
		p := &w.pieces[i]
		if loadErr = s.loadPiece(job, p); loadErr != nil {
			break
		}
		io := ios[i]
		io.Block, io.Count, io.CRCs = int(p.first), len(p.crcs), p.crcs
		from := len(vecs)
		vecs = joined(vecs, p.data)
		io.Vec = vecs[from:len(vecs):len(vecs)]
		wait.Add(1)
		chunk.Write(io)
		if pending++; pending >= flushPiece && s.mayTakeItsTime() {
			s.disk.Flush()
			wait.Wait()
			pending = 0
		}
	}
	s.disk.Flush()
	wait.Wait()
	w.vecs = vecs
	for i := range ios {
		if ios[i].Err != nil {
			return ios[i].Err
		}
	}
	return loadErr
}

// turnRuns zeroes what is to be zeroed and turns to a twin what a twin has; w.pieces is the rest.
func (s *Store) turnRuns(w *runWrite, chunk *chunkfile.Chunk, runs []*copyset.FlushRun) error {
	w.pieces = w.pieces[:0]
	for _, run := range runs {
		if run.Zero {
			chunk.Zero(int(run.First), int(run.Count))
			continue
		}
		begin := 0 // of what is to be written
		for i := 0; i < len(run.Data); {
			t, n := s.placed.of(run, i)
			turned := false
			if t != nil {
				var err error
				turned, err = chunk.Turn(t, int(run.First)+i, run.CRCs[i:i+n])
				if err != nil {
					return err
				}
			}
			if turned {
				w.cut(run, begin, i)
				begin = i + n
			}
			i += n
		}
		w.cut(run, begin, len(run.Data))
	}
	return nil
}

// cut adds part of a run to what is to be written.
func (w *runWrite) cut(run *copyset.FlushRun, from, to int) {
	if from < to {
		w.pieces = append(w.pieces, piece{run.First + uint32(from), run.Data[from:to],
			run.CRCs[from:to]})
	}
}

// loadPiece reads the blocks that are only in the log. One that is bad there is noted in the job:
// the store is well, and another replica has the block.
func (s *Store) loadPiece(job *copyset.FlushJob, w *piece) error {
	for i := range w.data {
		p := &w.data[i]
		if p.B != nil {
			continue
		}
		b, err := s.pool.Get(buf.BlockSize)
		if err != nil {
			return err
		}
		if err := s.readLogBlock(p.At, b.Bytes(), w.crcs[i]); err != nil {
			job.Bad = append(job.Bad, w.first+uint32(i))
			b.Release()
			return err
		}
		p.B, p.Buf = b.Bytes(), b
	}
	return nil
}

// joined appends the blocks to vec as few slices: those that lie side by side in memory become one.
func joined(vec [][]byte, data []copyset.Payload) [][]byte {
	from := len(vec)
	for i := range data {
		b := data[i].B
		if n := len(vec); n > from && data[i].Buf != nil && data[i].Buf == data[i-1].Buf {
			last := vec[n-1]
			if cap(last) > len(last) && &last[:len(last)+1][len(last)] == &b[0] {
				vec[n-1] = last[:len(last)+len(b)]
				continue
			}
		}
		vec = append(vec, b)
	}
	return vec
}
