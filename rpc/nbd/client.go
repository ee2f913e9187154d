package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Client is one connection to an export. It is an Export and a Mapper itself. All methods may be
// called from any goroutine; requests in flight together may be carried out in any order.
type Client struct {
	nc         net.Conn
	in         *input
	out        *outbox
	info       ExportInfo
	structured bool
	statusID   uint32
	stats      outStats
	answering  atomic.Bool   // the receiver hands out what it has read
	received   chan struct{} // closed when the receiver has ended
	wrote      chan struct{} // closed when the writer has ended

	mu       sync.Mutex
	room     *sync.Cond // a slot became free, or err was set
	slots    []slot
	free     []uint32
	inFlight int
	closing  bool
	deaf     bool // the receiver has ended: no reply will come, no memory will be filled
	err      error
}

// slot is a request in flight. The cookie is its index and how often the slot was used, so that a
// late reply is not taken for an answer to its successor.
type slot struct {
	c       *Client
	req     *Request
	extents *[]Extent
	cookie  uint64
	got     int64 // bytes of a read that have come
	err     error
	left    bool // the request has left
	replied bool
	head    [requestSize]byte
}

// disconnectTimeout is how long Close waits for answers and for the server to hang up.
const disconnectTimeout = 10 * time.Second

func newClient(h *greeter, maxInFlight int) *Client {
	c := &Client{
		nc: h.nc, in: h.in, info: h.info,
		structured: h.structured, statusID: h.statusID,
		received: make(chan struct{}),
		wrote:    make(chan struct{}),
		slots:    make([]slot, maxInFlight),
		free:     make([]uint32, maxInFlight),
	}
	c.room = sync.NewCond(&c.mu)
	c.in.r = &turns{r: c.in.r, c: c}
	for i := range c.slots {
		c.slots[i] = slot{c: c, cookie: uint64(i)}
		c.free[i] = uint32(maxInFlight - 1 - i)
	}
	c.out = newOutbox(newSock(h.nc, DefaultWriteTimeout), &c.stats, c.fail)
	go func() {
		defer close(c.wrote)
		c.out.run()
	}()
	go func() {
		defer close(c.received)
		err := c.receive()
		c.answering.Store(false) // before fail wakes the writer: see turns.Read
		c.fail(err)
		c.abandon()
	}()
	return c
}

// Info is what the server told of the export.
func (c *Client) Info() ExportInfo { return c.info }

// Structured reports whether structured replies were negotiated.
func (c *Client) Structured() bool { return c.structured }

// Submit sends a request; req.Done is called exactly once, from a goroutine of the client, and
// must not block (it may call Submit while less than the bound is in flight). Submit waits while
// the bound of requests is in flight. Data must stay unchanged until Done.
func (c *Client) Submit(req *Request) {
	if s := c.prepare(req, nil); s != nil {
		c.out.put(s)
		c.send()
	}
}

// SubmitBatch is Submit for several requests with one write to the socket, as far as the bound
// allows.
func (c *Client) SubmitBatch(reqs []*Request) {
	for _, req := range reqs {
		if s := c.prepare(req, nil); s != nil {
			c.out.put(s)
		}
	}
	c.send()
}

// send lets what was put leave. While the receiver hands out answers that came together, their
// successors gather, to leave in one write when it goes to the socket for more.
func (c *Client) send() {
	if !c.answering.Load() {
		c.out.flush()
	}
}

// turns is the socket as the receiver reads it: whatever waits for it is sent before it waits.
type turns struct {
	r io.Reader
	c *Client
}

// Read clears answering before it flushes, and whoever puts a request looks at answering after:
// one of the two sees the request. When the receiver ends it does the same, so that what is put
// later ends with the connection.
func (t *turns) Read(p []byte) (int, error) {
	t.c.answering.Store(false)
	t.c.out.flush()
	n, err := t.r.Read(p)
	t.c.answering.Store(true)
	return n, err
}

// prepare takes a slot. It returns nil when the request has ended already.
func (c *Client) prepare(req *Request, extents *[]Extent) *slot {
	if err := checkRequest(req); err != nil {
		req.finish(err)
		return nil
	}
	c.mu.Lock()
	if len(c.free) == 0 && c.err == nil {
		c.mu.Unlock()
		c.out.flush() // what a batch has put so far
		c.mu.Lock()
	}
	for len(c.free) == 0 && c.err == nil && !c.closing {
		c.room.Wait()
	}
	err := c.err
	if err == nil && c.closing {
		err = ErrClosed
	}
	if err != nil {
		c.mu.Unlock()
		req.finish(err)
		return nil
	}
	i := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	c.inFlight++
	s := &c.slots[i]
	*s = slot{c: c, req: req, extents: extents, cookie: s.cookie + 1<<32}
	c.mu.Unlock()
	putRequest(s.head[:], header{
		cmd: req.Cmd, flags: req.Flags, cookie: s.cookie,
		off: uint64(req.Off), length: uint32(req.Len),
	})
	return s
}

// checkRequest refuses what the protocol cannot say. What it can say and the server dislikes is
// the server's to refuse.
func checkRequest(req *Request) error {
	carries := req.Cmd == CmdRead || req.Cmd == CmdWrite
	switch {
	case req.Cmd == CmdDisc:
		return fmt.Errorf("%w: Request.Cmd: use Close to disconnect", EINVAL)
	case req.Len < 0 || req.Len > 1<<32-1:
		return fmt.Errorf("%w: Request.Len is %d: at most 4 GiB less one byte", EINVAL, req.Len)
	case carries && int64(len(req.Data)) != req.Len:
		return fmt.Errorf("%w: Request.Len is %d, len(Data) %d", EINVAL, req.Len, len(req.Data))
	}
	return nil
}

// appendTo and sent make a slot an outgoing.
func (s *slot) appendTo(vec [][]byte) [][]byte {
	vec = append(vec, s.head[:])
	if s.req.Cmd == CmdWrite && len(s.req.Data) > 0 {
		vec = append(vec, s.req.Data)
	}
	return vec
}

func (s *slot) sent(error) {
	s.c.mu.Lock()
	s.left = true
	req := s.c.retire(s)
	s.c.mu.Unlock()
	if req != nil {
		req.Done(req)
	}
}

// retire frees the slot when its request has left and its reply has come or cannot come: until
// then the memory of a write belongs to the socket, that of a read to the receiver. c.mu is held;
// the caller calls Done.
func (c *Client) retire(s *slot) *Request {
	if !s.left || !s.replied && !c.deaf {
		return nil
	}
	req, err := s.req, s.err
	if req == nil {
		return nil
	}
	if !s.replied {
		err = c.err
	}
	s.req, s.extents = nil, nil
	c.free = append(c.free, uint32(s.cookie))
	c.inFlight--
	c.room.Broadcast()
	req.Err = err
	return req
}

// fail breaks the connection; what is in flight ends when the receiver has noticed.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		if err == nil || c.closing && (err == io.EOF || errors.Is(err, net.ErrClosed)) {
			err = ErrClosed
		}
		c.err = err
	}
	err = c.err
	c.room.Broadcast()
	c.mu.Unlock()
	_ = c.nc.Close()
	c.out.fail(err)
}

// abandon ends everything in flight.
func (c *Client) abandon() {
	c.mu.Lock()
	c.deaf = true
	c.mu.Unlock()
	for i := range c.slots {
		c.mu.Lock()
		req := c.retire(&c.slots[i])
		c.mu.Unlock()
		if req != nil {
			req.Done(req)
		}
	}
}

// Close waits for the requests in flight, tells the server, and closes the connection.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		<-c.wrote
		return nil
	}
	c.closing = true
	c.room.Broadcast()
	timer := time.AfterFunc(disconnectTimeout, func() { c.fail(ErrClosed) })
	defer timer.Stop()
	for c.inFlight > 0 {
		c.room.Wait()
	}
	c.mu.Unlock()
	c.out.put(&goodbye{})
	c.out.flush()
	<-c.received
	c.out.close()
	<-c.wrote
	return nil
}

// goodbye is CmdDisc, which has no reply.
type goodbye struct{ head [requestSize]byte }

func (g *goodbye) appendTo(vec [][]byte) [][]byte {
	putRequest(g.head[:], header{cmd: CmdDisc})
	return append(vec, g.head[:])
}

func (g *goodbye) sent(error) {}

// call is a request that a goroutine waits for.
type call struct {
	Request
	done chan struct{}
}

var calls = sync.Pool{New: func() any {
	k := &call{done: make(chan struct{}, 1)}
	k.Done = func(*Request) { k.done <- struct{}{} }
	return k
}}

// Do sends one request and waits for its answer. The request is not split: reads and writes up to
// Info().MaxPayload are accepted by the server.
func (c *Client) Do(cmd Cmd, flags CmdFlags, off, n int64, data []byte) error {
	return c.do(cmd, flags, off, n, data, nil)
}

func (c *Client) do(cmd Cmd, flags CmdFlags, off, n int64, data []byte, ext *[]Extent) error {
	k := calls.Get().(*call)
	k.Cmd, k.Flags, k.Off, k.Len, k.Data, k.Err = cmd, flags, off, n, data, nil
	if s := c.prepare(&k.Request, ext); s != nil {
		c.out.put(s)
		c.send()
	}
	<-k.done
	err := k.Err
	k.Data, k.Err = nil, nil
	calls.Put(k)
	return err
}

// ReadAt fills p from off, in as many requests as needed.
func (c *Client) ReadAt(p []byte, off int64) (int, error) { return c.each(CmdRead, 0, p, off) }

// WriteAt stores p at off, in as many requests as needed.
func (c *Client) WriteAt(p []byte, off int64) (int, error) { return c.each(CmdWrite, 0, p, off) }

func (c *Client) each(cmd Cmd, flags CmdFlags, p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		part := p[done:min(len(p), done+int(c.info.MaxPayload))]
		if err := c.Do(cmd, flags, off+int64(done), int64(len(part)), part); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

// Zero makes n bytes from off read as zeroes; n is at most 4 GiB less one byte.
func (c *Client) Zero(off, n int64, flags CmdFlags) error {
	return c.Do(CmdWriteZeroes, flags, off, n, nil)
}

// Trim tells the server that n bytes from off are not needed; n is at most 4 GiB less one byte.
func (c *Client) Trim(off, n int64, flags CmdFlags) error {
	return c.Do(CmdTrim, flags, off, n, nil)
}

// Flush returns when every write answered before is on stable storage.
func (c *Client) Flush() error { return c.Do(CmdFlush, 0, 0, 0, nil) }

// Extents asks for the allocation of n bytes from off. The answer may be shorter or longer than
// the range. ENOTSUP without base:allocation (Dialer.Extents).
func (c *Client) Extents(dst []Extent, off, n int64, limit int) ([]Extent, error) {
	if !c.info.Extents {
		return dst, fmt.Errorf("base:allocation was not negotiated: %w", ENOTSUP)
	}
	var flags CmdFlags
	if limit == 1 {
		flags = FlagReqOne
	}
	var got []Extent
	if err := c.do(CmdBlockStatus, flags, off, n, nil, &got); err != nil {
		return dst, err
	}
	return append(dst, got[:min(len(got), limit)]...), nil
}

// decodeStatus decodes the payload of a block-status chunk for the context id.
func decodeStatus(p []byte, id uint32) ([]Extent, error) {
	if len(p) < 12 || (len(p)-4)%8 != 0 {
		return nil, fmt.Errorf("%w: block status of %d bytes", ErrProtocol, len(p))
	}
	if got := binary.BigEndian.Uint32(p); got != id {
		return nil, fmt.Errorf("%w: block status of context %d, want %d", ErrProtocol, got, id)
	}
	out := make([]Extent, 0, (len(p)-4)/8)
	for p = p[4:]; len(p) > 0; p = p[8:] {
		e := Extent{
			Len:   int64(binary.BigEndian.Uint32(p)),
			State: State(binary.BigEndian.Uint32(p[4:])),
		}
		if e.Len == 0 {
			return nil, fmt.Errorf("%w: block status with an empty extent", ErrProtocol)
		}
		out = append(out, e)
	}
	return out, nil
}
