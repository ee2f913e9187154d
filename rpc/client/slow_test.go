package client

import (
	"context"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// slowLine leads to a server; each connection moves so many bytes a second each way.
type slowLine struct {
	ln   net.Listener
	to   string
	rate int
	wg   sync.WaitGroup
}

func newSlowLine(t *testing.T, to string, rate int) *slowLine {
	t.Helper()
	narrow := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		ended := c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 64<<10)
		})
		if err == nil {
			err = ended
		}
		return err
	}}
	ln, err := narrow.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &slowLine{ln: ln, to: to, rate: rate}
	l.wg.Go(l.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		l.wg.Wait()
	})
	return l
}

func (l *slowLine) accept() {
	for {
		near, err := l.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", l.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		l.wg.Go(func() { l.carry(near, far) })
		l.wg.Go(func() { l.carry(far, near) })
	}
}

// carry moves 10 ms worth of bytes at a time.
func (l *slowLine) carry(from, to net.Conn) {
	defer func() { _, _ = from.Close(), to.Close() }()
	b := make([]byte, l.rate/100)
	for next := time.Now(); ; {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
		next = next.Add(time.Duration(n) * time.Second / time.Duration(l.rate))
		if now := time.Now(); next.Before(now) {
			next = now
		}
		time.Sleep(time.Until(next))
	}
}

// overSlowLine gives a volume whose one node is reached at 2 MiB a second: a request of 1 MiB takes
// longer than a silence may last, and those of slowOps much longer than an attempt.
func overSlowLine(t *testing.T) (*fake, *Volume) {
	f := newFake(t, 1)
	f.chunkBytes, f.segBytes, f.size = 16<<20, 1<<30, 1<<30
	f.setLeader(0)
	n := f.nodes[0]
	addr := newSlowLine(t, *n.addr.Load(), 2<<20).ln.Addr().String()
	n.addr.Store(&addr)
	return f, f.open(func(c *Config) { c.Timeout = time.Minute })
}

const slowOps = 8 // of 1 MiB

func TestLargeRequestsOverASlowLineAreSentOnce(t *testing.T) {
	for name, kind := range map[string]Kind{"writes": OpWrite, "reads": OpRead} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, v := overSlowLine(t)
			done := make(chan error, slowOps)
			begun := time.Now()
			for i := range int64(slowOps) {
				v.Submit(&Op{Kind: kind, Data: make([]byte, 1<<20), Off: i << 20,
					Done: func(op *Op) { done <- op.Err }})
			}
			for range slowOps {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			if d := time.Since(begun); d < attemptTimeout*3/2 {
				t.Errorf("it took only %v: the test shows nothing", d)
			}
			s, n := v.Stats(), v.c.NetStats()
			if s.Requests != f.opening+slowOps || s.Silent != 0 || n.Broken != 0 {
				t.Errorf("%+v %+v", s, n)
			}
		})
	}
}
