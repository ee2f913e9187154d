package verbstest

import (
	"bytes"
	"context"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

const (
	patience = 20 * time.Second // for what must happen
	depth    = 32               // of every queue
	recvSize = 1024
	// resentAfter is longer than cards wait before they send again what found no receive, and
	// shorter than the patience of any.
	resentAfter = 100 * time.Millisecond
	memSize     = 4 << 20
	recvPlace   = memSize - depth*recvSize // where the receives are
)

// end is one side: an opened card with its memory, and a queue pair.
type end struct {
	t     *testing.T
	ctx   verbs.Context
	cq    verbs.CQ
	mem   []byte
	reg   verbs.Region
	qp    verbs.QP
	ended []verbs.Completion // of requests, not asked for yet
	came  []verbs.Completion // of receives
	next  uint64
}

// recvMark tells ids of receives from those of requests.
const recvMark = 1 << 40

func newEnd(t *testing.T, p verbs.Provider, addr netip.Addr) *end {
	t.Helper()
	e := &end{t: t}
	var err error
	e.ctx, err = p.Open(nameOf(t, p, addr))
	e.must(err)
	e.mem, err = unix.Mmap(-1, 0, memSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON)
	e.must(err)
	e.reg, err = e.ctx.Register(e.mem)
	e.must(err)
	e.cq, err = e.ctx.NewCQ(8 * depth)
	e.must(err)
	t.Cleanup(func() {
		if e.qp != nil {
			_ = e.qp.Close()
		}
		e.must(e.cq.Close())
		e.must(e.reg.Close())
		e.must(e.ctx.Close())
		e.must(unix.Munmap(e.mem))
	})
	return e
}

// nameOf is the card that has the address.
func nameOf(t *testing.T, p verbs.Provider, addr netip.Addr) string {
	t.Helper()
	all, err := p.Devices()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		for _, port := range d.Ports {
			for _, g := range port.GIDs {
				if g.Addr.Unmap() == addr.Unmap() {
					return d.Name
				}
			}
		}
	}
	t.Fatalf("no card has the address %v", addr)
	return ""
}

func (e *end) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *end) config() verbs.QPConfig {
	return verbs.QPConfig{CQ: e.cq, Sends: depth, Recvs: depth, SGEs: 4, Inline: 64, Reads: 4,
		RetryTimeout: 300 * time.Millisecond}
}

func (e *end) piece(at, n int) []verbs.Piece {
	return []verbs.Piece{{Mem: e.mem[at : at+n : at+n], Key: e.reg.Key()}}
}

func (e *end) addr(at int) uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(e.mem[at:]))))
}

func (e *end) recv(i int) verbs.Recv {
	return verbs.Recv{ID: recvMark | uint64(i), Pieces: e.piece(recvPlace+i*recvSize, recvSize)}
}

func (e *end) recvs() (all []verbs.Recv) {
	for i := range depth {
		all = append(all, e.recv(i))
	}
	return all
}

// received is the memory of a receive.
func (e *end) received(c verbs.Completion) []byte {
	i := int(c.ID &^ recvMark)
	return e.mem[recvPlace+i*recvSize : recvPlace+i*recvSize+c.Bytes]
}

// join connects two ends, with receives posted on both that have no shared queue.
func join(t *testing.T, server, client *end, sc, cc verbs.QPConfig, addr netip.Addr) {
	t.Helper()
	l, err := server.ctx.Listen(netip.AddrPortFrom(addr, 0), 4)
	server.must(err)
	defer func() { server.must(l.Close()) }()
	type result struct {
		qp  verbs.QP
		err error
	}
	accepted := make(chan result, 1)
	go func() {
		r, err := l.Next()
		if err != nil {
			accepted <- result{nil, err}
			return
		}
		qp, err := r.Accept(sc, nil, func(qp verbs.QP) error {
			if sc.SRQ != nil {
				return nil
			}
			return qp.PostRecv(server.recvs())
		})
		accepted <- result{qp, err}
	}()
	cc.Ready = func(qp verbs.QP) error { return qp.PostRecv(client.recvs()) }
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client.qp, _, err = client.ctx.Dial(ctx, l.Addr(), cc, nil)
	client.must(err)
	r := <-accepted
	server.must(r.err)
	server.qp = r.qp
}

// poll takes what has completed.
func (e *end) poll() {
	e.t.Helper()
	var batch [16]verbs.Completion
	n, err := e.cq.Poll(batch[:])
	e.must(err)
	for _, c := range batch[:n] {
		if c.ID&recvMark != 0 {
			e.came = append(e.came, c)
		} else {
			e.ended = append(e.ended, c)
		}
	}
	if n == 0 {
		e.must(e.cq.Wait(10 * time.Millisecond))
	}
}

// until polls until there is something in a list, and takes it.
func (e *end) until(what string, list *[]verbs.Completion) verbs.Completion {
	e.t.Helper()
	for limit := time.Now().Add(patience); len(*list) == 0; e.poll() {
		if time.Now().After(limit) {
			e.t.Fatalf("no %s within %v", what, patience)
		}
	}
	c := (*list)[0]
	*list = (*list)[1:]
	return c
}

func (e *end) message() verbs.Completion { e.t.Helper(); return e.until("message", &e.came) }

// do posts requests, the last of them signalled, and gives its completion, or the first failure.
func (e *end) do(reqs ...verbs.Send) verbs.Completion {
	e.t.Helper()
	for i := range reqs {
		e.next++
		reqs[i].ID = e.next
	}
	last := &reqs[len(reqs)-1]
	last.Signalled = true
	e.must(e.qp.Post(reqs))
	c := e.until("completion", &e.ended)
	first := c
	for c.ID != last.ID {
		c = e.until("completion", &e.ended)
	}
	return first
}

// window binds a new window.
func (e *end) window(at, n int, a verbs.Access) (verbs.Window, verbs.Remote) {
	e.t.Helper()
	w, err := e.qp.NewWindow()
	e.must(err)
	return w, e.bind(w, at, n, a)
}

func (e *end) bind(w verbs.Window, at, n int, a verbs.Access) verbs.Remote {
	e.t.Helper()
	want := w.NextKey()
	if c := e.do(verbs.Send{Op: verbs.OpBind, Window: w, Access: a,
		Pieces: e.piece(at, n)}); c.Status != verbs.OK {
		e.t.Fatalf("bind: %v", c.Status)
	}
	if w.Key() != want {
		e.t.Fatalf("bound with key %#x, NextKey said %#x", w.Key(), want)
	}
	return verbs.Remote{Addr: e.addr(at), Key: want}
}

func (e *end) read(r verbs.Remote, at, n int) verbs.Status {
	e.t.Helper()
	return e.do(verbs.Send{Op: verbs.OpRead, Remote: r, Pieces: e.piece(at, n)}).Status
}

func (e *end) write(r verbs.Remote, at, n int) verbs.Status {
	e.t.Helper()
	return e.do(verbs.Send{Op: verbs.OpWrite, Remote: r, Pieces: e.piece(at, n)}).Status
}

func (e *end) send(at, n int) verbs.Status {
	e.t.Helper()
	return e.do(verbs.Send{Op: verbs.OpSend, Pieces: e.piece(at, n)}).Status
}

func gone(t *testing.T, q verbs.QP) {
	t.Helper()
	select {
	case <-q.Gone():
	case <-time.After(patience):
		t.Fatal("the queue pair is not gone")
	}
}

func fill(b []byte, seed byte) {
	for i := range b {
		b[i] = byte(i>>8) ^ byte(i) ^ seed
	}
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: other bytes", what)
	}
}
