package etcdtest

import (
	"net"
	"sync"
	"testing"
)

// Proxy is a way to a server that can be cut, as by a network: what is sent into it is lost
// without a word.
type Proxy struct {
	Addr string

	ln     net.Listener
	target string

	mu    sync.Mutex
	cut   bool
	deaf  bool // answers are lost
	conns map[net.Conn]bool
	work  sync.WaitGroup
}

// Forward begins a way to the target, host:port, that lasts until the test ends.
func Forward(tb testing.TB, target string) *Proxy {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{Addr: ln.Addr().String(), ln: ln, target: target, conns: map[net.Conn]bool{}}
	p.work.Go(p.accept)
	tb.Cleanup(func() {
		ln.Close()
		p.closeAll()
		p.work.Wait()
	})
	return p
}

// Cut loses everything that is sent from now on; connections stay as they are.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
}

// CutAnswers loses what the server sends from now on; what is sent to it arrives.
func (p *Proxy) CutAnswers() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = true
}

// Heal lets new connections through; those from before are closed.
func (p *Proxy) Heal() {
	p.closeAll()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.deaf = false, false
}

func (p *Proxy) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		delete(p.conns, c)
	}
}

func (p *Proxy) accept() {
	for {
		in, err := p.ln.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		p.conns[in], p.conns[out] = true, true
		p.mu.Unlock()
		p.work.Go(func() { p.copy(in, out, false) })
		p.work.Go(func() { p.copy(out, in, true) })
	}
}

func (p *Proxy) copy(from, to net.Conn, answers bool) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		lost := p.cut || answers && p.deaf
		p.mu.Unlock()
		if n > 0 && !lost {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
