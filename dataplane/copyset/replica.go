package copyset

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/ashlar-storage/ashlar/dataplane/lane"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/wal"
)

// Config makes a replica.
type Config struct {
	State       *State     // of a new replica, or as recovered
	Recovered   *Recovered // nil for a new replica
	ChunkBlocks uint32     // blocks of 4 KiB per chunk
	Pool        *buf.Pool
	Now         int64 // ns on the clock that every later call is given
	// Unproven says that what was recovered may be older than what this member once had, until
	// Proven tells otherwise; see proof.go.
	Unproven bool
	// ReadIndex has every read ask a majority who leads, instead of trusting the lease. It costs a
	// round trip and needs no clock.
	ReadIndex bool
	// Timing gets what each request took; those of one owner may share it. nil: one of its own.
	Timing *Timing
	Logger *slog.Logger
}

// Replica is one member of a copyset: a step machine. Its owner calls one method at a time, each
// with the time on one monotonic clock, and ends every batch of calls with Ready; what is to be
// done in the world comes out in Effects.
type Replica struct {
	id, self    uint64 // copyset, replica
	epoch       uint64
	peers       []Peer
	change      Change
	settling    settling
	farewell    farewell
	rest        rest
	chunkBlocks uint32
	pool        *buf.Pool
	log         *slog.Logger
	now         int64
	timing      *Timing
	voteAfter   int64 // ns; before it this replica takes part in no election
	proof       proof
	err         error  // what stopped it, for ever
	resigned    bool   // and has told another to lead
	retiring    bool   // about to stop: it leads no more
	handed      bool   // gave the leadership away in HandOff
	transferAt  uint64 // tick at which it began to hand the leadership over

	node    *raft.RawNode
	entries entryLog
	saved   raftpb.HardState // as last given to the log
	status  raft.BasicStatus
	asked   progressQuery
	heard   []uint64 // followers that answered a heartbeat in this turn
	staged  []stagedEntry
	appends []*Append // handed to the log and not yet answered, oldest first
	spare   []*Append

	applied     uint64
	appliedTerm uint64
	sessions    sessions
	overlay     overlay
	lanes       lane.Table
	granted     []*lane.Op

	unanswered unanswered
	proposals  []*Request
	proposed   []*Request // the memory of the last ones
	references room[Payload]
	room       []byte              // of slab
	waiting    map[uint64]*Request // index -> the request proposed there
	batch      []raftpb.Entry
	cmd        Command // scratch

	lease       lease
	readIndex   bool  // no read is served under the lease
	leaderStamp int64 // newest clock value of the leader of stampTerm
	leaderHeard int64 // ns; when its newest message was taken
	leaderFrom  uint64
	stampTerm   uint64
	suspect     suspicion
	reads       readQueue
	reading     map[*ReadJob]struct{} // under way for a client
	logReads    map[*ReadJob]wal.LSN  // under way, by the oldest place in the log that they read
	repairs     []*RepairJob          // under way
	readSeq     uint64

	touched map[Chunk]uint64 // the last entry that touched a chunk
	born    uint64           // nothing touched a chunk later that is not in touched

	ticks      uint64
	flushes    int   // under way
	flushAfter int64 // ns; no job before it
	deletes    []uint64
	deleting   bool
	lastCommit int64 // ns
	memory     Memory
	checkpoint *checkpoint
	stateAt    wal.LSN // of the newest durable RecordState
	stateIndex uint64  // and its applied index
	// overwritten is the newest entry whose payload cannot be read back any more (place.go).
	overwritten uint64
	// redoTo is the newest entry with a placed payload that was found in the log at the start.
	redoTo   uint64
	restore  *SnapshotJob
	lastFill int64 // ns; when the last fetch of chunks ended
	counters Counters
}

type stagedEntry struct {
	index, term uint64
	payload     Payload
}

// Counters count what a replica has done since it started.
type Counters struct {
	Reads, Writes, Zeroes   uint64
	ReadBytes, WriteBytes   uint64
	Repeated, Fenced        uint64
	FlushedBlocks           uint64
	CorruptBlocks, Repaired uint64
}

// New makes a replica. It fails when what was recovered contradicts itself.
func New(cfg Config) (*Replica, error) {
	st := cfg.State
	r := &Replica{
		id: st.Copyset, self: st.Replica, epoch: st.Epoch, peers: st.Peers,
		chunkBlocks: cfg.ChunkBlocks, pool: cfg.Pool, now: cfg.Now, timing: cfg.Timing,
		log:     cfg.Logger.With("copyset", st.Copyset, "replica", st.Replica),
		applied: st.Applied, appliedTerm: st.AppliedTerm,
		overlay: newOverlay(), waiting: map[uint64]*Request{},
		touched: map[Chunk]uint64{}, born: st.Applied, readIndex: cfg.ReadIndex,
		rest:  rest{after: restTicks},
		lease: lease{acked: map[uint64]int64{}}, reading: map[*ReadJob]struct{}{},
		logReads: map[*ReadJob]wal.LSN{},
	}
	if r.timing == nil {
		r.timing = new(Timing)
	}
	if err := r.sessions.load(st); err != nil {
		return nil, err
	}
	r.entries.conf, r.entries.hard = st.Conf, st.Hard
	r.entries.base, r.entries.baseTerm = st.Applied, st.AppliedTerm
	if cfg.Recovered != nil {
		r.entries = cfg.Recovered.entries
		r.stateAt, r.stateIndex = cfg.Recovered.stateAt, st.Applied
		r.redoTo = r.entries.newestPlaced()
		r.voteAfter = cfg.Now + electionTicks*int64(TickInterval)
		r.proof = newProof(cfg.Unproven, cfg.Now)
	}
	r.saved = r.entries.hard
	r.asked.init()
	r.entries.snapshot = r.makeSnapshot
	return r, r.start()
}

func (r *Replica) start() error {
	if c := r.entries.hard.Commit; c > r.entries.last() || c < r.applied {
		return fmt.Errorf("copyset %d: commit index %d with a log of %d..%d, applied to %d",
			r.id, c, r.entries.base+1, r.entries.last(), r.applied)
	}
	node, err := raft.NewRawNode(&raft.Config{
		ID: r.self, ElectionTick: electionTicks, HeartbeatTick: heartbeatTicks,
		Storage: &r.entries, Applied: r.applied, AsyncStorageWrites: true,
		MaxSizePerMsg: maxSizePerMsg, MaxInflightMsgs: maxInflightMsgs,
		MaxInflightBytes: maxInflightBytes, MaxUncommittedEntriesSize: maxUncommitted,
		CheckQuorum: true, PreVote: true, DisableProposalForwarding: true,
		StepDownOnRemoval: true, Logger: raftLogger{r.log},
	})
	if err != nil {
		return fmt.Errorf("copyset %d: %w", r.id, err)
	}
	r.node = node
	r.status = node.BasicStatus()
	return nil
}

// ID is the copyset's number.
func (r *Replica) ID() uint64 { return r.id }

// Self is this member's number.
func (r *Replica) Self() uint64 { return r.self }

// Peers are the members, this one among them.
func (r *Replica) Peers() []Peer { return r.peers }

// Peer finds a member; nil when it is none.
func (r *Replica) Peer(replica uint64) *Peer {
	for i := range r.peers {
		if r.peers[i].ReplicaID == replica {
			return &r.peers[i]
		}
	}
	return nil
}

// SetPeers takes over the members' addresses from the control plane.
func (r *Replica) SetPeers(epoch uint64, peers []Peer) { r.epoch, r.peers = epoch, peers }

// Tick tells the replica that TickInterval has passed. One that is Asleep needs none.
func (r *Replica) Tick(now int64) {
	r.now = now
	if r.err != nil || r.rest.asleep {
		return
	}
	if !r.proof.missing(now) {
		r.node.Tick()
	}
	r.doubt()
	r.tickRest()
	r.ticks++
	if r.status.LeadTransferee != raft.None && r.ticks-r.transferAt >= transferTicks {
		r.abortTransfer()
	}
	if r.ticks%offerTicks == 0 && r.leading() {
		r.offerAgain()
	}
	if r.ticks%changeTicks == 0 {
		r.advanceChange()
	}
}

// Campaign makes this replica stand for election now: the way a new copyset gets the leader that
// the control plane chose without waiting for a time-out. A candidate votes, so it does nothing
// before what was promised to another leader is over.
func (r *Replica) Campaign() {
	r.wake()
	if r.err == nil && !r.retiring && r.mayElect() && r.now >= r.promised() {
		r.ignore(r.node.Campaign())
	}
}

// Unreachable tells raft that a message to the peer was lost.
func (r *Replica) Unreachable(peer uint64) {
	if r.err == nil {
		r.node.ReportUnreachable(peer)
	}
}

// Stop ends the replica for good because of err: its store failed. Everything held is refused, and
// if it leads, another is asked to.
func (r *Replica) Stop(err error, fx *Effects) {
	if r.err == nil {
		r.err = err
	}
	if r.restore != nil {
		r.restore.end()
	}
	r.resign(fx)
	r.refuseAll(fx)
}

// Free gives every buffer back after Stop, when nothing of the replica is in flight any more.
func (r *Replica) Free() {
	r.dropStaged()
	r.overlay.clear()
	r.entries.truncate(r.entries.base + 1)
}

// SetMemory says how much memory there is, by which the overlay is flushed from then on.
func (r *Replica) SetMemory(m Memory) { r.memory = m }

// OverlayBytes is the memory that the overlay holds.
func (r *Replica) OverlayBytes() int64 { return r.overlay.bytes }

// Leader is the member that leads as far as this one knows; 0: none.
func (r *Replica) Leader() uint64 { return r.status.Lead }

// Err is what stopped the replica.
func (r *Replica) Err() error { return r.err }

func (r *Replica) leading() bool { return r.status.RaftState == raft.StateLeader }

// Serving reports whether this replica leads and has applied an entry of its own term, and with
// it everything that earlier leaders committed.
func (r *Replica) Serving() bool {
	return r.err == nil && r.leading() && r.appliedTerm == r.status.Term
}

// ignore drops raft's refusals of a message or a proposal that it may drop at any time.
func (r *Replica) ignore(err error) {
	if err != nil && !errors.Is(err, raft.ErrProposalDropped) &&
		!errors.Is(err, raft.ErrStepPeerNotFound) {
		r.log.Warn("raft refused a message", "err", err)
	}
}

// Status is what operators and the control plane see of a replica.
type Status struct {
	Copyset, Replica, Leader, Term, Vote uint64
	Commit, Applied, First, Last         uint64
	Leading, Serving, Restoring          bool
	OverlayBlocks                        int
	OverlayBytes                         int64
	ManyVolumes                          bool // Erased should tell it of some
	Progress                             []PeerProgress
	Voters, Learners                     []uint64
	Joint                                bool // a member may be between two sets of voters
	Recorded                             bool // a durable record says that this member exists
	Err                                  error
	Counters                             Counters

	GaveUp uint64 // a member of which it is certain that it never votes; 0: none
}

// PeerProgress is how far a leader knows a peer to be.
type PeerProgress struct {
	Replica, Match uint64
	Active         bool
}

// Status reports the replica's state.
func (r *Replica) Status() Status {
	s := Status{
		Copyset: r.id, Replica: r.self, Leader: r.status.Lead, Term: r.status.Term,
		Vote: r.status.Vote, Commit: r.status.Commit, Applied: r.applied,
		First: r.entries.base + 1, Last: r.entries.last(), Leading: r.leading(),
		Serving: r.Serving(), Restoring: r.restore != nil, OverlayBlocks: r.overlay.blocks,
		OverlayBytes: r.overlay.bytes, Err: r.err, Counters: r.counters,
		Voters:   slices.Clone(r.entries.conf.Voters),
		Learners: slices.Clone(r.entries.conf.Learners),
		Joint:    r.joint(), Recorded: r.stateAt != 0, GaveUp: r.gaveUp(),
		ManyVolumes: r.sessions.many(),
	}
	if s.Leading {
		r.node.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
			active := r.inTouch(&p) || id == r.self
			s.Progress = append(s.Progress, PeerProgress{id, p.Match, active})
		})
	}
	return s
}

// raftLogger sends raft's log lines to the replica's logger; its information is our debugging.
// Raft has such a line for what happens with every few writes, as an append that tells it nothing
// new, so that it is written out only for somebody who reads it.
type raftLogger struct{ l *slog.Logger }

func (g raftLogger) Debug(v ...any)        {}
func (g raftLogger) Debugf(string, ...any) {}

func (g raftLogger) Info(v ...any) {
	if g.read() {
		g.l.Debug(fmt.Sprint(v...))
	}
}

func (g raftLogger) Infof(f string, v ...any) {
	if g.read() {
		g.l.Debug(fmt.Sprintf(f, v...))
	}
}

func (g raftLogger) read() bool { return g.l.Enabled(context.Background(), slog.LevelDebug) }

func (g raftLogger) Warning(v ...any)            { g.l.Warn(fmt.Sprint(v...)) }
func (g raftLogger) Warningf(f string, v ...any) { g.l.Warn(fmt.Sprintf(f, v...)) }
func (g raftLogger) Error(v ...any)              { g.l.Error(fmt.Sprint(v...)) }
func (g raftLogger) Errorf(f string, v ...any)   { g.l.Error(fmt.Sprintf(f, v...)) }
func (g raftLogger) Fatal(v ...any)              { panic("copyset: raft: " + fmt.Sprint(v...)) }
func (g raftLogger) Fatalf(f string, v ...any)   { panic("copyset: raft: " + fmt.Sprintf(f, v...)) }
func (g raftLogger) Panic(v ...any)              { panic("copyset: raft: " + fmt.Sprint(v...)) }
func (g raftLogger) Panicf(f string, v ...any)   { panic("copyset: raft: " + fmt.Sprintf(f, v...)) }
