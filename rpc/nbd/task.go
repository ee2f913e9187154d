package nbd

import "github.com/ashlar-storage/ashlar/io/buf"

// replyMode is how the pieces of a request become a reply.
type replyMode uint8

const (
	// replyOnce: one reply without data when the last piece is done.
	replyOnce replyMode = iota
	// replyChunks: every piece is a chunk of a structured reply, sent when it is done.
	replyChunks
	// replyWhole: one reply with all data, in order, when the last piece is done.
	replyWhole
	// replyStream: one simple reply whose data is sent piece by piece in order. Nothing else
	// may be in flight on the connection, because nothing may come between the pieces.
	replyStream
)

// task is one request of a client, from its header to the last byte of its reply. Its fields are
// guarded by conn.mu.
type task struct {
	h       header
	mode    replyMode
	left    int   // pieces not done
	err     error // the first
	started bool  // the reply has begun

	head, tail *piece // replyWhole, replyStream: pieces in order of offset
	next       *task  // free list
}

// piece is the part of a task that is one Request to the export, and one item to send when it is
// done. Both lists of free pieces and orders of a task run through next.
type piece struct {
	req Request
	c   *conn
	t   *task

	buf  *buf.Buf
	cost int64 // bytes of memory held

	inExport bool
	done     bool
	last     bool // the task ends when this is sent

	fixed [dataSize]byte // what is sent: fixed[:head], extra, data
	head  int
	extra []byte
	data  []byte

	next *piece
}

// appendTo and sent make a piece an outgoing.
func (p *piece) appendTo(vec [][]byte) [][]byte {
	if p.head > 0 {
		vec = append(vec, p.fixed[:p.head])
	}
	if len(p.extra) > 0 {
		vec = append(vec, p.extra)
	}
	if len(p.data) > 0 {
		vec = append(vec, p.data)
	}
	return vec
}

func (p *piece) sent(error) {
	c := p.c
	c.mu.Lock()
	c.unsent--
	if p.last {
		c.requests--
		c.freeTask(p.t)
	}
	c.freePiece(p)
	c.room.Signal()
	c.mu.Unlock()
}

// order appends p to the pieces of t that are sent in order of offset.
func (t *task) order(p *piece) {
	if t.tail == nil {
		t.head = p
	} else {
		t.tail.next = p
	}
	t.tail = p
}

// pop takes the first of the ordered pieces.
func (t *task) pop() *piece {
	p := t.head
	t.head, p.next = p.next, nil
	if t.head == nil {
		t.tail = nil
	}
	return p
}

// newTask and the functions below want conn.mu held.
func (c *conn) newTask(h header, mode replyMode, pieces int) *task {
	t := c.tasks
	if t == nil {
		t = new(task)
	} else {
		c.tasks = t.next
	}
	*t = task{h: h, mode: mode, left: pieces}
	return t
}

func (c *conn) freeTask(t *task) {
	*t = task{next: c.tasks}
	c.tasks = t
}

func (c *conn) newPiece(t *task) *piece {
	p := c.pieces
	if p == nil {
		p = &piece{c: c}
		p.req.Done = p.complete
	} else {
		c.pieces = p.next
	}
	p.t, p.next = t, nil
	return p
}

func (c *conn) freePiece(p *piece) {
	c.dropPayload(p)
	p.t, p.done, p.last = nil, false, false
	p.head, p.extra, p.data = 0, nil, nil
	p.req.Err = nil
	p.next = c.pieces
	c.pieces = p
}

// dropPayload gives the memory of p back.
func (c *conn) dropPayload(p *piece) {
	if p.cost == 0 {
		return
	}
	if p.buf != nil {
		p.buf.Release()
		p.buf = nil
	}
	p.req.Data, p.req.Buf = nil, nil
	c.bytes -= p.cost
	c.srv.mem.release(p.cost)
	p.cost = 0
}

// complete is the Done of every Request of this server.
func (p *piece) complete(*Request) {
	c, t := p.c, p.t
	c.mu.Lock()
	if !p.inExport {
		panic("nbd: an export reported the end of a request twice")
	}
	p.inExport, p.done = false, true
	p.takeGot()
	c.executing--
	t.left--
	if t.err == nil {
		t.err = p.req.Err
	}
	before := c.unsent
	broken := c.settle(p, t)
	put := c.unsent - before
	corked := c.submitting == p
	alone := c.executing == 0
	c.room.Signal()
	c.mu.Unlock()
	switch {
	case broken != nil:
		c.fail(broken)
	case put == 0 || corked: // a corked reply is flushed by the reader before it waits
	case alone:
		c.out.flush()
	default:
		c.out.kick()
	}
}

// takeGot puts the buffer that the export answers with in the place of the piece's own.
func (p *piece) takeGot() {
	b := p.req.Got
	if b == nil {
		return
	}
	if p.req.Err != nil || p.t.h.cmd != CmdRead || len(b.Bytes()) != len(p.req.Data) {
		panic("nbd: an export answered something else than a read, or with another length")
	}
	if p.buf != nil {
		p.buf.Release()
	}
	p.buf, p.req.Data, p.req.Got = b, b.Bytes(), nil
}

// settle decides what the end of p lets out. An error means that the reply can only be broken
// off.
func (c *conn) settle(p *piece, t *task) error {
	switch t.mode {
	case replyOnce:
		c.dropPayload(p)
		if t.left > 0 {
			c.freePiece(p)
			return nil
		}
		c.finish(p, t.h, t.err)
	case replyChunks:
		c.settleChunk(p, t)
	case replyWhole:
		if t.left == 0 {
			c.settleOrdered(p, t)
		}
	case replyStream:
		return c.settleStream(p, t)
	}
	return nil
}

func (c *conn) settleChunk(p *piece, t *task) {
	p.last = t.left == 0
	flags := uint16(0)
	if p.last {
		flags = chunkFlagDone
	}
	if err := p.req.Err; err != nil {
		p.extra = errorPayload(errnoOf(err), p.req.Off, err.Error())
		p.head = putChunk(p.fixed[:], flags, chunkErrorOffset, t.h.cookie, len(p.extra))
	} else {
		p.head = putData(p.fixed[:], flags, t.h.cookie, p.req.Off, len(p.req.Data))
		p.data = p.req.Data
	}
	c.emit(p)
}

// settleOrdered ends a task whose pieces are all done: all its data, or its error. p is the piece
// that was done last.
func (c *conn) settleOrdered(p *piece, t *task) {
	if t.err != nil {
		for t.head != nil {
			if q := t.pop(); q != p {
				c.freePiece(q)
			}
		}
		c.dropPayload(p)
		c.finish(p, t.h, t.err)
		return
	}
	for t.head != nil {
		c.emitNext(t)
	}
}

// settleStream sends what is ready in order. Before the first byte an error is still an answer.
func (c *conn) settleStream(p *piece, t *task) error {
	if t.err != nil && !t.started {
		for q := t.head; q != nil; q = q.next {
			if q.done {
				c.dropPayload(q) // the reader may wait for this memory to make the next piece
			}
		}
		if t.left == 0 {
			c.settleOrdered(p, t)
		}
		return nil
	}
	for t.head != nil && t.head.done {
		if t.err != nil {
			c.freePiece(t.pop())
			continue
		}
		c.emitNext(t)
	}
	return t.err
}

// emitNext sends the first ordered piece of t, with the head of the reply if it is the first.
func (c *conn) emitNext(t *task) {
	p := t.pop()
	if !t.started {
		t.started = true
		if c.ses.structured {
			p.head = putData(p.fixed[:], chunkFlagDone, t.h.cookie, int64(t.h.off),
				int(t.h.length))
		} else {
			p.head = putSimple(p.fixed[:], 0, t.h.cookie)
		}
	}
	p.data = p.req.Data
	p.last = t.head == nil && t.left == 0
	c.emit(p)
}

// finish makes p the whole and only reply to h, without data.
func (c *conn) finish(p *piece, h header, err error) {
	p.last = true
	switch {
	case err != nil && c.ses.structured:
		c.srv.stats.failures.Add(1)
		p.extra = errorPayload(errnoOf(err), -1, err.Error())
		p.head = putChunk(p.fixed[:], chunkFlagDone, chunkError, h.cookie, len(p.extra))
	case err != nil:
		c.srv.stats.failures.Add(1)
		p.head = putSimple(p.fixed[:], errnoOf(err), h.cookie)
	case h.cmd == CmdBlockStatus:
		p.head = putChunk(p.fixed[:], chunkFlagDone, chunkStatus, h.cookie, len(p.extra))
	case h.cmd == CmdRead && c.ses.structured:
		p.head = putChunk(p.fixed[:], chunkFlagDone, chunkNone, h.cookie, 0)
	default:
		p.head = putSimple(p.fixed[:], 0, h.cookie)
	}
	c.emit(p)
}

// emit queues p. What it sends must stay unchanged until sent.
func (c *conn) emit(p *piece) {
	c.unsent++
	c.out.put(p)
}
