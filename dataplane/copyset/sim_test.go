package copyset

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/ashlar-storage/ashlar/io/wal"
)

// The simulation runs the replicas of one copyset, their logs, chunk files and clocks, the network
// and the clients on one goroutine in simulated time. Everything random comes from one seed, so a
// seed that fails fails again.
//
//	sim_test.go         time, faults, what is checked while it runs
//	simmember_test.go   the control plane: members whose disks are lost, and who replaces them
//	simnode_test.go     the owner of one replica: turns, ticks, jobs, checkpoints, crashes
//	simdisk_test.go     the log and the chunk files, and what a power cut leaves of them
//	simnet_test.go      messages between replicas, fetches and repairs
//	simclient_test.go   clients that write, zero and read, and try again
//	simback_test.go     disks that are put back to an earlier state
//	simcheck_test.go    is the history linearizable, are the replicas equal
//
// A node's process stops whole: a crash cuts its power, and then the replica is stopped in memory
// too, to see that it gives back every buffer from whatever state it was in.

// simConfig is how hard a run is. Rates are mean times between events; 0 is never.
type simConfig struct {
	replicas   int
	run        time.Duration // of faults and load; healing comes after
	clients    int
	inflight   int
	drop, dup  float64
	delay      time.Duration // mean one-way
	shuffle    bool          // each message has a delay of its own, and overtakes as it comes
	disk       time.Duration // mean of one device operation
	slowRead   float64       // share of reads that take 50 to 550 ms
	slowDisk   float64       // share of operations that take 100 times as long
	crash      time.Duration
	cut        time.Duration
	stall      time.Duration
	transfer   time.Duration
	checkpoint time.Duration
	pressure   time.Duration
	takeover   time.Duration
	rot        time.Duration
	replace    time.Duration // of members
	isolate    time.Duration
	clog       time.Duration
	rumour     time.Duration // that a leader is gone, which lives
	writeFails float64       // share of writes of a log
	hiccup     float64       // share of turns that come up to 60 ms late
	drift      float64
	full       time.Duration // a disk takes no new chunks for a while
	astray     float64       // share of flushed blocks that do not get to their place
	rollback   time.Duration // a disk is copied, or put back to its copy
	control    time.Duration // the control plane ends, and forgets what it heard
	lull       time.Duration // nobody asks for anything, until all may rest
	readIndex  bool          // clocks are not trusted
	jump       time.Duration // of a clock, ahead
	retain     wal.LSN       // log kept behind what a restart needs
	readShare  float64
	partial    float64 // share of writes that are not whole blocks
}

const (
	simCopyset     = 7
	simVolumes     = 2
	simRest        = 6 // ticks
	simChunks      = 3 // the last is touched rarely
	simChunkBlocks = 16
	sectorSize     = 512
	simSectors     = simChunkBlocks * BlockSize / sectorSize
)

type simEvent struct {
	at  int64
	seq uint64
	do  func()
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = simEvent{}
	*q = old[:len(old)-1]
	return e
}

type sim struct {
	t     testing.TB
	cfg   simConfig
	seed  uint64
	rng   *rand.Rand
	now   int64
	seq   uint64
	queue simQueue
	trace hash.Hash64
	err   error
	log   *slog.Logger

	nodes   []*simNode
	members simMembers
	cuts    [][]bool // from, to
	arrived map[simWay]int64
	clogs   [][]int64 // from, to: nothing arrives before
	clients []*simClient
	ops     []*simOp
	epochs  [simVolumes]uint64
	// lullUntil: clients begin nothing before it.
	lullUntil int64
	fences    [simVolumes]map[uint64]int64 // epoch -> when its first write was acknowledged
	values    uint64
	session   uint64
	healed    bool
	drained   bool // no new operations

	leaders map[uint64]uint64 // term -> replica
	commits map[uint64]uint64 // index -> term
	marks   map[string]int    // what happened, to see that a run is worth something
}

func newSim(t *testing.T, seed uint64, cfg simConfig) *sim {
	cryptotest.SetGlobalRandom(t, seed) // raft's election time-outs
	s := &sim{t: t, cfg: cfg, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), trace: fnv.New64a(),
		arrived: map[simWay]int64{},
		leaders: map[uint64]uint64{}, commits: map[uint64]uint64{}, marks: map[string]int{},
		log: slog.New(slog.DiscardHandler)}
	if *simLoud {
		s.log = slog.New(slog.NewTextHandler(simWriter{s},
			&slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for v := range s.fences {
		s.epochs[v], s.fences[v] = 1, map[uint64]int64{}
	}
	s.members.epoch, s.members.reached = 1, map[uint64]wal.LSN{}
	for range cfg.replicas {
		s.members.places = append(s.members.places, s.added())
	}
	for _, n := range s.nodes {
		n.start()
	}
	for i := range cfg.clients {
		s.clients = append(s.clients, newSimClient(s, i%simVolumes))
	}
	s.faults()
	return s
}

// simWriter sends log lines of replicas to the test's log.
type simWriter struct{ s *sim }

func (w simWriter) Write(p []byte) (int, error) {
	w.s.t.Logf("%v %s", time.Duration(w.s.now), p)
	return len(p), nil
}

// fail ends the run with the first thing that was wrong.
func (s *sim) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("seed %d at %v: "+format,
			append([]any{s.seed, time.Duration(s.now)}, args...)...)
	}
}

func (s *sim) mark(what string) { s.marks[what]++ }

// after runs f later. f checks by itself that what it is about still lives.
func (s *sim) after(d time.Duration, f func()) {
	s.seq++
	heap.Push(&s.queue, simEvent{s.now + int64(max(d, 0)), s.seq, f})
}

// around draws a time: mostly near the mean, now and then long.
func (s *sim) around(mean time.Duration) time.Duration {
	return time.Duration(s.rng.ExpFloat64() * float64(mean))
}

func (s *sim) chance(p float64) bool { return p > 0 && s.rng.Float64() < p }

// runUntil goes on until cond holds or limit has passed, and reports whether cond holds.
func (s *sim) runUntil(limit time.Duration, cond func() bool) bool {
	end := s.now + int64(limit)
	for s.err == nil && s.queue.Len() > 0 && s.queue[0].at <= end {
		e := heap.Pop(&s.queue).(simEvent)
		s.now = e.at
		e.do()
		if cond != nil && cond() {
			return true
		}
	}
	s.now = max(s.now, end)
	return cond != nil && cond()
}

// note adds to the trace by which two runs of one seed are compared.
func (s *sim) note(vs ...uint64) {
	var b [8]byte
	for _, v := range vs {
		binary.LittleEndian.PutUint64(b[:], v)
		s.trace.Write(b[:])
	}
}

// every repeats f at random times until healing begins.
func (s *sim) every(mean time.Duration, f func()) {
	if mean == 0 {
		return
	}
	s.after(s.around(mean), func() {
		if s.healed {
			return
		}
		f()
		s.every(mean, f)
	})
}

func (s *sim) anyNode() *simNode {
	all := s.members.wanted()
	return all[s.rng.IntN(len(all))]
}

// faults starts everything that goes wrong.
func (s *sim) faults() {
	c := &s.cfg
	s.every(c.crash, func() { s.crash() })
	s.every(c.cut, s.partition)
	s.every(c.stall, func() {
		s.mark("stall")
		s.anyNode().stall(50*time.Millisecond + s.around(400*time.Millisecond))
	})
	s.every(c.transfer, func() {
		n, to := s.anyNode(), s.anyNode().id
		n.post(func(int64) {
			if n.r.leading() {
				s.mark("transfer")
			}
			n.r.Transfer(to)
		})
	})
	s.every(c.pressure, func() {
		n, m := s.anyNode(), MemoryAmple
		if s.chance(0.5) {
			m = MemoryShort
		}
		n.post(func(int64) { n.r.SetMemory(m) })
	})
	s.every(c.takeover, func() { s.takeover(s.rng.IntN(simVolumes)) })
	s.every(c.rot, s.bitRot)
	s.every(c.isolate, s.isolate)
	s.every(c.clog, s.clog)
	s.every(c.rumour, func() {
		s.mark("false rumour")
		n := s.anyNode()
		n.post(func(now int64) { n.hearGone(n.r.Leader(), now) })
	})
	s.every(c.jump, func() {
		s.mark("clock jump")
		n := s.anyNode()
		n.ahead += int64(s.around(time.Second))
	})
	s.every(c.lull, func() {
		s.mark("lull")
		s.lullUntil = s.now + int64(s.around(4*time.Second))
	})
	s.every(c.full, func() {
		n := s.anyNode()
		n.fullUntil = s.now + int64(s.around(400*time.Millisecond))
	})
	if c.replace > 0 {
		s.every(c.replace, s.replace)
		s.every(c.control, s.controlEnds)
		s.every(c.rollback, s.rollback)
		s.control()
	}
}

// crash cuts the power of one node, or of all.
func (s *sim) crash() {
	victims := []*simNode{s.anyNode()}
	if s.chance(0.1) {
		victims = s.members.wanted()
		s.mark("crash of all")
	}
	for _, n := range victims {
		if !n.up || n.putBack {
			continue
		}
		s.mark("crash")
		n.crash()
		s.tellGone(n)
		down := s.around(200 * time.Millisecond)
		if s.chance(0.2) {
			down += 3 * time.Second
		}
		s.after(down, n.start)
	}
}

// tellGone lets some of the others notice that a process refuses connections, while it does.
func (s *sim) tellGone(gone *simNode) {
	for _, n := range s.members.wanted() {
		if n == gone || s.chance(0.3) {
			continue
		}
		s.after(s.around(20*time.Millisecond), func() {
			if !gone.up {
				n.post(func(now int64) { n.hearGone(gone.id, now) })
			}
		})
	}
}

// partition cuts some ways, each direction by itself, for a while.
func (s *sim) partition() {
	s.mark("cut")
	s.cutOff(s.anyNode().i, 0.7)
}

// isolate cuts every way to and from the one that leads.
func (s *sim) isolate() {
	for _, n := range s.members.wanted() {
		if n.up && n.r.leading() {
			s.mark("leader isolated")
			s.cutOff(n.i, 1)
			return
		}
	}
}

// cutOff cuts a share of the ways of one node for a while.
func (s *sim) cutOff(victim int, share float64) {
	var undo [][2]int
	for to := range s.nodes {
		for _, way := range [][2]int{{victim, to}, {to, victim}} {
			if way[0] != way[1] && (share == 1 || s.chance(share)) {
				s.cuts[way[0]][way[1]] = true
				undo = append(undo, way)
			}
		}
	}
	s.after(s.around(800*time.Millisecond), func() {
		for _, way := range undo {
			s.cuts[way[0]][way[1]] = false
		}
	})
}

// clog holds everything on one way back for a while, and then lets it arrive.
func (s *sim) clog() {
	s.mark("clog")
	from, to := s.anyNode().i, s.anyNode().i
	s.clogs[from][to] = s.now + int64(s.around(500*time.Millisecond))
}

// bitRot spoils a block on the one replica that may lose it.
func (s *sim) bitRot() {
	c := Chunk{Volume: uint64(s.rng.IntN(simVolumes)) + 1, Index: uint64(s.rng.IntN(simChunks))}
	block := uint32(s.rng.IntN(simChunkBlocks))
	s.mayLose(c, block).chunks.rot(s, c, block)
}

// mayLose is the one node whose copy of a block may be lost at rest.
func (s *sim) mayLose(c Chunk, block uint32) *simNode {
	places := s.members.places
	return places[(uint64(block)+c.Index)%uint64(len(places))]
}

// heal ends all faults.
func (s *sim) heal() {
	s.healed = true
	s.cfg.drop, s.cfg.dup, s.cfg.slowDisk, s.cfg.slowRead, s.cfg.hiccup = 0, 0, 0, 0, 0
	s.cfg.writeFails, s.cfg.astray = 0, 0
	s.members.downUntil, s.lullUntil = 0, 0
	for i := range s.cuts {
		clear(s.cuts[i])
		clear(s.clogs[i])
	}
	for _, n := range s.nodes {
		n.stalledUntil, n.fullUntil = 0, 0
		if !n.up {
			n.start()
		}
	}
}

// watch checks after a turn of n what must hold at every moment.
func (s *sim) watch(n *simNode) {
	r := n.r
	if r.err != nil && n.failing {
		return
	}
	if r.err != nil {
		s.fail("replica %d stopped: %v", n.id, r.err)
		return
	}
	if why := r.Lost(); why != nil {
		s.foundOut(n, why)
		return
	}
	if r.leading() {
		term := r.status.Term
		if who := s.leaders[term]; who != 0 && who != n.id {
			s.fail("replicas %d and %d both lead in term %d", who, n.id, term)
		}
		s.leaders[term] = n.id
	}
	if r.applied > 0 {
		if t, ok := s.commits[r.applied]; ok && t != r.appliedTerm {
			s.fail("entry %d is of term %d and of term %d", r.applied, t, r.appliedTerm)
		}
		s.commits[r.applied] = r.appliedTerm
	}
	if !r.Serving() || s.cfg.readIndex {
		return
	}
	for _, o := range s.nodes {
		if o == n || !o.up || o.r.err != nil || !o.r.Serving() || o.r.status.Term >= r.status.Term {
			continue
		}
		if o.clock() < o.r.lease.until(o.id, &o.r.entries.conf, o.clock()) {
			s.fail("replica %d serves in term %d while %d has the lease of term %d", n.id,
				r.status.Term, o.id, o.r.status.Term)
		}
	}
}

// finish heals, waits for every answer, reads everything back and compares the replicas.
func (s *sim) finish() {
	s.heal()
	s.drained = true
	idle := func() bool {
		for _, c := range s.clients {
			if len(c.open) > 0 {
				return false
			}
		}
		return true
	}
	if !s.runUntil(30*time.Second, idle) {
		s.fail("operations are not answered after healing: %s", s.stuck())
		return
	}
	if !s.runUntil(30*time.Second, s.members.settled) {
		s.fail("a replacement does not end: %+v%s", s.members.change(), s.stuck())
		return
	}
	for _, c := range s.clients[:min(simVolumes, len(s.clients))] {
		c.readAll()
	}
	if !s.runUntil(30*time.Second, idle) {
		s.fail("last reads are not answered: %s", s.stuck())
		return
	}
	if !s.runUntil(30*time.Second, s.converged) {
		s.fail("replicas do not converge: %s", s.stuck())
		return
	}
	s.compareReplicas()
	if s.err == nil {
		s.checkHistory()
	}
	for _, n := range s.nodes {
		n.crash()
	}
}

func (s *sim) converged() bool {
	first := s.members.places[0]
	for _, n := range s.members.places {
		if !n.up || n.r.applied != first.r.applied || n.r.entries.hard.Commit != n.r.applied ||
			n.r.status.Lead == 0 || n.r.unanswered.head != nil {
			return false
		}
	}
	return true
}

func (s *sim) stuck() string {
	out := ""
	for _, n := range s.nodes {
		if !n.up || n.r == nil {
			out += fmt.Sprintf("\n  %d: down", n.id)
			continue
		}
		st := n.r.Status()
		out += fmt.Sprintf("\n  %d: leader %d term %d commit %d applied %d log %d..%d serving %v "+
			"restoring %v lanes %d voters %v learners %v progress %+v", n.id,
			st.Leader, st.Term, st.Commit, st.Applied, st.First, st.Last, st.Serving, st.Restoring,
			n.r.lanes.Len(), st.Voters, st.Learners, st.Progress)
	}
	for _, c := range s.clients {
		for _, op := range c.open {
			out += fmt.Sprintf("\n  open: %v", op)
		}
	}
	return out
}

// runSim runs one seed to its end and gives what its trace amounts to.
func runSim(t *testing.T, seed uint64, cfg simConfig) (uint64, *sim) {
	s := newSim(t, seed, cfg)
	s.runUntil(cfg.run, nil)
	if s.err == nil {
		s.finish()
	}
	if s.err != nil {
		t.Errorf("%v\nconfig %+v", s.err, cfg)
		s.abandon()
	}
	return s.trace.Sum64(), s
}

// abandon gives the memory of a failed run back.
func (s *sim) abandon() {
	s.err = fmt.Errorf("over")
	for _, n := range s.nodes {
		n.crash()
	}
}
