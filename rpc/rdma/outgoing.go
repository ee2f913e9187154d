package rdma

import (
	"fmt"
	"unsafe"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// outFrame is a frame on its way out, until the peer is done with all memory that it names.
//
// It is released when holds is 0: when its head has left, its payload was read by the peer and no
// window lies over it any more, or was placed, and the room for its answer is closed.
type outFrame struct {
	h      wire.Header
	head   []byte // header and metadata
	sent   int    // of head
	begun  bool
	ended  bool // released, or given up
	holds  int
	bytes  int64 // of head and payload
	pieces []verbs.Piece
	size   int // of the payload

	payload *buf.Buf // owned
	copied  *buf.Buf // owned
	release func()

	room      *buf.Buf // opened for the answer; nil once it became the answer's payload
	roomWin   openWindow
	roomPiece [1]verbs.Piece
	wins      []openWindow
	descs     []byte
	answers   asked // the request that this frame answers
	placed    bool
	tell      bool // windows run short: the peer is to say at once that it has read this

	next, prev *outFrame // of those not released
}

// openWindow is a window and its key while it is bound.
type openWindow struct {
	w   verbs.Window
	key uint32
}

func (m *machine) newOut() *outFrame {
	var f *outFrame
	if n := len(m.spareOut); n > 0 {
		f = m.spareOut[n-1]
		m.spareOut = m.spareOut[:n-1]
	} else {
		f = new(outFrame)
	}
	f.next = m.live
	if m.live != nil {
		m.live.prev = f
	}
	m.live = f
	return f
}

// recycle takes back a frame from freed, after the shell has let its memory go.
func (m *machine) recycle(f *outFrame) {
	head, pieces, wins, descs := f.head[:0], f.pieces[:0], f.wins[:0], f.descs[:0]
	if cap(head) > keepScratch {
		head = nil
	}
	clear(f.pieces)
	clear(f.wins)
	*f = outFrame{head: head, pieces: pieces, wins: wins, descs: descs}
	m.spareOut = append(m.spareOut, f)
}

// push queues a frame whose fields are set.
func (m *machine) push(f *outFrame) {
	f.holds = 1
	m.queue.push(f)
}

// pumpFrames sends frames in order as far as credits, slots, windows and the card's queue allow.
func (m *machine) pumpFrames() {
	for m.queue.len() > 0 {
		f := m.queue.front()
		for f.sent < len(f.head) {
			if !m.mayMessage(1) || !f.begun && !m.begin(f) {
				if !m.stalled {
					m.stalled = true
					m.cfg.count.stalls.Add(1)
				}
				return
			}
			m.sendHead(f)
		}
		m.queue.pop()
		m.stalled = false
		m.leave(f)
	}
}

// begin decides how the payload travels and binds windows or places it. False: not now.
func (m *machine) begin(f *outFrame) bool {
	a := m.open[f.h.ID]
	f.placed = f.h.Response() && f.size > 0 && a.room.size > 0
	need := 0
	if f.size > 0 && !f.placed {
		need = len(f.pieces)
	}
	if f.room != nil && m.spare() < need+1+frameWindows {
		// Rooms stay open until the answer comes: all windows must never wait for that. The
		// answer's payload will be read instead.
		m.unused = append(m.unused, f.room)
		f.room = nil
	}
	if f.room != nil {
		need++
	}
	if m.space() < need+len(f.pieces)+1 || !m.mayHave(need) {
		return false
	}
	f.tell = m.spare()-need < frameWindows
	f.answers = m.answered(f.h)
	f.begun = true
	switch {
	case f.placed:
		m.place(f)
	case f.size > 0:
		for i := range f.pieces {
			f.wins = append(f.wins, m.bind(f.pieces[i:i+1:i+1], verbs.PeerReads))
			f.descs = f.wins[i].describe(f.descs, f.pieces[i].Mem)
		}
	}
	if f.room != nil {
		f.roomPiece[0] = verbs.Piece{Mem: f.room.Bytes(), Key: m.cfg.key}
		f.roomWin = m.bind(f.roomPiece[:], verbs.PeerWrites)
	}
	return true
}

// spare is the windows that are free, or not made yet.
func (m *machine) spare() int { return len(m.windows) + m.cfg.windows - m.made }

// mayHave sees to it that so many windows are free.
func (m *machine) mayHave(n int) bool {
	for len(m.windows) < n && m.made < m.cfg.windows {
		w, err := m.cfg.newWindow()
		if err != nil {
			m.cfg.windows = m.made // the card has no more; those of earlier frames come back
			if n > m.made && m.err == nil {
				m.err = fmt.Errorf("rdma: the card has %d windows for a frame that needs %d: %w",
					m.made, n, err)
			}
			break
		}
		m.made++
		m.windows = append(m.windows, w)
	}
	return len(m.windows) >= n
}

// bind binds a window to a piece.
func (m *machine) bind(piece []verbs.Piece, a verbs.Access) openWindow {
	w := m.windows[len(m.windows)-1]
	m.windows = m.windows[:len(m.windows)-1]
	o := openWindow{w: w, key: w.NextKey()}
	m.bound++
	m.cfg.count.bound.Add(1)
	m.cfg.count.binds.Add(1)
	m.post(verbs.Send{Op: verbs.OpBind, Pieces: piece, Window: w, Access: a},
		posted{slot: -1})
	return o
}

func (o openWindow) describe(dst []byte, mem []byte) []byte {
	var b [descSize]byte
	d := desc{addr: addressOf(mem), key: o.key, size: uint32(len(mem))}
	d.put(b[:])
	return append(dst, b[:]...)
}

func addressOf(mem []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) }

// place writes the payload into the room of the request that f answers.
func (m *machine) place(f *outFrame) {
	to := verbs.Remote{Addr: f.answers.room.addr, Key: f.answers.room.key}
	for left := f.pieces; len(left) > 0; {
		n := min(len(left), m.cfg.sges)
		m.post(verbs.Send{Op: verbs.OpWrite, Pieces: left[:n:n], Remote: to}, posted{slot: -1})
		for _, p := range left[:n] {
			to.Addr += uint64(len(p.Mem))
		}
		left = left[n:]
	}
	m.cfg.count.pushed.Add(int64(f.size))
}

// sendHead sends the next part of a frame's head.
func (m *machine) sendHead(f *outFrame) {
	s := slot{kind: kindMore}
	room := SlotSize - slotHead
	if f.sent == 0 {
		s.kind, s.pieces = kindHead, f.descs
		room -= len(f.descs)
		if f.room != nil {
			s.flags |= flagRoom
			s.room = desc{addr: addressOf(f.room.Bytes()), key: f.roomWin.key,
				size: uint32(len(f.room.Bytes()))}
			room -= descSize
		}
		if f.placed {
			s.flags |= flagPlaced
		}
		if f.tell {
			s.flags |= flagTell
		}
	}
	whole := f.sent == 0 && len(f.head) <= room
	s.body = f.head[f.sent:min(f.sent+room, len(f.head))]
	f.sent += len(s.body)
	p := posted{out: f}
	var inv uint32
	if f.sent == len(f.head) {
		inv = m.mayInvalidate(f, whole)
		if f.placed {
			p.then = thenFree
		}
	}
	m.message(&s, inv, p)
}

// mayInvalidate is the key of the peer that the last message of an answer invalidates: that of the
// room; or the first window of the request, but only if this very message is the first to tell that
// its payload was taken, because the peer invalidates by itself what it was told of.
func (m *machine) mayInvalidate(f *outFrame, whole bool) uint32 {
	a := &f.answers
	switch {
	case a.room.size > 0:
		return a.room.key
	case a.key != 0 && whole && int32(a.index-m.told) >= 0:
		return a.key
	}
	return 0
}

// leave is called when the whole head has been posted.
func (m *machine) leave(f *outFrame) {
	switch {
	case f.placed:
		f.holds++ // until the message after the payload has left
	case f.size > 0:
		f.holds++
		m.unacked.push(f)
		m.keys[f.wins[0].key] = f
	}
	if f.room != nil {
		f.holds++
		m.rooms[f.h.ID] = f
		m.keys[f.roomWin.key] = f
	}
	m.release(f)
}

// invalidated notes that the peer's answer has closed a window.
func (m *machine) invalidated(key uint32) error {
	f := m.keys[key]
	if f == nil {
		return fmt.Errorf("%w: peer invalidated key %#08x, which it may not", ErrFormat, key)
	}
	delete(m.keys, key)
	w := &f.roomWin
	if w.key != key {
		w = &f.wins[0]
	}
	m.windowBack(w)
	return nil
}

func (m *machine) windowBack(w *openWindow) {
	m.windows = append(m.windows, w.w)
	*w = openWindow{}
	m.bound--
	m.cfg.count.bound.Add(-1)
}

// readByPeer closes what is left of a frame's windows: until that is done the peer could read on.
func (m *machine) readByPeer(f *outFrame) {
	for i := range f.wins {
		if f.wins[i].w != nil {
			delete(m.keys, f.wins[i].key)
			m.closing.push(f)
			return
		}
	}
	m.release(f)
}

// pumpShut invalidates windows. Their frames stay until the card has done so.
func (m *machine) pumpShut() {
	for m.closing.len() > 0 {
		f := m.closing.front()
		last := 0
		for i := range f.wins {
			if f.wins[i].w != nil {
				last = i
			}
		}
		if m.space() < len(f.wins) {
			return
		}
		m.closing.pop()
		for i := range f.wins {
			if f.wins[i].w == nil {
				continue
			}
			p := posted{slot: -1}
			if i == last {
				p.then, p.out = thenShut, f
			}
			m.post(verbs.Send{Op: verbs.OpInvalidate, Remote: verbs.Remote{Key: f.wins[i].key}}, p)
		}
	}
}

func (m *machine) windowsBack(f *outFrame) {
	for i := range f.wins {
		if f.wins[i].w != nil {
			m.windowBack(&f.wins[i])
		}
	}
}

// release drops a hold; the last one frees the frame.
func (m *machine) release(f *outFrame) {
	if f.holds--; f.holds > 0 || f.ended {
		return
	}
	m.unlink(f)
	m.freed = append(m.freed, f)
}

func (m *machine) unlink(f *outFrame) {
	f.ended = true
	if f.prev != nil {
		f.prev.next = f.next
	} else {
		m.live = f.next
	}
	if f.next != nil {
		f.next.prev = f.prev
	}
	f.next, f.prev = nil, nil
}

// abandon frees everything. The queue pair is closed: the card uses none of it any more, and no
// window is left.
func (m *machine) abandon() {
	m.cfg.count.bound.Add(-int64(m.bound))
	m.bound = 0
	for m.live != nil {
		f := m.live
		m.unlink(f)
		m.freed = append(m.freed, f)
	}
	for m.in.len() > 0 {
		f := m.in.pop()
		f.drop()
		m.consumed(f)
	}
	m.partial = nil
	m.queue, m.unacked, m.closing = fifo[*outFrame]{}, fifo[*outFrame]{}, fifo[*outFrame]{}
	m.reading = fifo[*inFrame]{}
	clear(m.rooms)
	clear(m.keys)
}
