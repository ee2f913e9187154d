package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// ErrUnreachable: there is no connection to the node, or it broke.
var ErrUnreachable = errors.New("peer: unreachable")

// Loader reads payloads that are only in a store's log.
type Loader interface {
	ReadLog(p *copyset.Payload, dst []byte) error
	PinLog(p *copyset.Payload) (release func())
	Unreachable(copysetID, replica uint64)
}

// Config is shared by the links of a node.
type Config struct {
	Pool   *buf.Pool
	Hello  wire.Hello
	Logger *slog.Logger
}

// item is a message in a queue. Pins keep the log that its payloads must be read from.
type item struct {
	m     copyset.Message
	from  Loader
	pins  []func()
	bytes int
}

func (it *item) drop() {
	for _, p := range it.pins {
		p()
	}
	it.pins = nil
	it.m.Release()
}

// link is the way to one address.
type link struct {
	addr string
	cfg  Config
	log  *slog.Logger

	mu            sync.Mutex
	control, data []item
	dataBytes     int
	conn          transport.Conn
	calls         map[uint64]chan result
	nextCall      uint64
	wake          chan struct{}
	stop          chan struct{}
	done          sync.WaitGroup
	out           outgoing // of the goroutine that sends
}

type result struct {
	m   transport.Message
	err error
}

func newLink(addr string, cfg Config) *link {
	l := &link{addr: addr, cfg: cfg, log: cfg.Logger.With("peer", addr),
		calls: map[uint64]chan result{}, wake: make(chan struct{}, 1), stop: make(chan struct{})}
	l.done.Add(1)
	go func() { defer l.done.Done(); l.run() }()
	return l
}

// send queues a message; it never blocks.
func (l *link) send(it item) {
	l.mu.Lock()
	full := l.conn == nil
	if len(it.m.Entries) == 0 {
		full = full || len(l.control) >= maxControl
		if !full {
			l.control = append(l.control, it)
		}
	} else {
		full = full || len(l.data) >= maxData || l.dataBytes+it.bytes > maxDataBytes
		if !full {
			l.data = append(l.data, it)
			l.dataBytes += it.bytes
		}
	}
	l.mu.Unlock()
	if full {
		l.lost(&it)
		return
	}
	l.kick()
}

func (l *link) kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// lost drops a message and, when raft would wait for its answer, says so.
func (l *link) lost(it *item) {
	waits := len(it.m.Entries) > 0 || it.m.Snapshot != nil
	id, to := it.m.Copyset, it.m.To
	it.drop()
	if waits {
		it.from.Unreachable(id, to)
	}
}

// run keeps a connection and sends what waits.
func (l *link) run() {
	pause := redialFirst
	for {
		conn, err := l.dial()
		if err == nil {
			pause = redialFirst
			l.serve(conn)
		} else {
			l.log.Debug("cannot reach", "err", err)
		}
		select {
		case <-l.stop:
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, redialMax)
	}
}

func (l *link) dial() (transport.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	defer cancel()
	go func() {
		select {
		case <-l.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return transport.Dial(ctx, l.addr, transport.Config{Pool: l.cfg.Pool, Hello: l.cfg.Hello,
		WriteTimeout: writeTime, DialTimeout: dialTime})
}

// serve uses a connection until it breaks or the link is closed.
func (l *link) serve(conn transport.Conn) {
	l.mu.Lock()
	l.conn = conn
	l.mu.Unlock()
	broken := make(chan struct{})
	go func() { l.receive(conn); close(broken) }()
	var err error
	for err == nil {
		select {
		case <-l.wake:
			err = l.drain(conn)
		case <-broken:
			err = ErrUnreachable
		case <-l.stop:
			err = transport.ErrClosed
		}
	}
	conn.Close()
	<-broken
	l.reset(err)
}

// reset drops everything that waited for the connection.
func (l *link) reset(err error) {
	l.mu.Lock()
	l.conn = nil
	items := append(l.control, l.data...)
	l.control, l.data, l.dataBytes = nil, nil, 0
	calls := l.calls
	l.calls = map[uint64]chan result{}
	l.mu.Unlock()
	for i := range items {
		l.lost(&items[i])
	}
	for _, ch := range calls {
		ch <- result{err: fmt.Errorf("%w: %s: %w", ErrUnreachable, l.addr, err)}
	}
}

// drain sends until nothing waits.
func (l *link) drain(conn transport.Conn) error {
	out := &l.out
	for {
		l.take(out)
		if len(out.batch) == 0 {
			return nil
		}
		for i := range out.batch {
			n := len(out.frames)
			if err := l.frames(out, &out.batch[i]); err != nil {
				out.frames = out.frames[:n]
				l.log.Warn("message dropped", "copyset", out.batch[i].m.Copyset, "err", err)
				l.lost(&out.batch[i])
			}
		}
		err := conn.Send(out.frames)
		for i := range out.batch {
			if err != nil {
				l.lost(&out.batch[i])
			} else {
				out.batch[i].drop()
			}
		}
		out.reset()
		if err != nil {
			return err
		}
	}
}

// outgoing is the memory of one write, used again for the next. Frames refer to meta and body, so
// these only grow while a batch is made.
type outgoing struct {
	batch  []item
	parts  []copyset.Message
	frames []transport.Message
	meta   []byte
	body   [][]byte
}

func (o *outgoing) reset() {
	clear(o.batch)
	clear(o.parts)
	clear(o.frames)
	clear(o.body)
	o.batch, o.parts, o.frames = o.batch[:0], o.parts[:0], o.frames[:0]
	o.meta, o.body = o.meta[:0], o.body[:0]
}

// take moves the next batch out of the queues, messages without entries first.
func (l *link) take(out *outgoing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.control), batchMessages)
	out.batch = append(out.batch, l.control[:n]...)
	l.control = slices.Delete(l.control, 0, n)
	bytes, k := 0, 0
	for k < len(l.data) && len(out.batch) < batchMessages &&
		(k == 0 || bytes+l.data[k].bytes <= batchBytes) {
		bytes += l.data[k].bytes
		out.batch = append(out.batch, l.data[k])
		k++
	}
	l.data = slices.Delete(l.data, 0, k)
	l.dataBytes -= bytes
}

// frames adds the frames of a message, reading from the log what is not in memory.
func (l *link) frames(out *outgoing, it *item) error {
	for i := range it.m.Payloads {
		if err := l.load(it, &it.m.Payloads[i]); err != nil {
			return err
		}
	}
	first := len(out.parts)
	out.parts = it.m.Split(out.parts)
	for k := first; k < len(out.parts); k++ {
		part := &out.parts[k]
		meta, body := len(out.meta), len(out.body)
		var err error
		if out.meta, err = part.AppendTo(out.meta); err != nil {
			return err
		}
		for i := range part.Payloads {
			if part.Payloads[i].Len > 0 {
				out.body = append(out.body, part.Payloads[i].B)
			}
		}
		out.frames = append(out.frames, transport.Message{Header: wire.Header{Op: wire.OpRaft},
			Meta: out.meta[meta:len(out.meta):len(out.meta)],
			Body: out.body[body:len(out.body):len(out.body)]})
	}
	return nil
}

func (l *link) load(it *item, p *copyset.Payload) error {
	if p.Len == 0 || p.B != nil {
		return nil
	}
	b, err := l.cfg.Pool.Get(p.Len)
	if err != nil {
		return err
	}
	if err := it.from.ReadLog(p, b.Bytes()); err != nil {
		b.Release()
		return err
	}
	p.B, p.Buf = b.Bytes(), b
	return nil
}

// receive takes answers to calls until the connection breaks.
func (l *link) receive(conn transport.Conn) {
	for {
		m, err := conn.Recv()
		if err != nil {
			return
		}
		l.mu.Lock()
		ch := l.calls[m.Header.ID]
		delete(l.calls, m.Header.ID)
		l.mu.Unlock()
		if ch == nil {
			if m.Payload != nil {
				m.Payload.Release()
			}
			continue
		}
		m.Meta = append([]byte(nil), m.Meta...)
		ch <- result{m: m}
	}
}

// call sends a request and waits for its answer.
func (l *link) call(op wire.Op, meta []byte) (transport.Message, error) {
	ch := make(chan result, 1)
	l.mu.Lock()
	conn := l.conn
	if conn == nil || len(l.calls) >= maxCalls {
		l.mu.Unlock()
		return transport.Message{}, fmt.Errorf("%w: %s", ErrUnreachable, l.addr)
	}
	l.nextCall++
	id := l.nextCall
	l.calls[id] = ch
	l.mu.Unlock()
	req := transport.Message{Header: wire.Header{Op: op, ID: id}, Meta: meta}
	if err := conn.Send([]transport.Message{req}); err != nil {
		conn.Close()
	}
	timer := time.NewTimer(CallTime)
	defer timer.Stop()
	select {
	case r := <-ch:
		if r.err == nil {
			r.err = r.m.Header.Status.Err()
		}
		return r.m, r.err
	case <-timer.C:
		l.forget(id, ch)
		err := fmt.Errorf("%w: %s: no answer in %v", ErrUnreachable, l.addr, CallTime)
		return transport.Message{}, err
	}
}

// forget gives up a call; an answer that came in between is dropped.
func (l *link) forget(id uint64, ch chan result) {
	l.mu.Lock()
	delete(l.calls, id)
	l.mu.Unlock()
	select {
	case r := <-ch:
		if r.m.Payload != nil {
			r.m.Payload.Release()
		}
	default:
	}
}

func (l *link) close() {
	close(l.stop)
	l.done.Wait()
}
