package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// ErrUnreachable: there is no connection to the node, or it broke.
var ErrUnreachable = errors.New("peer: unreachable")

// Loader reads payloads that are only in a store's log.
type Loader interface {
	ReadLog(copysetID uint64, p *copyset.Payload, crcs []uint32, dst []byte) error
	PinLog(p *copyset.Payload) (release func())
	Unreachable(copysetID, replica uint64)
}

// Config is shared by the links of a node.
type Config struct {
	Pool  *buf.Pool
	Hello wire.Hello
	// Dial makes the connections; nil means transport.Dial.
	Dial transport.Dialer
	// Meter, if set, counts what passes them.
	Meter  *transport.Meter
	Logger *slog.Logger
	// Gone, when set, is told whenever the address of a node refuses a connection: nobody listens
	// there, so the process has ended, unless something on the way refuses for it. It must not
	// block.
	Gone func(addr string)
}

// item is a message in a queue. Pins keep the log that its payloads must be read from.
type item struct {
	m     copyset.Message
	from  Loader
	pins  []func()
	bytes int
	err   error // a payload could not be read
}

func (it *item) drop() {
	for _, p := range it.pins {
		p()
	}
	it.pins = nil
	it.m.Release()
}

// link is one connection to an address, with what waits for it.
type link struct {
	addr string
	cfg  Config
	log  *slog.Logger

	mu       sync.Mutex
	waiting  []item
	bytes    int // of payload that waits
	bare     int // payloads that must be read from the log
	conn     transport.Conn
	calls    map[uint64]chan result
	nextCall uint64
	wake     chan struct{}
	stop     chan struct{}
	done     sync.WaitGroup
	// sending: somebody is making a write and owns out. handed: it stopped half-way and the link's
	// goroutine goes on; Complete: it did not.
	sending bool
	handed  transport.Sent
	out     outgoing
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

// send queues a message; it never blocks. Flush or a later message sends it.
func (l *link) send(it item) {
	l.mu.Lock()
	full := l.conn == nil || len(l.waiting) >= maxWaiting || l.bytes+it.bytes > maxBytes
	if !full {
		l.waiting = append(l.waiting, it)
		l.bytes += it.bytes
		l.bare += len(it.pins)
	}
	l.mu.Unlock()
	if full {
		l.lost(&it)
	}
}

// flush sends what waits from the calling goroutine, if nobody is sending, as far as that needs
// neither the disk nor a wait for the socket; the link's own goroutine does the rest. For a lone
// message that saves waking a goroutine, and a thread with it.
func (l *link) flush() {
	l.mu.Lock()
	conn := l.conn
	empty := len(l.waiting) == 0
	if l.sending || conn == nil || empty {
		l.mu.Unlock()
		return
	}
	if l.bare > 0 {
		l.mu.Unlock()
		l.kick()
		return
	}
	l.sending = true
	l.mu.Unlock()
	if err := l.drain(conn, false); err != nil {
		conn.Close()
	}
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
			if l.cfg.Gone != nil && errors.Is(err, unix.ECONNREFUSED) {
				l.cfg.Gone(l.addr)
			}
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
	return l.cfg.Dial(ctx, l.addr, transport.Config{Pool: l.cfg.Pool, Hello: l.cfg.Hello,
		WriteTimeout: writeTime, DialTimeout: dialTime, Meter: l.cfg.Meter})
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
			err = l.resume(conn)
		case <-broken:
			err = ErrUnreachable
		case <-l.stop:
			err = transport.ErrClosed
		}
	}
	conn.Close()
	<-broken
	l.reset(conn, err)
}

// resume goes on where flush stopped: the rest of a batch that the socket did not take, a batch
// that found the connection busy, or messages whose payloads are on disk.
func (l *link) resume(conn transport.Conn) error {
	l.mu.Lock()
	handed := l.handed
	l.handed = transport.Complete
	if handed == transport.Complete && l.sending {
		l.mu.Unlock()
		return nil
	}
	l.sending = true
	l.mu.Unlock()
	var err error
	switch handed {
	case transport.Partial:
		err = conn.Finish()
	case transport.Busy:
		err = conn.Send(l.out.frames)
	}
	if handed != transport.Complete {
		l.finish(err)
	}
	if err != nil {
		l.release()
		return err
	}
	return l.drain(conn, true)
}

// reset drops everything that waited for the connection.
func (l *link) reset(conn transport.Conn, err error) {
	l.mu.Lock()
	l.conn = nil
	items := l.waiting
	l.waiting, l.bytes, l.bare = nil, 0, 0
	calls := l.calls
	l.calls = map[uint64]chan result{}
	handed := l.handed
	l.handed = transport.Complete
	l.mu.Unlock()
	if handed != transport.Complete {
		l.abandon(conn, handed)
	}
	for i := range items {
		l.lost(&items[i])
	}
	for _, ch := range calls {
		ch <- result{err: fmt.Errorf("%w: %s: %w", ErrUnreachable, l.addr, err)}
	}
}

// drain sends until nothing waits, and then lets the others send again. Without block it hands
// over to the link's goroutine where it would have to wait.
func (l *link) drain(conn transport.Conn, block bool) error {
	out := &l.out
	for l.take(out, block) {
		l.load(out)
		for i := range out.batch {
			n := len(out.frames)
			if err := l.frames(out, &out.batch[i]); err != nil {
				transport.Drop(out.frames[n:])
				out.frames = out.frames[:n]
				l.log.Warn("message dropped", "copyset", out.batch[i].m.Copyset, "err", err)
				l.lost(&out.batch[i])
			}
		}
		handed, err := transport.Complete, error(nil)
		if block {
			err = conn.Send(out.frames)
		} else {
			handed, err = conn.TrySend(out.frames)
		}
		if handed != transport.Complete {
			return l.handOver(conn, handed)
		}
		l.finish(err)
		if err != nil {
			l.release()
			return err
		}
	}
	return nil
}

// handOver leaves the rest of a batch to the link's goroutine. If that has given the connection up
// meanwhile, the batch ends here.
func (l *link) handOver(conn transport.Conn, handed transport.Sent) error {
	l.mu.Lock()
	if l.conn == conn {
		l.handed = handed
		l.mu.Unlock()
		l.kick()
		return nil
	}
	l.mu.Unlock()
	l.abandon(conn, handed)
	return ErrUnreachable
}

// abandon ends a batch whose connection is gone.
func (l *link) abandon(conn transport.Conn, handed transport.Sent) {
	if handed == transport.Partial {
		_ = conn.Finish() // it fails; senders that wait for their turn learn of it
	} else {
		transport.Drop(l.out.frames)
	}
	l.finish(ErrUnreachable)
	l.release()
}

// finish gives a batch back, sent or lost.
func (l *link) finish(err error) {
	for i := range l.out.batch {
		if err != nil {
			l.lost(&l.out.batch[i])
		} else {
			l.out.batch[i].drop()
		}
	}
	l.out.reset()
}

func (l *link) release() {
	l.mu.Lock()
	l.sending = false
	l.mu.Unlock()
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

// call sends a request and waits for its answer, which may bring so many bytes of payload.
func (l *link) call(op wire.Op, meta []byte, room int) (transport.Message, error) {
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
	req := transport.Message{Header: wire.Header{Op: op, ID: id}, Meta: meta, Room: room}
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
