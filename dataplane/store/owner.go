package store

import (
	"errors"
	"fmt"
	"sync"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/ebpf/mark"
	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Host is what the store needs of the node around it.
type Host interface {
	// Send takes a raft message for another member; it must not block, may drop the message, and
	// gives its payload references back either way.
	Send(o *Owner, s *Store, to copyset.Peer, m copyset.Message)
	// FlushMessages sends what Send gathered. It must not block.
	FlushMessages(o *Owner)
	// Reply answers a client and gives the reply's references back. It must not block.
	Reply(o *Owner, rep *copyset.Reply)
	// FlushReplies sends what Reply gathered in this turn of the owner.
	FlushReplies(o *Owner)
	// PeerChunks lists the chunks a member has, once it has applied so much.
	PeerChunks(to copyset.Peer, copysetID, applied uint64) ([]copyset.ListedChunk, error)
	// PeerBlocks reads blocks as a member has them, verified against the checksums it sent. The
	// payload is one buffer of all blocks.
	PeerBlocks(to copyset.Peer, copysetID uint64, r copyset.PeerRead) (copyset.Payload,
		[]uint32, error)
	// PeerSums asks a member for the checksums it has on record for blocks.
	PeerSums(to copyset.Peer, copysetID uint64, r copyset.PeerRead) ([]uint32, error)
}

// Owner steps the replicas given to it, one goroutine at a time: whoever holds mu is the owner.
// That is its own goroutine, or an event loop that has just queued what it read (Run) and would
// otherwise have to wake one. All methods but the exported ones belong to the holder.
type Owner struct {
	store    *Store
	mu       sync.Mutex
	replicas map[uint64]*member
	// condemned are replicas that ended before their store, and have something under way.
	condemned map[*copyset.Replica]*member
	queue     queue
	spare     []event
	fx        copyset.Effects
	awake     []*member // get ticks: all that are not Asleep, and some that are
	ticks     int
	claimed   int64  // by the clock; when chunks last claimed room
	rests     uint64 // how often all have fallen asleep
	timing    copyset.Timing
	now       int64                         // when this turn began
	answered  [copyset.KindFence + 1]uint64 // well, in this turn
	marks     marks
	touched   []*member // to be made Ready in this turn
	resting   []*member // the memory of the turn before
	inflight  int64
	reads     int  // queued on the disk in this turn
	appended  bool // something was queued on the log in this turn
	memory    copyset.Memory
	// placing are appends that wait until their large payloads, or those of appends of the same
	// replica before them, are durable in their slots.
	placing map[*copyset.Replica][]*placement
	out     lookout
	ended   bool // shut down: nobody takes a turn any more
	stopped chan struct{}
	// Scratch is the host's, for what it gathers during a turn.
	Scratch any
}

type member struct {
	*copyset.Replica
	touched   bool
	awake     bool // in the owner's list
	condemned bool
	retired   bool   // condemned since it is no member any more
	found     bool   // on the disk, when the store was opened
	busy      int    // jobs of it that are under way
	leader    uint64 // as last looked at
	gaveAt    int64  // by the clock, when it last handed over for want of room; 0: never
}

// event is one thing an owner has to deal with; exactly one field beside copyset is set.
type event struct {
	copyset uint64
	req     *copyset.Request
	msg     *copyset.Message
	peer    *copyset.PeerRead
	appnd   *copyset.Append
	read    *copyset.ReadJob
	repair  *copyset.RepairJob
	flush   *copyset.FlushJob
	snap    *copyset.SnapshotJob
	placed  *placement
	do      func()
}

// queue is the many-to-one mailbox of an owner. Its length is bounded by what may be in flight:
// client requests by the owner's inflight bound, raft messages by raft's windows and the pool.
type queue struct {
	mu     sync.Mutex
	events []event
	wake   chan struct{}
	closed bool
	held   bool // somebody takes a turn, and looks again after it
}

// offer takes an event from outside the store; false once the owner has stopped. It wakes nobody.
func (q *queue) offer(e event) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.events = append(q.events, e)
	return true
}

// post takes a completion and wakes the owner. After that has stopped they gather for its last
// words.
func (q *queue) post(e event) {
	q.mu.Lock()
	q.events = append(q.events, e)
	first := len(q.events) == 1 && !q.held
	q.mu.Unlock()
	if first {
		q.kick()
	}
}

// put takes a completion after which goOn is called.
func (q *queue) put(e event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = append(q.events, e)
}

func (q *queue) kick() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) waiting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.events) > 0
}

func (q *queue) take(spare []event) []event {
	q.mu.Lock()
	defer q.mu.Unlock()
	got := q.events
	q.events, q.held = spare[:0], true
	return got
}

func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = false
}

func newOwner(s *Store) *Owner {
	return &Owner{store: s, replicas: map[uint64]*member{},
		condemned: map[*copyset.Replica]*member{},
		placing:   map[*copyset.Replica][]*placement{}, stopped: make(chan struct{}),
		queue: queue{wake: make(chan struct{}, 1)}}
}

// Submit hands a client's request to the copyset's owner; Run makes it take it. A false result
// means that the store is stopping: the caller answers.
func (o *Owner) Submit(copysetID uint64, q *copyset.Request) bool {
	q.Arrived = o.store.clock()
	return o.queue.offer(event{copyset: copysetID, req: q})
}

// Message hands over a raft message with its payload references, and the message itself; Run makes
// the owner take it.
func (o *Owner) Message(m *copyset.Message) {
	if !o.queue.offer(event{copyset: m.Copyset, msg: m}) {
		m.Free()
	}
}

// PeerRead hands over another replica's request for blocks.
func (o *Owner) PeerRead(copysetID uint64, p *copyset.PeerRead) {
	if !o.queue.offer(event{copyset: copysetID, peer: p}) {
		p.Done(wire.StatusUnavailable, nil, nil, nil)
	}
	o.queue.kick()
}

// post has the owner's goroutine run f, unless the owner has stopped, and does not wait.
func (o *Owner) post(f func()) {
	if o.queue.offer(event{do: f}) {
		o.queue.kick()
	}
}

// Run takes turns on the calling goroutine while something waits, unless somebody is at it, who
// then sees to it. After runTurns the owner's goroutine goes on. It must not be called from a turn.
func (o *Owner) Run() {
	for range runTurns {
		if !o.queue.waiting() || !o.mu.TryLock() {
			return
		}
		if o.ended { // what still comes is for finish
			o.mu.Unlock()
			return
		}
		o.turn(false)
		o.mu.Unlock()
	}
	if o.queue.waiting() {
		o.queue.kick()
	}
}

// goOn has the owners deal with completions: on the calling goroutine, which has brought them,
// unless it has something better to do. That spares waking another.
func (s *Store) goOn(busy bool) {
	for _, o := range s.owners {
		switch {
		case !o.queue.waiting():
		case busy || !s.running.Load():
			o.queue.kick()
		default:
			o.Run()
		}
	}
}

// Do runs f on the owner's goroutine and waits for it; false when the owner has stopped.
func (o *Owner) Do(f func()) bool {
	done := make(chan struct{})
	if !o.queue.offer(event{do: func() { f(); close(done) }}) {
		return false
	}
	o.queue.kick()
	select {
	case <-done:
		return true
	case <-o.stopped:
		return false
	}
}

// run is the owner's goroutine.
func (o *Owner) run(beats, stop <-chan struct{}) {
	defer close(o.stopped)
	for {
		select {
		case <-o.queue.wake:
			o.locked(func() { o.turn(false) })
		case <-beats:
			o.locked(func() { o.turn(true) })
		case <-stop:
			o.locked(o.shutdown)
			return
		}
	}
}

// quietTick takes the tick of an owner whose replicas all rest, if it is free: on the goroutine of
// the beat, so that none is woken. Should one of them turn out to have something to do, the owner's
// goroutine does it. False: that is to take the tick too.
func (o *Owner) quietTick() bool {
	if o.queue.waiting() || !o.mu.TryLock() {
		return false
	}
	defer o.free()
	if o.ended || len(o.awake) > 0 {
		return false
	}
	o.tick(o.store.clock())
	return true
}

// locked runs f as the owner, and then whatever came while somebody's Run found the lock taken.
func (o *Owner) locked(f func()) {
	o.mu.Lock()
	f()
	o.free()
}

// free ends what somebody did as the owner. What came meanwhile, and what was touched outside a
// turn, is for its goroutine.
func (o *Owner) free() {
	touched := len(o.touched) > 0
	o.mu.Unlock()
	if touched || o.queue.waiting() {
		o.queue.kick()
	}
}

// turn deals with everything that waits. The clock is read after the queue is taken: a lease
// checked with it was valid after every request in hand had arrived.
func (o *Owner) turn(tick bool) {
	events := o.queue.take(o.spare)
	now := o.store.clock()
	o.now = now
	o.marks.attach(mark.Attached())
	if tick {
		o.tick(now)
	}
	for i := range events {
		o.handle(&events[i], now)
	}
	clear(events)
	o.spare = events
	for len(o.touched) > 0 {
		o.settle(now)
	}
	o.store.host.FlushReplies(o)
	o.noteReplies(now)
	o.begin()
	o.queue.leave()
}

// noteReplies notes how long the turn took until its answers had left.
func (o *Owner) noteReplies(now int64) {
	if !o.marks.on && o.answered == [copyset.KindFence + 1]uint64{} {
		return
	}
	took := o.store.clock() - now
	if o.marks.on {
		o.sendMarks(took)
	}
	for _, k := range copyset.Kinds {
		if n := o.answered[k]; n > 0 {
			o.timing.Replied(k, n, took)
			o.answered[k] = 0
		}
	}
}

// tick lets time pass for those that are not Asleep, which are few in a quiet store. Whoever is
// woken is touched. All are looked at now and then, so that one whose waking nobody told of misses
// no more than that.
func (o *Owner) tick(now int64) {
	was := o.memory
	o.memory = memoryAt(o.store.poolShare(), was)
	if o.ticks++; o.ticks%lookTicks == 0 || o.memory != was {
		for _, m := range o.replicas {
			m.SetMemory(o.memory)
			o.watch(m)
		}
	}
	ticked, claims := o.awake[:0], o.claimsDue(now)
	for _, m := range o.awake {
		if m.awake = !m.condemned && !m.Asleep(); m.awake {
			ticked = append(ticked, m)
			if claims {
				o.claimRoom(m)
			}
			m.Tick(now)
			o.touch(m)
		}
	}
	clear(o.awake[len(ticked):])
	o.awake = ticked
	o.noteRest()
	o.lookOldest(now)
}

// memoryAt grades the share of the pool that is taken, in percent. On the way down a grade lasts
// a little longer than on the way up.
func memoryAt(share int64, was copyset.Memory) copyset.Memory {
	switch {
	case share >= pressureHigh, was == copyset.MemoryShort && share >= pressureLow:
		return copyset.MemoryShort
	case share >= gatherHigh, was != copyset.MemoryAmple && share >= gatherLow:
		return copyset.MemoryLess
	}
	return copyset.MemoryAmple
}

// stir has the next tick see whether a replica is awake, which something happened to.
func (o *Owner) stir(m *member) {
	if !m.awake {
		o.out.rest.Store(0)
	}
	o.watch(m)
}

// watch has the next tick see whether a replica is awake.
func (o *Owner) watch(m *member) {
	if !m.awake {
		m.awake = true
		o.awake = append(o.awake, m)
	}
}

func (o *Owner) touch(m *member) {
	o.stir(m)
	if !m.touched {
		m.touched = true
		o.touched = append(o.touched, m)
	}
}

// settle lets the touched replicas decide and does what they want. Doing so can touch others.
func (o *Owner) settle(now int64) {
	touched := o.touched
	o.touched = o.resting[:0]
	for _, m := range touched {
		m.touched = false
		if m.condemned {
			o.bury(m)
			continue
		}
		m.Ready(now, &o.fx)
		if err := m.Err(); err != nil {
			m.Stop(err, &o.fx)
			o.store.fail(err)
		}
		if l := m.Leader(); l != m.leader {
			m.leader = l
			o.store.noteLeaders()
		}
	}
	o.resting = touched
	o.execute()
}

func (o *Owner) handle(e *event, now int64) {
	if e.do != nil {
		e.do()
		o.execute()
		return
	}
	if e.placed != nil {
		o.placementDone(e.placed)
		return
	}
	m := o.memberOf(e)
	if m == nil {
		o.refuse(e)
		return
	}
	o.touch(m)
	o.noteBad(e)
	o.noteLoss(m, e)
	switch {
	case e.req != nil:
		o.submit(m, e.req, now)
	case e.msg != nil:
		if e.msg.To != m.Self() || o.store.logRefuses(e.msg) {
			e.msg.Free()
			return
		}
		if o.marks.on {
			o.markAck(m, e.msg)
		}
		m.Message(e.msg, now, &o.fx)
		e.msg.Free()
		if why := m.Lost(); why != nil {
			o.condemn(m, why)
		}
	case e.peer != nil:
		m.Fetch(e.peer, now, &o.fx)
	case e.appnd != nil:
		o.store.placed.logged(e.appnd)
		o.noteAppend(m, e.appnd)
		m.AppendDone(e.appnd, now, &o.fx)
	case e.read != nil:
		m.ReadDone(e.read, now, &o.fx)
	case e.repair != nil:
		m.RepairDone(e.repair, now, &o.fx)
	case e.flush != nil:
		m.FlushDone(e.flush, now, &o.fx)
	case e.snap != nil:
		m.SnapshotDone(e.snap, now, &o.fx)
	}
}

// replica is whose job an event brings back; nil for one that comes from outside.
func (e *event) replica() *copyset.Replica {
	switch {
	case e.appnd != nil:
		return e.appnd.Replica
	case e.read != nil:
		return e.read.Replica
	case e.repair != nil:
		return e.repair.Replica
	case e.flush != nil:
		return e.flush.Replica
	case e.snap != nil:
		return e.snap.Replica
	}
	return nil
}

// memberOf is whom an event concerns. A job goes back to the replica that began it, also when
// another has its place by now.
func (o *Owner) memberOf(e *event) *member {
	m := o.replicas[e.copyset]
	r := e.replica()
	if r == nil {
		return m
	}
	if m == nil || m.Replica != r {
		m = o.condemned[r]
	}
	if m != nil {
		m.busy--
	}
	return m
}

// noteBad counts the bad blocks that a read found. What an abandoned one found means nothing.
func (o *Owner) noteBad(e *event) {
	if e.read != nil && e.read.Err != nil && !e.read.Abandoned() {
		o.store.noteBad(e.read.Err, len(e.read.Bad))
	}
}

// noteLoss ends the replica when a job found that a chunk of it is gone.
func (o *Owner) noteLoss(m *member, e *event) {
	switch {
	case e.read != nil && lostChunk(e.read.Err, len(e.read.Bad)):
		o.condemn(m, fmt.Errorf("%w: %w", copyset.ErrDamaged, e.read.Err))
	case e.flush != nil && lostChunk(e.flush.Err, len(e.flush.Bad)):
		o.condemn(m, fmt.Errorf("%w: %w", copyset.ErrDamaged, e.flush.Err))
	case e.snap != nil && errors.Is(e.snap.Err, errHere) && lostChunk(e.snap.Err, 0):
		o.condemn(m, fmt.Errorf("%w: %w", copyset.ErrDamaged, e.snap.Err))
	}
}

// started counts a job of a replica in.
func (o *Owner) started(r *copyset.Replica) {
	if m := o.replicas[r.ID()]; m != nil && m.Replica == r {
		m.busy++
	} else if m := o.condemned[r]; m != nil {
		m.busy++
	}
}

// submit admits a client's request or refuses it.
func (o *Owner) submit(m *member, q *copyset.Request, now int64) {
	status := wire.StatusOK
	switch {
	case o.inflight >= o.store.cfg.InflightBytes:
		status = wire.StatusOverloaded
	case q.Kind == copyset.KindRead || !m.Serving(): // who leads may have room
	case q.Kind == copyset.KindWrite && !o.hasRoom(m, q.Chunk):
		status = wire.StatusNoSpace
		o.giveForRoom(m, now)
	case o.store.logSpent(o.inflight, requestCost+int64(q.Length)):
		status = wire.StatusOverloaded
		if o.store.wal.Full() {
			o.giveForRoom(m, now)
		}
	case o.store.poolShare() >= refuseShare:
		status = wire.StatusOverloaded
	}
	o.inflight += requestCost + int64(q.Length)
	if status != wire.StatusOK {
		m.Refuse(q, status, &o.fx)
		return
	}
	o.store.clientOps.Add(1)
	m.Submit(q, now, &o.fx)
}

// refuse answers what is meant for a copyset that has no replica here.
func (o *Owner) refuse(e *event) {
	switch {
	case e.req != nil:
		o.inflight += requestCost + int64(e.req.Length)
		e.req.Payload.Release()
		o.reply(&copyset.Reply{Request: e.req, Status: o.store.missing(e.copyset)})
	case e.msg != nil:
		e.msg.Free()
	case e.peer != nil:
		e.peer.Done(wire.StatusWrongCopyset, nil, nil, nil)
	}
}

func (o *Owner) reply(rep *copyset.Reply) {
	o.inflight -= requestCost + int64(rep.Request.Length)
	if rep.Status == wire.StatusOK {
		o.answered[rep.Request.Kind]++
	}
	if o.marks.on {
		o.markOp(rep)
	}
	o.store.host.Reply(o, rep)
}

// execute does what the replicas decided, messages first: the followers' log writes and this
// store's own take place at the same time.
func (o *Owner) execute() {
	fx, s := &o.fx, o.store
	for i := range fx.Messages {
		o.send(fx.Messages[i])
	}
	if len(fx.Messages) > 0 {
		s.host.FlushMessages(o)
	}
	if len(fx.Appends) > 0 {
		s.clientOps.Add(1)
	}
	for _, a := range fx.Appends {
		if a.Done == nil { // appends come back: one callback lasts
			a.Done = func(*wal.Append) {
				o.queue.put(event{copyset: a.Replica.ID(), appnd: a})
			}
		}
		o.started(a.Replica)
		a.Queued = o.now
		o.toLog(a)
	}
	for i := range fx.Replies {
		o.reply(&fx.Replies[i])
	}
	for _, job := range fx.Reads {
		o.started(job.Replica)
		o.startRead(job)
	}
	for _, job := range fx.Repairs {
		o.started(job.Replica)
		s.background(func() { o.repair(job) })
	}
	for _, job := range fx.Flushes {
		o.started(job.Replica)
		s.background(func() { o.flush(job) })
	}
	for _, job := range fx.Snapshots {
		o.started(job.Replica)
		s.background(func() { o.fetch(job) })
	}
	o.reads += len(fx.Reads)
	fx.Reset()
}

// begin has the disk do what the turn asked of it, once the answers have left.
func (o *Owner) begin() {
	reads, appended := o.reads, o.appended
	o.reads, o.appended = 0, false
	switch {
	case reads == 1 && !appended:
		o.store.disk.FlushHere()
	case reads > 0:
		o.store.disk.Flush()
	}
	if appended {
		o.store.wal.Write()
	}
}

func (o *Owner) send(m copyset.Message) {
	member := o.replicas[m.Copyset]
	if member == nil {
		m.Release()
		return
	}
	to := member.Peer(m.To)
	if to == nil {
		m.Release()
		return
	}
	o.store.host.Send(o, o.store, *to, m)
}

// shutdown refuses what is left in the queue and everything the replicas hold.
func (o *Owner) shutdown() {
	o.queue.mu.Lock()
	o.queue.closed = true
	o.queue.mu.Unlock()
	o.drain()
	for _, m := range o.replicas {
		m.Stop(errStopping, &o.fx)
	}
	o.execute()
	o.store.host.FlushReplies(o)
	o.begin()
	o.ended = true
}

// drain deals with what waits without letting the replicas decide anything more.
func (o *Owner) drain() {
	events := o.queue.take(nil)
	for i := range events {
		o.handle(&events[i], o.store.clock())
	}
	o.execute()
	o.begin()
	o.queue.leave()
}

// finish takes the completions that came after shutdown and gives all memory back. Nothing of the
// store is in flight any more.
func (o *Owner) finish() {
	o.mu.Lock() // an event loop may be about to find out that the owner has ended
	defer o.mu.Unlock()
	o.drain()
	for _, m := range o.replicas {
		m.Free()
	}
	for _, m := range o.condemned {
		m.Free()
	}
}
