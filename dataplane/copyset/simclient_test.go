package copyset

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// simOp is one operation of a client. A sector is the unit of the history: every write stamps
// each with its value and the sector's number, so that old, foreign and mixed bytes show.
type simOp struct {
	kind       Kind
	chunk      Chunk
	first, n   uint32 // sectors
	client     *simClient
	id, epoch  uint64
	value      uint64 // of a write
	begin, end int64  // end is MaxInt64 while unknown
	read       []uint64
	tries      int
	answered   bool
}

func (op *simOp) String() string {
	end := "?"
	if op.end != math.MaxInt64 {
		end = time.Duration(op.end).String()
	}
	return fmt.Sprintf("%v %v sectors %d+%d value %d by session %d op %d epoch %d, %v..%s, "+
		"%d tries",
		[...]string{"", "read", "write", "zero", "fence"}[op.kind], op.chunk, op.first, op.n,
		op.value, op.client.session, op.id, op.epoch, time.Duration(op.begin), end, op.tries)
}

// simClient is one session. It keeps several operations in flight and sends each again, under the
// same id, until it is answered.
type simClient struct {
	s       *sim
	volume  int
	session uint64
	epoch   uint64
	nextID  uint64
	leader  int
	open    []*simOp
	dead    bool
}

func newSimClient(s *sim, volume int) *simClient {
	s.session++
	c := &simClient{s: s, volume: volume, session: s.session, epoch: s.epochs[volume], nextID: 1}
	s.try(&simOp{client: c, kind: KindFence, begin: s.now, end: math.MaxInt64, epoch: c.epoch,
		chunk: Chunk{Volume: uint64(volume + 1)}}, c.leader)
	return c
}

// fenced begins the client's work, when no older session can write any more.
func (c *simClient) fenced() {
	c.s.acknowledged(c.volume, c.epoch)
	for range c.s.cfg.inflight {
		c.s.after(c.s.around(5*time.Millisecond), c.next)
	}
}

// takeover attaches a volume anew: new sessions of a newer epoch take the place of its clients. Of
// those some die with all they have under way, and some do not know yet and go on.
func (s *sim) takeover(volume int) {
	s.mark("takeover")
	s.epochs[volume]++
	for i, c := range s.clients {
		if c.volume != volume {
			continue
		}
		if s.chance(0.5) {
			c.dead, c.open = true, nil
		}
		s.clients[i] = newSimClient(s, volume)
	}
}

// acknowledged notes when a session of an epoch first had the volume for itself for certain.
func (s *sim) acknowledged(volume int, epoch uint64) {
	if f := s.fences[volume]; f[epoch] == 0 {
		f[epoch] = s.now
	}
}

// next begins one operation, when the client may.
func (c *simClient) next() {
	s := c.s
	if c.dead || s.drained {
		return
	}
	if s.now < s.lullUntil {
		s.after(time.Duration(s.lullUntil-s.now)+s.around(5*time.Millisecond), c.next)
		return
	}
	op := &simOp{client: c, kind: KindWrite, end: math.MaxInt64, epoch: c.epoch,
		chunk: Chunk{Volume: uint64(c.volume + 1), Index: uint64(s.rng.IntN(simChunks - 1))}}
	if s.chance(0.01) {
		op.chunk.Index = simChunks - 1
	}
	switch {
	case s.chance(s.cfg.readShare):
		op.kind = KindRead
	case s.chance(0.15):
		op.kind = KindZero
	}
	const per = BlockSize / sectorSize
	op.n = uint32(1+s.rng.IntN(4)) * per
	op.first = uint32(s.rng.IntN(simChunkBlocks-4)) * per
	if s.chance(s.cfg.partial) {
		op.n = uint32(1 + s.rng.IntN(2*per))
		op.first = uint32(s.rng.IntN(simSectors - 2*per))
	}
	if s.chance(0.5) && op.chunk.Index != simChunks-1 { // a few blocks that many want
		op.chunk.Index, op.first = 0, op.first%(2*per)
		if op.first+op.n > simSectors {
			op.n = simSectors - op.first
		}
	}
	if op.kind == KindZero && s.chance(0.2) {
		op.first, op.n = 0, simSectors
	}
	c.begin(op)
}

func (c *simClient) begin(op *simOp) {
	s := c.s
	op.id, op.begin = c.nextID, s.now
	c.nextID++
	if op.kind == KindWrite {
		s.values++
		op.value = s.values
	}
	c.open = append(c.open, op)
	s.ops = append(s.ops, op)
	s.try(op, c.leader)
}

// readAll reads the volume back.
func (c *simClient) readAll() {
	const step = 4 * BlockSize / sectorSize
	for index := range uint64(simChunks) {
		for first := uint32(0); first < simSectors; first += step {
			c.begin(&simOp{client: c, kind: KindRead, end: math.MaxInt64, epoch: c.epoch,
				chunk: Chunk{Volume: uint64(c.volume + 1), Index: index}, first: first, n: step})
		}
	}
}

func (c *simClient) lowWater() uint64 {
	low := c.nextID
	for _, op := range c.open {
		low = min(low, op.id)
	}
	return low
}

// try sends an operation to a replica, and to another when no answer comes.
func (s *sim) try(op *simOp, node int) {
	if op.answered || op.client.dead {
		return
	}
	op.tries++
	try := op.tries
	n := s.nodes[node%len(s.nodes)]
	low := op.client.lowWater()
	if !s.chance(s.cfg.drop) {
		s.after(s.delay(), func() { s.submit(n, op, try, low) })
	}
	s.after(300*time.Millisecond, func() {
		if try == op.tries {
			s.try(op, s.anyNode().i)
		}
	})
}

type simTag struct {
	op  *simOp
	try int
}

func (s *sim) submit(n *simNode, op *simOp, try int, low uint64) {
	if !n.up {
		return
	}
	q := &Request{Kind: op.kind, Chunk: op.chunk, Offset: op.first * sectorSize,
		Length: op.n * sectorSize, Session: op.client.session, Epoch: op.epoch, OpID: op.id,
		LowWater: low, Tag: simTag{op, try}}
	if op.kind == KindWrite {
		b := n.buffer(stamps(op))
		if b == nil {
			return
		}
		q.Payload = NewPayload(b)
		q.CRCs = wire.ChecksumPieces(nil, q.Offset, q.Payload.B)
	}
	n.post(func(now int64) { n.r.Submit(q, now, &n.fx) })
}

func stamps(op *simOp) []byte {
	p := make([]byte, 0, op.n*sectorSize)
	for i := range op.n {
		for range sectorSize / 8 {
			p = binary.LittleEndian.AppendUint64(p, op.value<<16|uint64(op.first+i))
		}
	}
	return p
}

// unstamp gives the value of each sector; 0 for zeroes. It fails on bytes no write can have left.
func unstamp(first uint32, p []byte) ([]uint64, error) {
	var values []uint64
	for i := 0; i < len(p); i += sectorSize {
		w := binary.LittleEndian.Uint64(p[i:])
		for k := 8; k < sectorSize; k += 8 {
			if v := binary.LittleEndian.Uint64(p[i+k:]); v != w {
				return nil, fmt.Errorf("sector %d mixes %x and %x", int(first)+i/sectorSize, w, v)
			}
		}
		if w != 0 && uint32(w&0xffff) != first+uint32(i/sectorSize) {
			return nil, fmt.Errorf("sector %d has the bytes of sector %d", int(first)+i/sectorSize,
				w&0xffff)
		}
		values = append(values, w>>16)
	}
	return values, nil
}

// reply takes an answer off a replica and carries it to the client.
func (s *sim) reply(n *simNode, rep *Reply) {
	tag, q := rep.Request.Tag.(simTag), rep.Request
	var body []byte
	for _, p := range rep.Body {
		body = append(body, p...)
	}
	if rep.Status == wire.StatusOK && q.Kind == KindRead {
		if err := wire.VerifyPieces(rep.CRCs, q.Offset, body); err != nil {
			s.fail("replica %d answers %v: %v", n.id, tag.op, err)
		}
		if len(body) != int(q.Length) {
			s.fail("replica %d answers %v with %d bytes", n.id, tag.op, len(body))
		}
	}
	rep.Free()
	leader, status := -1, rep.Status
	if rep.Leader != nil {
		leader = int(rep.Leader.ReplicaID) - 1
	}
	s.note(n.id, tag.op.id, uint64(rep.Status))
	if !s.chance(s.cfg.drop) {
		s.after(s.delay(), func() { tag.op.answer(s, tag.try, status, leader, body) })
	}
}

func (op *simOp) answer(s *sim, try int, status wire.Status, leader int, body []byte) {
	c := op.client
	if op.answered || c.dead {
		return
	}
	switch status {
	case wire.StatusOK:
		op.finish(s, body)
	case wire.StatusStaleEpoch:
		if s.epochs[c.volume] == op.epoch {
			s.fail("%v answered %v", op, status)
		}
		s.mark("fenced")
		c.dead = true
	case wire.StatusNotLeader, wire.StatusRetry, wire.StatusOverloaded, wire.StatusUnavailable,
		wire.StatusCorrupt:
		s.mark("answered " + status.String())
		if try != op.tries {
			return
		}
		if leader < 0 {
			leader = s.anyNode().i
		}
		c.leader = leader
		s.after(2*time.Millisecond+s.around(3*time.Millisecond), func() {
			if try == op.tries {
				s.try(op, leader)
			}
		})
	default:
		s.fail("%v answered %v", op, status)
	}
}

func (op *simOp) finish(s *sim, body []byte) {
	c := op.client
	op.answered, op.end = true, s.now
	if op.kind == KindFence {
		c.fenced()
		return
	}
	if op.kind == KindRead {
		var err error
		if op.read, err = unstamp(op.first, body); err != nil {
			s.fail("%v: %v", op, err)
		}
	} else {
		s.checkFence(op)
		s.acknowledged(c.volume, op.epoch)
	}
	for i, o := range c.open {
		if o == op {
			c.open = append(c.open[:i], c.open[i+1:]...)
			break
		}
	}
	s.mark("answered")
	s.after(s.around(4*time.Millisecond), c.next)
}
