package client

import (
	"errors"
	"fmt"
	"sync"

	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

var errSilentPeer = errors.New("peer does not answer pings")
var errStuck = errors.New("peer takes no bytes")
var errMoved = errors.New("control plane has another address of the node")

// link is one life of a connection to a node: the requests in flight on it and the batch that
// gathers while an earlier one is being written. Whoever adds a request to an idle link writes it
// out; while that goes on others only add, and the writer takes all of it next.
type link struct {
	c    *Client
	peer *peer
	conn transport.Conn
	addr string // at which the connection was made

	mu       sync.Mutex
	quiet    sync.Cond // signalled when sending ends
	slots    slots
	fill     *batch // gathers
	spare    *batch
	filling  uint64 // number of the batch that gathers
	sent     uint64 // number of the last batch that is written
	sending  bool   // somebody writes, or was asked to
	dead     error
	received uint64
	silence  silence
	request  wire.IORequest // scratch for encoding

	wake chan struct{} // to the sender goroutine: it has the right to write
	resp wire.IOResponse
}

// batch is a run of encoded frames. It never points to a piece: the answer to a frame can come,
// and its piece be used anew, while the batch is still being written.
type batch struct {
	msgs   []transport.Message
	bodies [][1][]byte
	metas  []byte
}

func (b *batch) reset() {
	clear(b.msgs)
	clear(b.bodies)
	b.msgs, b.bodies, b.metas = b.msgs[:0], b.bodies[:0], b.metas[:0]
}

func newLink(p *peer, conn transport.Conn, addr string) *link {
	l := &link{
		c: p.c, peer: p, conn: conn, addr: addr, fill: &batch{}, spare: &batch{}, filling: 1,
		wake: make(chan struct{}, 1),
	}
	l.quiet.L = &l.mu
	l.silence.since = p.c.now()
	return l
}

// send queues a request and sees to it that it is written: by the caller when direct is set and
// the link is not busy. It returns false, and leaves the request to the caller, when the link is
// dead.
func (l *link) send(x *piece, direct bool) bool {
	l.mu.Lock()
	if l.dead != nil {
		l.mu.Unlock()
		return false
	}
	x.peer, x.batch, x.sentAt = l.peer, l.filling, l.c.coarse.Load()
	l.encode(x)
	direct = direct && l.slots.n <= directDepth
	l.flush(direct)
	return true
}

// encode appends the frame of x to the gathering batch.
func (l *link) encode(x *piece) {
	b, v := l.fill, x.vol
	l.request = wire.IORequest{
		Copyset: x.route.id, Volume: v.id, Chunk: x.chunk, Offset: x.offset, Length: x.length,
		Session: v.session, Epoch: v.epoch, OpID: x.id, LowWater: v.lowWater.Load(),
	}
	if x.kind == wire.OpWrite {
		l.request.CRCs = x.crcs
	}
	begin := len(b.metas)
	b.metas = l.request.AppendTo(b.metas)
	m := transport.Message{
		Header: wire.Header{Op: x.kind, ID: l.slots.add(x)},
		Meta:   b.metas[begin:len(b.metas):len(b.metas)],
	}
	switch x.kind {
	case wire.OpRead:
		m.Room = int(x.length)
	case wire.OpWrite:
		b.carry(&m, x)
	}
	b.msgs = append(b.msgs, m)
	v.count.requests.Add(1)
}

// flush is called with mu held and returns with it released.
func (l *link) flush(direct bool) {
	if l.sending {
		l.mu.Unlock()
		return
	}
	l.sending = true
	if direct {
		l.write(directRounds)
		return
	}
	l.mu.Unlock()
	l.wake <- struct{}{}
}

// write sends batches until nothing is queued, or leaves the rest to the sender goroutine after so
// many rounds. It is called with mu held and sending set, and returns with mu released.
func (l *link) write(rounds int) {
	for ; rounds > 0 && l.dead == nil && len(l.fill.msgs) > 0; rounds-- {
		b := l.fill
		l.fill, l.spare = l.spare, b
		number := l.filling
		l.filling++
		l.mu.Unlock()

		l.c.net.sends.Add(1)
		l.c.net.messages.Add(int64(len(b.msgs)))
		err := l.conn.Send(b.msgs)
		b.reset()

		l.mu.Lock()
		l.sent = number
		if err != nil {
			l.killLocked(err)
		}
	}
	if l.dead == nil && len(l.fill.msgs) > 0 {
		l.mu.Unlock()
		l.wake <- struct{}{}
		return
	}
	l.sending = false
	l.quiet.Broadcast()
	l.mu.Unlock()
}

// sender is the goroutine that writes for those who must not block.
func (l *link) sender() {
	for range l.wake {
		l.mu.Lock()
		l.write(senderRounds)
	}
}

// receive completes requests until the connection ends; it returns why.
func (l *link) receive() error {
	for {
		m, err := l.conn.Recv()
		if err != nil {
			return err
		}
		err = l.answer(&m)
		if m.Payload != nil {
			m.Payload.Release()
		}
		if err != nil {
			return err
		}
	}
}

func (l *link) answer(m *transport.Message) error {
	if !m.Header.Response() {
		return fmt.Errorf("client: node sent a request (%v)", m.Header.Op)
	}
	l.mu.Lock()
	l.received++
	x := l.slots.take(m.Header.ID)
	l.mu.Unlock()
	if x == nil {
		return nil // the answer to a ping, or to a request that was given up
	}
	err := l.resp.Decode(m.Meta)
	if err == nil && m.Header.Op != x.kind {
		err = fmt.Errorf("client: answer to %v for a request of %v", m.Header.Op, x.kind)
	}
	if err != nil {
		l.c.drive(x, event{kind: evLost, now: l.c.coarse.Load(), text: err.Error()}, false)
		return err
	}
	l.c.answered(x, m, &l.resp)
	return nil
}

// kill ends the link's life: later sends are refused, and receive returns.
func (l *link) kill(err error) {
	l.mu.Lock()
	l.killLocked(err)
	l.mu.Unlock()
}

func (l *link) killLocked(err error) {
	if l.dead == nil {
		l.dead = err
		_ = l.conn.Close()
	}
}

// bury waits until nobody writes any more and returns the requests that were in flight. Only now
// is their data free of references.
func (l *link) bury() []*piece {
	l.mu.Lock()
	for l.sending {
		l.quiet.Wait()
	}
	var left []*piece
	for i := range l.slots.all {
		if l.slots.all[i].x != nil {
			left = append(left, l.slots.takeAt(i))
		}
	}
	transport.Drop(l.fill.msgs)
	l.fill.reset()
	l.mu.Unlock()
	close(l.wake)
	return left
}

// tick takes out what is overdue, and pings or kills a silent peer. stalled says that this process
// did not run for a while, which is not the peer's silence.
func (l *link) tick(now int64, stalled bool) pieceList {
	l.mu.Lock()
	if l.dead != nil {
		l.mu.Unlock()
		return pieceList{}
	}
	overdue, stuck := l.overdue(now)
	if stalled {
		l.silence.reset(now)
	}
	switch l.silence.look(now, l.received, l.slots.n > 0) {
	case deaf:
		l.killLocked(errSilentPeer)
	case wantPing:
		l.fill.msgs = append(l.fill.msgs, transport.Message{
			Header: wire.Header{Op: wire.OpPing, ID: pingID},
		})
		l.flush(false)
		l.mu.Lock()
	}
	if stuck {
		l.killLocked(errStuck)
	}
	l.mu.Unlock()
	return overdue
}

// overdue takes out the requests whose time is up. One whose bytes are still being written cannot
// be taken, its data is referenced; when that lasts for stuckAfter the link is stuck.
func (l *link) overdue(now int64) (out pieceList, stuck bool) {
	for i := range l.slots.all {
		x := l.slots.all[i].x
		if x == nil {
			continue
		}
		due := min(x.m.deadline, x.sentAt+int64(attemptTimeout))
		if now < due && x.vol.failed() == nil {
			continue
		}
		if x.batch > l.sent {
			stuck = stuck || now >= due+int64(stuckAfter)
			continue
		}
		out.push(l.slots.takeAt(i))
	}
	return out, stuck
}
