package nbd

import (
	"encoding/binary"
	"fmt"
)

// receive reads replies until the connection ends. It is the only reader of c.in.
func (c *Client) receive() error {
	for {
		if err := c.in.fill(simpleSize); err != nil {
			return err
		}
		b := c.in.peek()
		var err error
		switch magic := binary.BigEndian.Uint32(b); magic {
		case magicSimple:
			e, cookie := Errno(binary.BigEndian.Uint32(b[4:])), binary.BigEndian.Uint64(b[8:])
			c.in.skip(simpleSize)
			err = c.simple(e, cookie)
		case magicChunk:
			err = c.chunk()
		default:
			err = fmt.Errorf("%w: reply magic is %#08x", ErrProtocol, magic)
		}
		if err != nil {
			return err
		}
	}
}

// find returns the slot that waits for a reply with cookie.
func (c *Client) find(cookie uint64) (*slot, error) {
	i := cookie & (1<<32 - 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if i < uint64(len(c.slots)) {
		if s := &c.slots[i]; s.cookie == cookie && s.req != nil && !s.replied {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: reply with cookie %#x, which nothing waits for", ErrProtocol,
		cookie)
}

// done ends the request of s.
func (c *Client) done(s *slot, err error) {
	c.mu.Lock()
	s.err, s.replied = err, true
	req := c.retire(s)
	c.mu.Unlock()
	if req != nil {
		req.Done(req)
	}
}

func (c *Client) simple(e Errno, cookie uint64) error {
	s, err := c.find(cookie)
	if err != nil {
		return err
	}
	switch {
	case e != 0:
		c.done(s, e)
		return nil
	case s.req.Cmd == CmdBlockStatus, s.req.Cmd == CmdRead && c.structured:
		return fmt.Errorf("%w: simple reply to %v", ErrProtocol, s.req.Cmd)
	case s.req.Cmd == CmdRead:
		if err := c.in.read(s.req.Data); err != nil {
			return err
		}
	}
	c.done(s, nil)
	return nil
}

// chunk handles one chunk of a structured reply.
func (c *Client) chunk() error {
	if err := c.in.fill(chunkSize); err != nil {
		return noEOF(err)
	}
	b := c.in.peek()
	flags, kind := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	cookie, size := binary.BigEndian.Uint64(b[8:]), int64(binary.BigEndian.Uint32(b[16:]))
	c.in.skip(chunkSize)
	s, err := c.find(cookie)
	if err != nil {
		return err
	}
	if !c.structured {
		return fmt.Errorf("%w: structured reply was not negotiated", ErrProtocol)
	}
	if kind == chunkData {
		err = c.data(s, size)
	} else {
		err = c.small(s, kind, size)
	}
	if err != nil {
		return err
	}
	if flags&chunkFlagDone == 0 {
		return nil
	}
	if s.err == nil && s.req.Cmd == CmdRead && s.got != s.req.Len {
		return fmt.Errorf("%w: read of %d bytes answered with %d", ErrProtocol, s.req.Len, s.got)
	}
	if s.err == nil && s.extents != nil && len(*s.extents) == 0 {
		return fmt.Errorf("%w: block status without extents", ErrProtocol)
	}
	c.done(s, s.err)
	return nil
}

// data reads a data chunk to its place.
func (c *Client) data(s *slot, size int64) error {
	if size < 9 {
		return fmt.Errorf("%w: data chunk of %d bytes", ErrProtocol, size)
	}
	if err := c.in.fill(8); err != nil {
		return noEOF(err)
	}
	off := binary.BigEndian.Uint64(c.in.peek())
	c.in.skip(8)
	p, err := s.place(off, size-8)
	if err != nil {
		return err
	}
	return c.in.read(p)
}

// place returns the part of the reader's memory for n bytes from off.
func (s *slot) place(off uint64, n int64) ([]byte, error) {
	at := int64(off - uint64(s.req.Off))
	if s.req.Cmd != CmdRead || off < uint64(s.req.Off) || at < 0 || at > s.req.Len ||
		n > s.req.Len-at || n > s.req.Len-s.got {
		return nil, fmt.Errorf("%w: %d bytes at %d in reply to %v of %d at %d", ErrProtocol, n, off,
			s.req.Cmd, s.req.Len, s.req.Off)
	}
	s.got += n
	return s.req.Data[at : at+n], nil
}

// small handles every chunk but data; its payload is bounded.
func (c *Client) small(s *slot, kind uint16, size int64) error {
	limit := int64(6 + MaxName + 8)
	if kind == chunkStatus {
		limit = int64(readBuffer)
	}
	if size > limit {
		return fmt.Errorf("%w: chunk of type %d has %d bytes, at most %d", ErrProtocol, kind, size,
			limit)
	}
	if err := c.in.fill(int(size)); err != nil {
		return noEOF(err)
	}
	p := c.in.peek()[:size]
	c.in.skip(int(size))
	switch {
	case kind == chunkNone && size == 0:
		return nil
	case kind == chunkHole && size == 12:
		n := int64(binary.BigEndian.Uint32(p[8:]))
		hole, err := s.place(binary.BigEndian.Uint64(p), n)
		clear(hole)
		return err
	case kind == chunkStatus && s.extents != nil:
		extents, err := decodeStatus(p, c.statusID)
		*s.extents = extents
		return err
	case kind&chunkErrorBit != 0 && size >= 6:
		return s.refuse(p)
	}
	return fmt.Errorf("%w: chunk of type %d and %d bytes in reply to %v", ErrProtocol, kind, size,
		s.req.Cmd)
}

// refuse takes an error chunk.
func (s *slot) refuse(p []byte) error {
	e, n := Errno(binary.BigEndian.Uint32(p)), int(binary.BigEndian.Uint16(p[4:]))
	if e == 0 || n > len(p)-6 {
		return fmt.Errorf("%w: error chunk with number %d and %d bytes of text", ErrProtocol, e, n)
	}
	if s.err == nil {
		s.err = e
		if n > 0 {
			s.err = fmt.Errorf("%w: %s", e, p[6:6+n])
		}
	}
	return nil
}
