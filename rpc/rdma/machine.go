package rdma

import (
	"fmt"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// machine is the protocol of one connection: what to ask of the card, what a message or a
// completion means, when memory is free. It has no goroutine, lock, clock or queue pair; its shell
// posts what pump returns, in that order, and tells what came of it.
//
// The requests under way stand in a ring in the order of posting, which is the order of their
// completion, so that the completion of one ends all before it.
type machine struct {
	cfg machineConfig

	// What the peer has receives for, and what of this side's it does not know of yet.
	credits, owed int
	// have is the peer's messages that it has not been given a credit for again.
	have int

	ring       []posted
	head, tail uint64 // of ring: requests under way are head..tail-1
	quiet      int    // requests since the last signalled one
	posts      []verbs.Send
	freeSlots  []int32
	slotPiece  [][1]verbs.Piece // of each slot's message

	queue   fifo[*outFrame] // frames to be sent; the first may have begun
	unacked fifo[*outFrame] // sent, to be read by the peer, in order
	closing fifo[*outFrame] // their windows are to be invalidated
	rooms   map[uint64]*outFrame
	keys    map[uint32]*outFrame // by the key that the peer's answer may invalidate
	windows []verbs.Window       // bound to nothing
	made    int                  // windows there are
	acked   uint32               // frames read by the peer
	live    *outFrame            // all frames not done with
	bound   int
	stalled bool  // the first frame of queue waits
	err     error // the peer broke the protocol; set by deliver

	in      fifo[*inFrame] // frames of the peer in their order
	reading fifo[*inFrame] // those whose reads are to be posted
	partial *inFrame       // its head is not complete
	taken   uint32         // frames of the peer dealt with
	told    uint32         // what the peer knows of that
	urgent  bool           // it waits to be told
	open    map[uint64]asked
	rooming int // of open: with room

	// What the shell takes: frames in order of delivery, frames and rooms done with, receives to
	// post again.
	ready  []*inFrame
	freed  []*outFrame
	unused []*buf.Buf // rooms that were not opened
	repost []uint64

	spareOut []*outFrame
	spareIn  []*inFrame
}

// machineConfig is what a machine is told about the world.
type machineConfig struct {
	own, peer int // credits: receives of this side, and of the peer
	slots     []byte
	key       uint32 // of the pool's region
	windows   int
	sges      int
	trusted   bool // the peer has greeted: windows are opened and its memory is read
	newWindow func() (verbs.Window, error)
	get       func(n int) (*buf.Buf, error)
	count     *counters
}

// posted is a request under way.
type posted struct {
	then then
	slot int32 // of the message, or -1
	out  *outFrame
	in   *inFrame
}

// then is what the end of a request means.
type then uint8

const (
	thenNothing then = iota
	thenFree         // the frame's payload has left
	thenShut         // the frame's windows are invalid
	thenRead         // the frame's payload is here
	thenBye          // the last message has left
)

func newMachine(cfg machineConfig) *machine {
	m := &machine{cfg: cfg, credits: cfg.peer, ring: make([]posted, sendDepth),
		rooms: map[uint64]*outFrame{}, keys: map[uint32]*outFrame{}, open: map[uint64]asked{}}
	m.slotPiece = make([][1]verbs.Piece, len(cfg.slots)/SlotSize)
	for i := len(cfg.slots)/SlotSize - 1; i >= 0; i-- {
		m.freeSlots = append(m.freeSlots, int32(i))
	}
	return m
}

// space is the requests that may be posted; one place is kept for the marker that ends a
// connection.
func (m *machine) space() int { return len(m.ring) - int(m.tail-m.head) - 1 }

// idle reports whether nothing is under way at the card.
func (m *machine) idle() bool { return m.head == m.tail }

// owedByCard reports whether the card owes a completion: it was asked for one and has not given it.
func (m *machine) owedByCard() bool { return m.tail-m.head > uint64(m.quiet) }

// ask posts a message for the sake of its completion, if requests are under way and none of them
// asks for one: whether the card still works is not to be seen otherwise.
func (m *machine) ask() []verbs.Send {
	m.posts = m.posts[:0]
	if !m.idle() && !m.owedByCard() && m.mayMessage(1) {
		m.cfg.count.dones.Add(1)
		m.message(&slot{kind: kindDone}, 0, posted{})
		m.posts[0].Signalled, m.quiet = true, 0
	}
	return m.posts
}

// post adds a request to the batch.
func (m *machine) post(s verbs.Send, p posted) {
	s.ID = m.tail
	m.ring[m.tail%uint64(len(m.ring))] = p
	m.tail++
	m.quiet++
	// A completion costs the card and this side something: one is asked for where somebody waits
	// for it, and often enough that slots and places come back.
	if p.then != thenNothing || m.quiet >= min(len(m.slotPiece), len(m.ring))/4 {
		s.Signalled = true
		m.quiet = 0
	}
	m.posts = append(m.posts, s)
}

// pump returns what is to be posted now. It is valid until the next call.
func (m *machine) pump() []verbs.Send {
	clear(m.posts)
	m.posts = m.posts[:0]
	m.pumpShut()
	m.pumpReads()
	m.pumpFrames()
	m.pumpDone()
	return m.posts
}

// marker is a request that means nothing: its completion comes after all others.
func (m *machine) marker() []verbs.Send {
	m.posts = m.posts[:0]
	m.post(verbs.Send{Op: verbs.OpSend, Signalled: true}, posted{slot: -1})
	m.posts[0].Signalled = true
	return m.posts
}

// completed ends the requests up to the one of id. failed: the queue pair is broken, and nothing
// but their end is known of them.
func (m *machine) completed(id uint64, failed bool) (bye bool) {
	for ; m.head <= id && m.head < m.tail; m.head++ {
		p := &m.ring[m.head%uint64(len(m.ring))]
		if p.slot >= 0 {
			m.freeSlots = append(m.freeSlots, p.slot)
		}
		if !failed {
			switch p.then {
			case thenFree:
				m.release(p.out)
			case thenShut:
				m.windowsBack(p.out)
				m.release(p.out)
			case thenRead:
				p.in.done = true
				m.deliver()
			case thenBye:
				bye = true
			}
		}
		*p = posted{}
	}
	return bye
}

// slotMem is the memory of a message to be sent.
func (m *machine) slotMem(i int32) []byte {
	return m.cfg.slots[int(i)*SlotSize : (int(i)+1)*SlotSize]
}

// message posts one message.
func (m *machine) message(s *slot, inv uint32, p posted) {
	p.slot = m.freeSlots[len(m.freeSlots)-1]
	m.freeSlots = m.freeSlots[:len(m.freeSlots)-1]
	m.credits--
	s.credits, s.taken = uint16(m.owed), m.taken
	m.have -= m.owed
	m.owed = 0
	m.told, m.urgent = m.taken, false
	mem := m.slotMem(p.slot)
	n := putSlot(mem, s)
	m.slotPiece[p.slot][0] = verbs.Piece{Mem: mem[:n], Key: m.cfg.key}
	out := verbs.Send{Op: verbs.OpSend, Pieces: m.slotPiece[p.slot][:]}
	if inv != 0 {
		out.Op, out.Remote.Key = verbs.OpSendInv, inv
	}
	m.post(out, p)
}

// mayMessage reports whether a message may go, when spare credits must be left.
func (m *machine) mayMessage(spare int) bool {
	return m.credits > spare && len(m.freeSlots) > 0 && m.space() > 0
}

// pumpDone tells what the peer waits for and no frame has carried.
func (m *machine) pumpDone() {
	untold := m.taken - m.told
	if untold > 0 && m.urgent || untold >= ackAfter || m.owed >= (m.cfg.own+1)/2 {
		// The last credit is for this: without it both sides could wait for each other's.
		if m.mayMessage(0) {
			m.cfg.count.dones.Add(1)
			m.message(&slot{kind: kindDone}, 0, posted{})
		}
	}
}

// special sends a proof or the bye, for which a credit is left whatever was sent before. False: not
// now.
func (m *machine) special(k kind, body []byte) bool {
	m.posts = m.posts[:0]
	if !m.mayMessage(0) {
		return false
	}
	p := posted{}
	if k == kindBye {
		p.then = thenBye
	}
	m.message(&slot{kind: k, body: body}, 0, p)
	return true
}

// arrived takes a message of the peer: the receive of id got n bytes at mem, and invalidated the
// window of key. After an error the connection must end.
func (m *machine) arrived(id uint64, mem []byte, invalidated uint32) error {
	if m.have++; m.have > m.cfg.own {
		m.giveBack(id)
		return fmt.Errorf("%w: peer sent more than its %d credits allow", ErrFormat, m.cfg.own)
	}
	s, err := parseSlot(mem)
	if err == nil {
		err = m.account(&s, invalidated)
	}
	if err != nil {
		m.giveBack(id)
		return err
	}
	switch s.kind {
	case kindHead, kindMore:
		return m.headArrived(id, &s)
	case kindDone:
		m.giveBack(id)
	default:
		f := m.newIn()
		f.kind, f.done, f.slot, f.meta = s.kind, true, id, s.body
		m.in.push(f)
		m.deliver()
	}
	return nil
}

// account takes what every message carries.
func (m *machine) account(s *slot, invalidated uint32) error {
	if m.credits += int(s.credits); m.credits > m.cfg.peer {
		return fmt.Errorf("%w: peer gives %d credits of %d", ErrFormat, m.credits, m.cfg.peer)
	}
	if invalidated != 0 {
		if err := m.invalidated(invalidated); err != nil {
			return err
		}
	}
	n := s.taken - m.acked
	if n > uint32(m.unacked.len()) {
		return fmt.Errorf("%w: peer took %d payloads of %d", ErrFormat, n, m.unacked.len())
	}
	for ; n > 0; n-- {
		m.acked++
		m.readByPeer(m.unacked.pop())
	}
	return nil
}

// giveBack frees the memory of a receive: it is posted again, and the peer told.
func (m *machine) giveBack(id uint64) {
	m.repost = append(m.repost, id)
	m.owed++
}

// asked is what is remembered of a request until it is answered.
type asked struct {
	room desc
	// key is a window of the request that its answer may invalidate, if that is what tells that
	// frame number index was taken.
	key, index uint32
}

// remember notes a request for its answer.
func (m *machine) remember(f *inFrame) error {
	if f.h.Response() || f.h.Op.OneWay() {
		return nil
	}
	if f.room.size > 0 {
		if _, twice := m.open[f.h.ID]; twice && m.open[f.h.ID].room.size > 0 {
			return fmt.Errorf("%w: two open requests with room and id %d", ErrFormat, f.h.ID)
		}
		if m.rooming >= MaxRooms {
			return fmt.Errorf("%w: more than %d open requests with room", ErrFormat, MaxRooms)
		}
		m.rooming++
	} else if len(f.pieces) == 0 || len(m.open) >= 2*MaxRooms || m.open[f.h.ID].room.size > 0 {
		return nil
	}
	a := asked{room: f.room}
	if len(f.pieces) > 0 {
		a.key, a.index = f.pieces[0].key, m.taken-1
	}
	m.open[f.h.ID] = a
	return nil
}

// fits reports whether an answer with so much payload finds the room that its request opened.
func (m *machine) fits(h wire.Header, n int) bool {
	room := m.open[h.ID].room.size
	return !h.Response() || room == 0 || n <= int(room)
}

// answered forgets a request whose answer begins.
func (m *machine) answered(h wire.Header) asked {
	a, ok := m.open[h.ID]
	if !h.Response() || !ok {
		return asked{}
	}
	delete(m.open, h.ID)
	if a.room.size > 0 {
		m.rooming--
	}
	return a
}
