package fake

import (
	"bytes"
	stdcontext "context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs/verbstest"
)

var here, there = netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")

func TestACardKeepsTheSeamsPromises(t *testing.T) {
	for name, f := range map[string]Faults{"fast": {}, "late": {Late: 0.7},
		"slow": {Slow: 20 * time.Microsecond}} {
		t.Run(name, func(t *testing.T) {
			n := New(1)
			defer n.Close()
			n.SetFaults(f)
			verbstest.Run(t, n.Host(Card{Name: "fake0", Addr: here}), here, false)
			if c := n.Counts(); c != (Counts{}) {
				t.Errorf("left on the card: %+v", c)
			}
		})
	}
}

// wired is two queue pairs of two hosts, each with memory of its own.
type wired struct {
	n     *Network
	hosts [2]*Host
	ctxs  [2]verbs.Context
	cqs   [2]verbs.CQ
	regs  [2]verbs.Region
	mems  [2][]byte
	qps   [2]verbs.QP
}

const wiredMem = 1 << 20

func newWired(t *testing.T, seed uint64) *wired {
	t.Helper()
	w := &wired{n: New(seed)}
	t.Cleanup(w.n.Close)
	for i, addr := range []netip.Addr{here, there} {
		w.hosts[i] = w.n.Host(Card{Name: "fake0", Addr: addr})
		w.mems[i] = make([]byte, wiredMem)
		var errs [3]error
		w.ctxs[i], errs[0] = w.hosts[i].Open("")
		w.regs[i], errs[1] = w.ctxs[i].Register(w.mems[i])
		w.cqs[i], errs[2] = w.ctxs[i].NewCQ(64)
		if err := errors.Join(errs[:]...); err != nil {
			t.Fatal(err)
		}
	}
	l, err := w.ctxs[0].Listen(netip.AddrPortFrom(here, 0), 1)
	if err != nil {
		t.Fatal(err)
	}
	cfg := func(i int) verbs.QPConfig {
		return verbs.QPConfig{CQ: w.cqs[i], Sends: 16, Recvs: 4, SGEs: 2, Reads: 2,
			RetryTimeout: 20 * time.Millisecond}
	}
	done := make(chan error, 1)
	go func() {
		r, err := l.Next()
		if err == nil {
			w.qps[0], err = r.Accept(cfg(0), nil, nil)
		}
		done <- err
	}()
	w.qps[1], _, err = w.ctxs[1].Dial(stdcontext.Background(), l.Addr(), cfg(1), nil)
	if err := errors.Join(err, <-done, l.Close()); err != nil {
		t.Fatal(err)
	}
	return w
}

// do posts a request of a side and gives its status.
func (w *wired) do(t *testing.T, i int, s verbs.Send) verbs.Status {
	t.Helper()
	s.Signalled = true
	if err := w.qps[i].Post([]verbs.Send{s}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		var c [1]verbs.Completion
		if n, _ := w.cqs[i].Poll(c[:]); n == 1 {
			return c[0].Status
		}
		_ = w.cqs[i].Wait(time.Millisecond)
	}
	t.Fatal("no completion")
	return 0
}

// open binds a window of the first side over all its memory.
func (w *wired) open(t *testing.T) verbs.Remote {
	t.Helper()
	win, err := w.qps[0].NewWindow()
	if err != nil {
		t.Fatal(err)
	}
	if s := w.do(t, 0, verbs.Send{Op: verbs.OpBind, Window: win,
		Access: verbs.PeerReads | verbs.PeerWrites, Pieces: w.piece(0, wiredMem)}); s != verbs.OK {
		t.Fatal(s)
	}
	return verbs.Remote{Addr: address(w.mems[0]), Key: win.Key()}
}

func (w *wired) piece(i, n int) []verbs.Piece {
	return []verbs.Piece{{Mem: w.mems[i][:n], Key: w.regs[i].Key()}}
}

func TestATransferMayBreakInTheMiddle(t *testing.T) {
	partly := 0
	for seed := range uint64(40) {
		w := newWired(t, seed)
		remote := w.open(t)
		for i := range w.mems[0] {
			w.mems[0][i] = 1
		}
		w.n.SetFaults(Faults{Break: 0.1})
		if s := w.do(t, 1, verbs.Send{Op: verbs.OpRead, Remote: remote,
			Pieces: w.piece(1, wiredMem)}); s == verbs.OK {
			continue
		}
		moved := bytes.Count(w.mems[1], []byte{1})
		if moved > 0 && moved < wiredMem {
			partly++
		}
		if moved != len(bytes.TrimRight(w.mems[1], "\x00")) {
			t.Error("bytes were moved out of order")
		}
		<-w.qps[1].Gone()
		<-w.qps[0].Gone()
	}
	if partly < 10 {
		t.Errorf("%d of 40 broke in the middle", partly)
	}
}

func TestRequestsFailByChance(t *testing.T) {
	seen := map[verbs.Status]int{}
	for seed := range uint64(60) {
		w := newWired(t, seed)
		w.n.SetFaults(Faults{Fail: 0.5})
		seen[w.do(t, 1, verbs.Send{Op: verbs.OpWrite, Pieces: w.piece(1, 8)})]++
	}
	// Without the fault it would be RemoteAccess alone: nothing is open.
	if len(seen) < 4 || seen[verbs.OK] > 0 {
		t.Errorf("ended with %v", seen)
	}
}

func TestASilentHostAnswersNobody(t *testing.T) {
	w := newWired(t, 1)
	remote := w.open(t)
	w.hosts[0].Silence()
	if s := w.do(t, 1, verbs.Send{Op: verbs.OpRead, Remote: remote,
		Pieces: w.piece(1, 8)}); s != verbs.NoAnswer {
		t.Errorf("ended with %v", s)
	}
	select {
	case <-w.qps[0].Gone():
		t.Error("the silent host heard of it")
	case <-time.After(50 * time.Millisecond):
	}
}

func TestUsedMemoryIsKnown(t *testing.T) {
	w := newWired(t, 1)
	if w.n.Uses(w.mems[0]) || w.n.Uses(w.mems[1]) {
		t.Error("registered memory counts as used")
	}
	w.open(t)
	if !w.n.Uses(w.mems[0][wiredMem-1:]) || w.n.Uses(w.mems[1]) {
		t.Error("memory under a window is not used")
	}
	if err := w.qps[1].PostRecv([]verbs.Recv{{Pieces: w.piece(1, 8)}}); err != nil {
		t.Fatal(err)
	}
	if !w.n.Uses(w.mems[1][7:8]) || w.n.Uses(w.mems[1][8:9]) {
		t.Error("a receive's memory is not used, or more than it")
	}
	want := Counts{QPs: 2, Windows: 1, Bound: 1, Regions: 2, CQs: 2, Unfinished: 1}
	if c := w.n.Counts(); c != want {
		t.Errorf("%+v, want %+v", c, want)
	}
	if err := errors.Join(w.qps[0].Close(), w.qps[1].Close()); err != nil {
		t.Fatal(err)
	}
	if w.n.Uses(w.mems[0]) || w.n.Uses(w.mems[1]) || w.n.Counts().Windows != 0 {
		t.Error("memory of a closed queue pair is used")
	}
}

func TestWhatACallerMustNotDoPanics(t *testing.T) {
	for name, f := range map[string]func(w *wired){
		"context closed with 1 queue pairs": func(w *wired) { _ = w.ctxs[0].Close() },
		"queue closed under a queue pair":   func(w *wired) { _ = w.cqs[0].Close() },
		"completion queue of 1 overflows":   overflow,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWired(t, 1)
			defer func() {
				if r := fmt.Sprint(recover()); !strings.Contains(r, name) {
					t.Errorf("recovered %q", r)
				}
				w.n.mu.TryLock() // the panic may have left it locked or not
				w.n.mu.Unlock()
			}()
			f(w)
		})
	}
}

func overflow(w *wired) {
	c := &cq{x: w.ctxs[0].(*context), depth: 1, wake: make(chan struct{}, 1)}
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	c.add(done{})
	c.add(done{})
}
