package client

import (
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// The writing half of a link.
//
//	Submit, answers ---> fill --(swap)--> spare --TrySend, Send--> connection
//	                                        | would block
//	                      sender goroutine -+- Send, Finish
//
// One goroutine at a time has the right to write (link.sending); whoever adds a request meanwhile
// leaves it in fill. The right passes to the sender goroutine by wake.

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

// send queues a request and sees to it that it is written: by the caller when direct is set, the
// link is not busy and nothing is gained by gathering. It does not block. It returns false, and
// leaves the request to the caller, when the link is dead.
func (l *link) send(x *piece, direct bool) bool {
	l.mu.Lock()
	if l.dead != nil {
		l.mu.Unlock()
		return false
	}
	x.peer, x.batch, x.attempt = l.peer, l.filling, attempt{since: l.c.coarse.Load()}
	l.encode(x)
	l.flush(direct && (l.slots.n <= directDepth || x.length >= directBytes))
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

// flush sees to it that what gathers is written. It is called with mu held and returns with it
// released.
func (l *link) flush(direct bool) {
	switch {
	case l.sending:
		l.mu.Unlock()
	case direct:
		l.sending = true
		l.write(directRounds, false)
	default:
		l.sending = true
		l.mu.Unlock()
		l.wake <- struct{}{}
	}
}

// write sends batches until nothing is queued, or leaves the rest to the sender goroutine after so
// many rounds, or, without wait, before it would block. It is called with mu held and sending set,
// and returns with mu released.
func (l *link) write(rounds int, wait bool) {
	for ; rounds > 0 && l.dead == nil && len(l.fill.msgs) > 0; rounds-- {
		b := l.fill
		l.fill, l.spare = l.spare, b
		l.filling++
		l.mu.Unlock()

		l.c.net.sends.Add(1)
		l.c.net.messages.Add(int64(len(b.msgs)))
		handed, err := transport.Complete, error(nil)
		if wait {
			err = l.conn.Send(b.msgs)
		} else {
			handed, err = l.conn.TrySend(b.msgs)
		}
		if handed != transport.Complete {
			l.handed = handed
			l.wake <- struct{}{}
			return
		}
		l.written(b, err)
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

// written ends a batch that the connection has no references to any more. It returns with mu held.
func (l *link) written(b *batch, err error) {
	b.reset()
	l.mu.Lock()
	l.sent = l.filling - 1
	if err != nil {
		l.killLocked(err)
	}
}

// sender is the goroutine that writes for those who must not block, and what they could not write.
func (l *link) sender() {
	for range l.wake {
		switch b, handed := l.spare, l.handed; handed {
		case transport.Complete:
			l.mu.Lock()
		case transport.Busy:
			l.written(b, l.conn.Send(b.msgs))
		case transport.Partial:
			l.written(b, l.conn.Finish())
		}
		l.handed = transport.Complete
		l.write(senderRounds, true)
	}
}
