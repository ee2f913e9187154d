package copyset

import (
	"errors"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/wal"
)

var (
	errPower = errors.New("power cut")
	errSimIO = errors.New("input/output error")
)

// simNode owns one replica as the store does: a mailbox, turns that take all of it and read the
// clock after that, effects done messages first.
type simNode struct {
	s  *sim
	i  int
	id uint64

	dead     bool // never starts again
	failing  bool // a write of its log failed in this life
	proven   bool // in this life
	putBack  bool // to an earlier state, and nobody has found out
	opened   wal.LSN
	copied   *simImage
	reported simReport

	up     bool
	life   int // a restart makes a new one; what belongs to an older one is void
	born   int64
	rate   float64
	pool   *buf.Pool
	r      *Replica
	fx     Effects
	log    simLog
	chunks simFiles

	inbox        []func(now int64)
	turnSet      bool
	tickDue      bool
	stalledUntil int64
	ahead        int64 // what the clock jumped, ns
	fullUntil    int64 // the disk has no room for new chunks
	jobs         []*simJob
	active       []simRange
}

// simJob is something the node does for its replica, with the way to call it off.
type simJob struct{ abort func() }

func newSimNode(s *sim, i int) *simNode {
	n := &simNode{s: s, i: i, id: uint64(i + 1)}
	n.rate = 1 + s.cfg.drift*(2*s.rng.Float64()-1)
	n.log.head = 1 << 20
	n.chunks.init()
	return n
}

// clock is the node's own, which starts with its process and runs at its own rate.
func (n *simNode) clock() int64 {
	return 1 + int64(float64(n.s.now-n.born)*n.rate) + n.ahead
}

func (n *simNode) start() {
	s := n.s
	if n.up || n.dead || s.err != nil {
		return
	}
	pool, err := buf.NewPool(buf.Config{Bytes: 32 << 20})
	if err != nil {
		s.t.Fatal(err)
	}
	n.pool, n.up, n.born = pool, true, s.now
	n.life++
	n.failing = false
	n.fx = Effects{}
	st, rc := n.recover()
	if s.err != nil {
		return
	}
	if n.r, err = New(Config{State: st, Recovered: rc, ChunkBlocks: simChunkBlocks, Pool: pool,
		Now: n.clock(), ReadIndex: s.cfg.readIndex, Logger: s.log,
		Unproven: s.cfg.rollback > 0}); err != nil {
		s.fail("replica %d does not start: %v", n.id, err)
		return
	}
	n.r.rest.after = simRest
	if rc == nil {
		n.post(func(int64) {
			n.r.BeginCheckpoint()
			n.r.EndCheckpoint(&n.fx)
			if n.id == 1 {
				n.r.Campaign()
			}
		})
	}
	n.opened, n.proven = n.log.head, rc == nil
	n.ticks(n.life, 1)
	n.checkpoints(n.life)
	if s.cfg.rollback > 0 && rc != nil {
		n.register(n.life)
	}
}

func (n *simNode) recover() (*State, *Recovered) {
	rc := new(Recovered)
	n.log.replay(n.s, rc)
	st, err := rc.State()
	if err != nil {
		n.s.fail("replica %d does not recover: %v", n.id, err)
	}
	if st == nil {
		st = NewState(simCopyset, n.s.members.epoch, n.id, n.s.members.peers())
		st.Conf.Voters = nil
		for i := range n.s.cfg.replicas {
			st.Conf.Voters = append(st.Conf.Voters, uint64(i+1))
		}
		return st, nil
	}
	n.s.mark("recovered")
	return st, rc
}

// ticks come at fixed times; one that finds the last still waiting is lost, as time.Ticker has it.
func (n *simNode) ticks(life, k int) {
	at := n.born + int64(float64(k)*float64(TickInterval)/n.rate)
	n.s.after(time.Duration(at-n.s.now), func() {
		if n.life != life || !n.up {
			return
		}
		n.tickDue = true
		n.wake()
		n.ticks(life, k+1)
	})
}

// post puts something in the mailbox.
func (n *simNode) post(f func(now int64)) {
	if n.up {
		n.inbox = append(n.inbox, f)
		n.wake()
	}
}

func (n *simNode) wake() {
	if n.turnSet {
		return
	}
	n.turnSet = true
	d := n.s.around(20 * time.Microsecond)
	if n.s.chance(0.01) {
		d += n.s.around(15 * time.Millisecond) // the scheduler, the collector
	}
	if n.s.chance(n.s.cfg.hiccup) {
		d += time.Duration(n.s.rng.IntN(60)) * time.Millisecond
	}
	n.schedule(n.life, d)
}

func (n *simNode) schedule(life int, d time.Duration) {
	n.s.after(max(d, time.Duration(n.stalledUntil-n.s.now)), func() {
		switch {
		case n.life != life || !n.up:
		case n.s.now < n.stalledUntil:
			n.schedule(life, 0)
		default:
			n.turn()
		}
	})
}

// hearGone tells the replica that another's process has ended, and wakes it when it wants.
func (n *simNode) hearGone(id uint64, now int64) {
	at := n.r.Gone(id, now)
	if at == 0 {
		return
	}
	life := n.life
	n.s.after(time.Duration(float64(at-now)/n.rate), func() {
		if n.life == life {
			n.post(func(now int64) {
				n.s.mark("turn to stand for election")
				n.r.Wake(now)
			})
		}
	})
}

func (n *simNode) stall(d time.Duration) { n.stalledUntil = n.s.now + int64(d) }

// turn does what waits, as the store's owner does.
func (n *simNode) turn() {
	n.turnSet = false
	work := n.inbox
	n.inbox = nil
	now := n.clock()
	n.s.note(uint64(n.s.now), n.id, uint64(len(work)))
	switch { // a select between the mailbox and the ticker takes either first
	case n.tickDue && len(work) > 0 && n.s.chance(0.5):
		n.turnSet = true
		n.schedule(n.life, time.Microsecond)
	case n.tickDue:
		n.tickDue = false
		n.r.Tick(now)
	}
	for _, f := range work {
		f(now)
	}
	slept := n.r.Asleep()
	n.r.Ready(now, &n.fx)
	if !slept && n.r.Asleep() {
		n.s.mark("to rest")
	}
	n.execute()
	n.s.watch(n)
}

func (n *simNode) execute() {
	fx := &n.fx
	for i := range fx.Messages {
		n.s.send(n, &fx.Messages[i])
	}
	for _, a := range fx.Appends {
		n.log.append(n, a)
	}
	for i := range fx.Replies {
		n.s.reply(n, &fx.Replies[i])
	}
	for _, job := range fx.Reads {
		n.read(job)
	}
	for _, job := range fx.Repairs {
		n.repair(job)
	}
	for _, job := range fx.Flushes {
		n.flush(job)
	}
	for _, job := range fx.Snapshots {
		n.fetch(job)
	}
	fx.Reset()
}

// begin registers a job of this life; end reports whether it is still wanted.
func (n *simNode) begin(abort func()) *simJob {
	job := &simJob{abort}
	n.jobs = append(n.jobs, job)
	return job
}

func (n *simNode) end(job *simJob) bool {
	i := slices.Index(n.jobs, job)
	if i < 0 {
		return false
	}
	n.jobs = slices.Delete(n.jobs, i, i+1)
	return true
}

// later runs f after a time, unless the job was called off.
func (n *simNode) later(job *simJob, wait time.Duration, f func()) {
	n.s.after(wait, func() {
		if n.end(job) {
			f()
		}
	})
}

func (s *sim) deviceTime() time.Duration {
	d := s.around(s.cfg.disk)
	if s.chance(s.cfg.slowDisk) {
		d *= 100
	}
	return d
}

// simRange is blocks of a chunk that are being read or flushed.
type simRange struct {
	chunk        Chunk
	first, count uint32
	write        bool
}

// occupy checks what the lanes promise: no flush beside a read or a flush of the same blocks.
func (n *simNode) occupy(r simRange) {
	for _, o := range n.active {
		if (o.write || r.write) && o.chunk == r.chunk && o.first < r.first+r.count &&
			r.first < o.first+o.count {
			n.s.fail("replica %d: %+v beside %+v", n.id, r, o)
		}
	}
	n.active = append(n.active, r)
}

func (n *simNode) vacate(r simRange) {
	i := slices.Index(n.active, r)
	n.active = slices.Delete(n.active, i, i+1)
}

func (n *simNode) read(job *ReadJob) {
	where := simRange{job.Chunk, job.First, job.Count, false}
	if len(job.Parts) > 0 {
		n.occupy(where)
	}
	early := n.s.chance(0.5)
	job.Err, job.Bad = nil, nil
	if early {
		n.readParts(job)
	}
	j := n.begin(func() { job.Err = errPower; n.r.ReadDone(job, n.clock(), &n.fx) })
	wait := n.s.deviceTime()
	if n.s.chance(n.s.cfg.slowRead) {
		wait += time.Duration(50+n.s.rng.IntN(500)) * time.Millisecond
	}
	n.later(j, wait, func() {
		if !early {
			n.readParts(job)
		}
		if len(job.Parts) > 0 {
			n.vacate(where)
		}
		n.post(func(now int64) { n.r.ReadDone(job, now, &n.fx) })
	})
}

// flush writes a job's blocks. A power cut in between leaves some of them written.
func (n *simNode) flush(job *FlushJob) {
	var where []simRange
	if job.ZeroChunk {
		where = append(where, simRange{job.Chunk, 0, simChunkBlocks, true})
		n.s.mark("chunk dropped")
	} else {
		for _, run := range job.Runs {
			where = append(where, simRange{job.Chunk, run.First, run.Count, true})
		}
	}
	for _, w := range where {
		n.occupy(w)
	}
	j := n.begin(func() {
		n.flushSome(job)
		job.Err = errPower
		n.r.FlushDone(job, n.clock(), &n.fx)
	})
	n.later(j, n.s.deviceTime(), func() {
		n.s.mark("flush")
		if job.Err = n.room(job.Chunk); job.Err == nil || job.ZeroChunk || job.DeleteVolume != 0 {
			job.Err = nil
			n.flushAll(job)
		}
		for _, w := range where {
			n.vacate(w)
		}
		n.post(func(now int64) { n.r.FlushDone(job, now, &n.fx) })
	})
}

// checkpoints takes checkpoints at random times, as the store's checkpointer does.
func (n *simNode) checkpoints(life int) {
	mean := n.s.cfg.checkpoint
	if mean == 0 {
		return
	}
	n.s.after(n.s.around(mean), func() {
		if n.life != life || !n.up {
			return
		}
		n.post(func(int64) { n.r.BeginCheckpoint() })
		n.s.after(time.Millisecond, func() { n.drain(life, 0) })
	})
}

// drain waits until the overlay is in the chunk files.
func (n *simNode) drain(life, tries int) {
	if n.life != life || !n.up {
		return
	}
	n.post(func(int64) {
		switch {
		case n.r.Drained():
			n.syncChunks(life)
		case tries > 100:
			n.r.CancelCheckpoint()
			n.checkpoints(life)
		default:
			n.s.after(5*time.Millisecond, func() { n.drain(life, tries+1) })
		}
	})
}

func (n *simNode) syncChunks(life int) {
	n.s.after(n.s.deviceTime(), func() {
		if n.life != life || !n.up {
			return
		}
		n.chunks.sync()
		n.post(func(int64) { n.r.EndCheckpoint(&n.fx) })
		n.s.after(time.Millisecond, func() { n.recorded(life) })
	})
}

// recorded waits for the checkpoint's record, then recycles the log before it.
func (n *simNode) recorded(life int) {
	if n.life != life || !n.up {
		return
	}
	n.post(func(int64) {
		if n.r.Checkpointing() {
			n.s.after(5*time.Millisecond, func() { n.recorded(life) })
			return
		}
		n.s.mark("checkpoint")
		keep := wal.LSN(0)
		if n.log.head > n.s.cfg.retain {
			keep = n.log.head - n.s.cfg.retain
		}
		n.log.release(min(keep, n.r.Needs()))
		n.r.Released(n.log.tail)
		n.checkpoints(life)
	})
}

// crash cuts the power, and then takes the replica down in memory to count its buffers.
func (n *simNode) crash() {
	if !n.up {
		return
	}
	n.up = false
	n.tickDue, n.turnSet = false, false
	if n.r == nil {
		n.pool.Close()
		return
	}
	n.log.crash(n)
	n.takeDown()
	n.chunks.crash(n.s)
	n.active = nil
	if err := n.pool.Close(); err != nil {
		n.s.fail("replica %d: %v", n.id, err)
	}
	n.r, n.pool = nil, nil
}

// takeDown stops the replica with everything under way called off.
func (n *simNode) takeDown() {
	for _, f := range n.inbox {
		f(n.clock())
	}
	n.inbox = nil
	n.discard()
	n.r.Stop(errPower, &n.fx)
	for {
		if begun := len(n.fx.Reads) + len(n.fx.Flushes) + len(n.fx.Repairs) +
			len(n.fx.Snapshots) + len(n.fx.Appends); begun > 0 {
			n.s.fail("replica %d begins %d jobs after it was stopped", n.id, begun)
		}
		n.discard()
		if len(n.jobs) == 0 {
			break
		}
		job := n.jobs[0]
		n.jobs = n.jobs[1:]
		job.abort()
	}
	n.r.Ready(n.clock(), &n.fx)
	n.discard()
	if held := n.r.lanes.Len(); held != 0 {
		n.s.fail("replica %d: %d lane operations after it was stopped", n.id, held)
	}
	n.r.Free()
}

// discard drops effects of a stopped replica; what it begins now is called off.
func (n *simNode) discard() {
	fx := &n.fx
	for i := range fx.Messages {
		fx.Messages[i].Release()
	}
	for i := range fx.Replies {
		fx.Replies[i].Free()
	}
	for _, a := range fx.Appends {
		n.begin(func() { a.Err = errPower; n.r.AppendDone(a, n.clock(), &n.fx) })
	}
	for _, job := range fx.Reads {
		n.begin(func() { job.Err = errPower; n.r.ReadDone(job, n.clock(), &n.fx) })
	}
	for _, job := range fx.Repairs {
		n.begin(func() { n.r.RepairDone(job, n.clock(), &n.fx) })
	}
	for _, job := range fx.Flushes {
		n.begin(func() { job.Err = errPower; n.r.FlushDone(job, n.clock(), &n.fx) })
	}
	for _, job := range fx.Snapshots {
		n.begin(func() { job.Err = errPower; n.r.SnapshotDone(job, n.clock(), &n.fx) })
	}
	fx.Reset()
}
