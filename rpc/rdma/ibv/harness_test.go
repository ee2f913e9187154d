//go:build rdma && cgo && linux

package ibv

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// The sizes of a test's queues.
const (
	depth    = 32
	memBytes = 1 << 20
	testTime = 20 * time.Second
)

// here is the address of the machine's card. Where the lane says that there is one there is no
// skip.
func here(t *testing.T) netip.Addr {
	t.Helper()
	text := os.Getenv("RDMA_ADDRESS")
	if text == "" && os.Getenv("RDMA") == "" {
		t.Skip("needs an RDMA card and its address in RDMA_ADDRESS: make rdma has one")
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func openCard(t *testing.T, opt Options) verbs.Context {
	t.Helper()
	p, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Open("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// end is one side of a connection with memory of its own.
type end struct {
	t    *testing.T
	card verbs.Context
	cq   verbs.CQ
	qp   verbs.QP
	mem  []byte
	key  uint32
}

// newEnd opens the card for one side.
func newEnd(t *testing.T) *end {
	t.Helper()
	here(t)
	e := &end{t: t, card: openCard(t, Options{GIDIndex: AnyGID})}
	var err error
	if e.mem, err = unix.Mmap(-1, 0, memBytes, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON); err != nil {
		t.Fatal(err)
	}
	r, err := e.card.Register(e.mem)
	if err != nil {
		t.Fatal(err)
	}
	e.key = r.Key()
	if e.cq, err = e.card.NewCQ(8 * depth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if e.qp != nil {
			e.must(e.qp.Close())
		}
		e.must(e.cq.Close())
		e.must(r.Close())
		e.must(unix.Munmap(e.mem))
	})
	return e
}

func (e *end) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *end) config() verbs.QPConfig {
	return verbs.QPConfig{CQ: e.cq, Sends: depth, Recvs: depth, SGEs: 4, Inline: 64, Reads: 8}
}

// piece is a part of the side's memory.
func (e *end) piece(from, size int) []verbs.Piece {
	return []verbs.Piece{{Mem: e.mem[from : from+size], Key: e.key}}
}

func (e *end) addr(from int) uint64 { return uint64(uintptr(unsafe.Pointer(&e.mem[from]))) }

// connected are two sides of a connection, each with receives of 4 KiB posted at the end of its
// memory.
func connected(t *testing.T) (server, client *end) {
	t.Helper()
	server, client = newEnd(t), newEnd(t)
	join(t, server, client, server.config(), client.config())
	return server, client
}

const (
	recvSize = 4096
	recvFrom = memBytes - depth*recvSize
)

// receives posts all receives; their ids are their places.
func (e *end) receives(qp verbs.QP) error {
	var list []verbs.Recv
	for i := range depth {
		list = append(list, verbs.Recv{ID: uint64(i),
			Pieces: e.piece(recvFrom+i*recvSize, recvSize)})
	}
	return qp.PostRecv(list)
}

func join(t *testing.T, server, client *end, scfg, ccfg verbs.QPConfig) {
	t.Helper()
	l, err := server.card.Listen(netip.AddrPortFrom(here(t), 0), 4)
	server.must(err)
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		r, err := l.Next()
		if err == nil && !bytes.HasPrefix(r.Private(), []byte("question")) {
			t.Errorf("private data %q", r.Private())
		}
		ready := server.receives
		if scfg.SRQ != nil {
			ready = nil
		}
		if err == nil {
			server.qp, err = r.Accept(scfg, []byte("answer"), ready)
		}
		done <- err
	}()
	ccfg.Ready = client.receives
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	qp, private, err := client.card.Dial(ctx, l.Addr(), ccfg, []byte("question"))
	client.must(err)
	client.qp = qp
	server.must(<-done)
	if !bytes.HasPrefix(private, []byte("answer")) {
		t.Errorf("private data of the answer: %q", private)
	}
}

func fill(b []byte, seed byte) {
	for i := range b {
		b[i] = byte(i)*7 + byte(i>>8) + seed
	}
}
