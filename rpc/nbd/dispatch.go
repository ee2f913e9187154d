package nbd

import "fmt"

// request takes in one request: it is answered at once, or handed to the export in pieces. It
// returns when the next request can be read; an error ends the connection.
func (c *conn) request(h header) error {
	v := c.ses.check(h)
	if v.fatal {
		return fmt.Errorf("%w: %v of %d bytes, at most %d", ErrProtocol, h.cmd, h.length,
			c.ses.info.MaxPayload)
	}
	if v.errno != 0 || v.empty {
		return c.answerNow(h, v)
	}
	off, end := int64(h.off), int64(h.off)+int64(h.length)
	switch h.cmd {
	case CmdRead:
		return c.read(h, off, end)
	case CmdWrite:
		return c.write(h, off, end)
	case CmdTrim, CmdWriteZeroes:
		return c.zero(h, off, end)
	case CmdBlockStatus:
		return c.blockStatus(h)
	}
	t, err := c.begin(h, replyOnce, 1)
	if err != nil {
		return err
	}
	c.submit(c.bare(t, 0, 0))
	return nil
}

// answerNow replies without the export, after the payload that nobody wants was read.
func (c *conn) answerNow(h header, v verdict) error {
	if v.payload > 0 {
		c.out.flush()
		if err := c.in.discard(v.payload); err != nil {
			return err
		}
	}
	t, err := c.begin(h, replyOnce, 1)
	if err != nil {
		return err
	}
	if v.errno != 0 {
		err = refusal{v.errno, v.why}
	}
	c.mu.Lock()
	c.finish(c.newPiece(t), h, err)
	c.mu.Unlock()
	return nil
}

// refusal is an error number with a reason for people.
type refusal struct {
	errno Errno
	why   string
}

func (r refusal) Error() string { return r.why }
func (r refusal) Unwrap() error { return r.errno }

// begin takes a request slot, waiting for one if need be.
func (c *conn) begin(h header, mode replyMode, pieces int) (*task, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit := c.srv.cfg.MaxConnRequests; c.requests >= limit && c.failed == nil {
		c.flushLocked()
		for c.requests > lowWater(limit) && c.failed == nil {
			c.room.Wait()
		}
	}
	if c.failed != nil {
		return nil, c.failed
	}
	c.requests++
	return c.newTask(h, mode, pieces), nil
}

// lowWater is where a reader that ran into limit goes on: waking it for every slot that becomes
// free would send replies one by one.
func lowWater[T int | int64](limit T) T { return limit - (limit+3)/4 }

// flushLocked sends corked replies before the reader waits.
func (c *conn) flushLocked() {
	c.mu.Unlock()
	c.out.flush()
	c.mu.Lock()
}

// reserve takes payload memory within the bounds of the connection and of the server, waiting if
// need be. A connection without memory may always take what one piece needs.
func (c *conn) reserve(cost int64) error {
	limit := c.srv.cfg.MaxConnBytes
	c.mu.Lock()
	if c.bytes > 0 && c.bytes+cost > limit && c.failed == nil {
		c.flushLocked()
		for c.bytes > 0 && c.bytes+cost > lowWater(limit) && c.failed == nil {
			c.room.Wait()
		}
	}
	if err := c.failed; err != nil {
		c.mu.Unlock()
		return err
	}
	c.bytes += cost
	c.mu.Unlock()
	if c.srv.mem.tryReserve(cost) {
		return nil
	}
	c.out.flush()
	err := c.srv.mem.reserve(c.ctx, cost)
	if err != nil {
		c.mu.Lock()
		c.bytes -= cost
		c.mu.Unlock()
	}
	return err
}

// bare makes a piece without payload.
func (c *conn) bare(t *task, off, n int64) *piece {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.newPiece(t)
	p.req.Cmd, p.req.Off, p.req.Len = t.h.cmd, off, n
	p.req.Flags = t.h.flags & (FlagFUA | FlagNoHole | FlagFastZero)
	return p
}

// loaded makes a piece with memory that was reserved.
func (c *conn) loaded(t *task, off, n int64) *piece {
	p := c.bare(t, off, n)
	p.cost = costOf(n)
	p.req.Data, p.buf = c.srv.mem.block(int(n))
	p.req.Buf = p.buf
	return p
}

// submit hands p to the export.
func (c *conn) submit(p *piece) {
	c.mu.Lock()
	c.submitting = p
	p.inExport = true
	c.executing++
	c.mu.Unlock()
	c.exp.Submit(&p.req)
	c.mu.Lock()
	c.submitting = nil
	c.mu.Unlock()
}

// abort ends a task whose last n pieces will never be made.
func (c *conn) abort(t *task, n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t.left -= n
	if t.err == nil {
		t.err = err
	}
	for t.left == 0 && t.head != nil {
		c.freePiece(t.pop())
	}
}

func (c *conn) write(h header, off, end int64) error {
	left := pieceCount(off, end, MaxRequest)
	t, err := c.begin(h, replyOnce, left)
	if err != nil {
		return err
	}
	for ; off < end; left-- {
		stop := pieceEnd(off, end, MaxRequest)
		if err := c.reserve(costOf(stop - off)); err != nil {
			c.abort(t, left, err)
			return err
		}
		p := c.loaded(t, off, stop-off)
		if err := c.payload(p.req.Data); err != nil {
			c.mu.Lock()
			c.freePiece(p)
			c.mu.Unlock()
			c.abort(t, left, err)
			return err
		}
		c.submit(p)
		off = stop
	}
	return nil
}

// payload reads what a client writes to its place.
func (c *conn) payload(p []byte) error {
	if c.in.buffered() < len(p) {
		c.out.flush()
	}
	return c.in.read(p)
}

func (c *conn) zero(h header, off, end int64) error {
	t, err := c.begin(h, replyOnce, pieceCount(off, end, MaxZeroRequest))
	if err != nil {
		return err
	}
	for off < end {
		stop := pieceEnd(off, end, MaxZeroRequest)
		c.submit(c.bare(t, off, stop-off))
		off = stop
	}
	return nil
}

func (c *conn) read(h header, off, end int64) error {
	count := pieceCount(off, end, MaxRequest)
	switch {
	case c.ses.structured && (h.flags&FlagDF == 0 || count == 1):
		return c.readPieces(h, replyChunks, off, end)
	case h.length <= gatherMax:
		return c.readWhole(h, off, end)
	}
	if err := c.quiet(); err != nil {
		return err
	}
	if err := c.readPieces(h, replyStream, off, end); err != nil {
		return err
	}
	return c.quiet()
}

// quiet waits until every request taken in is answered.
func (c *conn) quiet() error {
	c.out.flush()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.requests > 0 && c.failed == nil {
		c.room.Wait()
	}
	return c.failed
}

// readPieces takes memory piece by piece: pieces that are done leave without waiting for others.
func (c *conn) readPieces(h header, mode replyMode, off, end int64) error {
	left := pieceCount(off, end, MaxRequest)
	t, err := c.begin(h, mode, left)
	if err != nil {
		return err
	}
	for ; off < end; left-- {
		stop := pieceEnd(off, end, MaxRequest)
		if err := c.reserve(costOf(stop - off)); err != nil {
			c.abort(t, left, err)
			return err
		}
		c.submitRead(t, off, stop)
		off = stop
	}
	return nil
}

// readWhole takes the memory of all pieces in one step: taking it piece by piece while the first
// pieces cannot leave could starve two connections of each other's memory.
func (c *conn) readWhole(h header, off, end int64) error {
	cost := int64(0)
	for at := off; at < end; {
		stop := pieceEnd(at, end, MaxRequest)
		cost += costOf(stop - at)
		at = stop
	}
	if err := c.reserve(cost); err != nil {
		return err
	}
	t, err := c.begin(h, replyWhole, pieceCount(off, end, MaxRequest))
	if err != nil {
		c.mu.Lock()
		c.bytes -= cost
		c.mu.Unlock()
		c.srv.mem.release(cost)
		return err
	}
	for off < end {
		stop := pieceEnd(off, end, MaxRequest)
		c.submitRead(t, off, stop)
		off = stop
	}
	return nil
}

func (c *conn) submitRead(t *task, off, stop int64) {
	p := c.loaded(t, off, stop-off)
	if t.mode == replyWhole || t.mode == replyStream {
		c.mu.Lock()
		t.order(p)
		c.mu.Unlock()
	}
	c.submit(p)
}

// blockStatus asks the export on a goroutine of its own, because a Mapper may block. Their number
// is bounded by the requests of the connection.
func (c *conn) blockStatus(h header) error {
	t, err := c.begin(h, replyOnce, 1)
	if err != nil {
		return err
	}
	p := c.bare(t, int64(h.off), int64(h.length))
	c.mu.Lock()
	p.inExport = true
	c.executing++
	c.mu.Unlock()
	go func() {
		limit := maxExtents
		if h.flags&FlagReqOne != 0 {
			limit = 1
		}
		extents, err := c.mapper.Extents(nil, p.req.Off, p.req.Len, limit)
		if err == nil {
			extents, err = cutExtents(extents, p.req.Len, limit)
		}
		p.extra = statusPayload(extents)
		p.req.finish(err)
	}()
	return nil
}

// cutExtents makes extents fit a reply: at most limit of them, at most n bytes together, equal
// neighbours joined, none empty.
func cutExtents(extents []Extent, n int64, limit int) ([]Extent, error) {
	out := make([]Extent, 0, min(len(extents), limit))
	for _, e := range extents {
		if e.Len <= 0 {
			return nil, fmt.Errorf("nbd: export reported an extent of %d bytes", e.Len)
		}
		e.Len = min(e.Len, n)
		if last := len(out) - 1; last >= 0 && out[last].State == e.State {
			out[last].Len += e.Len
		} else if len(out) == limit {
			break
		} else {
			out = append(out, e)
		}
		if n -= e.Len; n == 0 {
			break
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("nbd: export reported no extent")
	}
	return out, nil
}
