package copyset

import (
	"sync"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/dataplane/lane"
	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Effects is what a replica wants done. The owner does it in any order, but each list in its own
// order, and reports completions back through the method each type names. Slices are reused: the
// owner empties them with Reset when it has taken everything.
type Effects struct {
	Messages  []Message
	Appends   []*Append // -> AppendDone
	Replies   []Reply
	Reads     []*ReadJob     // -> ReadDone
	Repairs   []*RepairJob   // -> RepairDone
	Flushes   []*FlushJob    // -> FlushDone
	Snapshots []*SnapshotJob // -> SnapshotDone
}

// Reset empties the lists and keeps their memory.
func (fx *Effects) Reset() {
	clear(fx.Messages)
	clear(fx.Replies)
	fx.Messages, fx.Appends, fx.Replies = fx.Messages[:0], fx.Appends[:0], fx.Replies[:0]
	fx.Reads, fx.Repairs = fx.Reads[:0], fx.Repairs[:0]
	fx.Flushes, fx.Snapshots = fx.Flushes[:0], fx.Snapshots[:0]
}

// Kind is what a client asks for.
type Kind uint8

// The operations of a client.
const (
	KindRead Kind = iota + 1
	KindWrite
	KindZero
	// KindFence ends the right to write of every session of the chunk's volume whose epoch is below
	// the request's. Only Chunk.Volume, Session and Epoch count.
	KindFence
)

// Request is a client's operation on part of one chunk. The owner checks the payload's checksums
// before it submits a request, which it hands over until the Reply names it again.
type Request struct {
	Kind           Kind
	Chunk          Chunk
	Offset, Length uint32 // bytes inside the chunk, any alignment
	Session, Epoch uint64 // of the client's attachment; a write's session is not 0
	OpID, LowWater uint64
	CRCs           []uint32 // write: one per touched block, over the bytes inside it
	Payload        Payload  // write: the bytes, Length of them; the reference is handed over
	Tag            any      // the owner's
	ID             uint64   // the owner's
	Arrived        int64    // ns, on the owner's clock; 0: when it is submitted

	lane     lane.Op
	cmd      []byte
	entry    Payload
	at       progress
	near     neighbours
	term     uint64 // in which it was proposed
	index    uint64 // of its entry
	copyset  uint64 // where it was submitted
	inLane   bool
	byLease  bool
	repaired bool
}

// Reply answers a request.
type Reply struct {
	Request *Request
	Status  wire.Status
	Body    [][]byte // read: the bytes, in order
	CRCs    []uint32 // read: one per touched block
	Release func()   // lets Body and CRCs go, once, after the bytes are sent; nil: nothing to do
	Leader  *Peer    // not leader: who leads, if known
	RetryMS uint32
	Message string
}

// Free is for who does not send the reply.
func (rep *Reply) Free() {
	if rep.Release != nil {
		rep.Release()
	}
}

// Message is a raft message between two replicas of the copyset, with the payloads of its entries
// by reference: Payloads[i] belongs to Entries[i], and whoever takes the message releases them.
type Message struct {
	Copyset uint64
	raftpb.Message
	Stamp    int64 // the leader's clock, or its echo
	Payloads []Payload
}

var messages = sync.Pool{New: func() any { return new(Message) }}

// NewMessage is a message to decode into; Free takes it back.
func NewMessage() *Message { return messages.Get().(*Message) }

// Free releases the message and keeps its memory for another. Nobody may have it any more.
func (m *Message) Free() {
	m.Release()
	*m = Message{Payloads: m.Payloads}
	messages.Put(m)
}

// Release gives back the payload references. Their memory stays, for Free.
func (m *Message) Release() {
	for i := range m.Payloads {
		m.Payloads[i].Release()
	}
	m.Payloads = m.Payloads[:0]
}

// Append is records for the store's log; raft goes on when they are durable.
type Append struct {
	wal.Append
	Replica    *Replica
	held       []Payload // of Records, kept until they are written
	responses  []raftpb.Message
	first      uint64 // index of the first entry; 0: none
	count      int
	firstAt    int // where they stand in Records
	done       bool
	state      Payload // the encoded state of a checkpoint or snapshot, if any
	stateIndex uint64
	placed     int // bytes of payload that stand in slot files
	// Queued is the owner's: when it gave the append to the log.
	Queued int64
}

// Entries is what part of the copyset's log the append has: count entries from first on, with so
// many bytes of payload; none where count is 0.
func (a *Append) Entries() (term, first uint64, count, bytes int) {
	for _, r := range a.Records[a.firstAt : a.firstAt+a.count] {
		term, bytes = r.Term, bytes+len(r.Payload)
	}
	return term, a.first, a.count, bytes + a.placed
}

// ReadPart is adjacent blocks to read: from the chunk file, which also has their checksums, or one
// block from the log at At, whose checksum CRCs[0] must be met.
type ReadPart struct {
	First, Count uint32
	At           wal.LSN
	Dst          []byte
	CRCs         []uint32
	Written      uint32 // out: blocks with data, that were held against their checksums
}

// ReadJob is the reads that one request needs. The owner reads every part into its Dst, verifies
// each block's checksum and fills the part's CRCs.
type ReadJob struct {
	Replica      *Replica
	Chunk        Chunk
	First, Count uint32
	Parts        []ReadPart
	CRCs         []uint32
	Err          error
	Bad          []uint32 // blocks whose bytes do not fit their checksum, or could not be read
	// User is the owner's, and comes back with a job that is used again.
	User any

	req    *Request  // nil: it is no client's
	term   uint64    // in which the blocks were asked for
	buf    Payload   // Count blocks; those from the overlay are not filled
	blocks []Payload // the overlay's blocks, held; B nil where buf has the bytes
	fetch  *PeerRead
	op     lane.Op // of a fetch, or of a read whose request was answered without it

	seq       uint64
	abandoned bool

	body [][]byte // of the answer
	hold []Payload
	free func()
}

// For is the client's request that the job is for, by session and number; 0: none.
func (job *ReadJob) For() (session, id uint64) {
	if job.req == nil {
		return 0, 0
	}
	return job.req.Session, job.req.Number()
}

// RepairJob asks the other replicas for blocks that are bad here. Any that has applied the log up
// to Applied has bytes that are good here too.
type RepairJob struct {
	Replica *Replica
	Chunk   Chunk
	Blocks  []uint32
	Applied uint64
	Good    map[uint32]Payload // out: block -> bytes, handed over; an empty one reads as zero
	CRCs    map[uint32]uint32

	read     *ReadJob
	outdated map[uint32]bool // written since: what others have may be older
}

// FlushJob writes committed blocks of one chunk to its file, without making them durable; or
// drops all chunks of a volume.
type FlushJob struct {
	Replica      *Replica
	Chunk        Chunk
	ZeroChunk    bool // first drop the chunk: all of it reads as zero
	Runs         []*FlushRun
	DeleteVolume uint64 // not 0: drop the volume's chunks instead
	Err          error
	Bad          []uint32 // blocks that only the log has, and there they are bad

	zeroed uint64
	parts  []*lane.Op // its places in the lanes, free all at once before it begins
	begun  bool
}

// SnapshotJob brings this replica's chunk files to the leader's state.
type SnapshotJob struct {
	Replica *Replica
	Leader  Peer
	Index   uint64
	Err     error
	// Urgent: the last fetch failed, or was too slow: the leader's log had gone on beyond its end
	// by then, as it will again unless this one is quicker.
	Urgent bool

	message raftpb.Message
	offered int64 // by the clock
	started bool
	base    uint64 // applied index of the last recorded state
	ended   chan struct{}
}

// Ended is closed when the replica stops: what is fetched for it from then on is for nobody, and
// one that is to begin in its place waits for the end of the job.
func (job *SnapshotJob) Ended() <-chan struct{} { return job.ended }

func (job *SnapshotJob) end() {
	select {
	case <-job.ended: // stopped before
	default:
		close(job.ended)
	}
}

// HasData reports whether the job has bytes to write.
func (job *FlushJob) HasData() bool {
	for _, r := range job.Runs {
		if !r.Zero {
			return true
		}
	}
	return false
}
