package nbd

import (
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func newCond(c *Client) *sync.Cond { return sync.NewCond(&c.mu) }

// nullExport ends every request at once, from the submitting goroutine or from another one.
type nullExport struct {
	info ExportInfo
	work chan *Request // nil: inline
}

func (n *nullExport) Lookup(string) (Export, error) { return n, nil }
func (n *nullExport) List() ([]ExportInfo, error)   { return []ExportInfo{n.info}, nil }
func (n *nullExport) Info() ExportInfo              { return n.info }
func (n *nullExport) Close() error                  { return nil }

func (n *nullExport) Submit(r *Request) {
	if n.work == nil {
		r.finish(nil)
		return
	}
	n.work <- r
}

func benchServer(b *testing.B, network string, handOver bool) (*Server, string) {
	b.Helper()
	exp := &nullExport{info: fullInfo("null", 1<<30)}
	exp.info.Extents = false
	if handOver {
		exp.work = make(chan *Request, 1024)
		go func() {
			for r := range exp.work {
				r.finish(nil)
			}
		}()
		b.Cleanup(func() { close(exp.work) })
	}
	s, err := NewServer(Config{Backend: exp, Logger: quietLog})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = "unix:" + filepath.Join(b.TempDir(), "s")
	}
	l, err := s.Listen(addr)
	if err != nil {
		b.Fatal(err)
	}
	if network == "tcp" {
		addr = l.String()
	}
	return s, addr
}

// BenchmarkNull measures the protocol alone: client and server in this process, 4 KiB requests to
// an export that does nothing. syscalls/op counts the writes of the server.
func BenchmarkNull(b *testing.B) {
	for _, network := range []string{"tcp", "unix"} {
		for _, handOver := range []bool{false, true} {
			for _, cmd := range []Cmd{CmdRead, CmdWrite} {
				for _, depth := range []int{1, 32} {
					name := fmt.Sprintf("%s/handover=%v/%v/qd=%d", network, handOver, cmd, depth)
					b.Run(name, func(b *testing.B) { benchNull(b, network, handOver, cmd, depth) })
				}
			}
		}
	}
}

func benchNull(b *testing.B, network string, handOver bool, cmd Cmd, depth int) {
	s, addr := benchServer(b, network, handOver)
	c := dial(b, &Dialer{MaxInFlight: 64}, addr, "null")
	ended := make(chan *Request, depth)
	for range depth {
		ended <- &Request{
			Cmd: cmd, Len: 4096, Data: make([]byte, 4096),
			Done: func(r *Request) { ended <- r },
		}
	}
	batch := make([]*Request, 0, depth)
	b.ReportAllocs()
	before := s.Stats()
	b.ResetTimer()
	for done := 0; done < b.N; {
		batch = append(batch[:0], <-ended)
		for more := true; more && len(batch) < depth; {
			select {
			case r := <-ended:
				batch = append(batch, r)
			default:
				more = false
			}
		}
		c.SubmitBatch(batch)
		done += len(batch)
	}
	for range depth {
		<-ended
	}
	b.StopTimer()
	after := s.Stats()
	b.ReportMetric(float64(after.Writes-before.Writes)/float64(b.N), "syscalls/op")
}

// BenchmarkEcho is the floor of BenchmarkNull at depth 1: the same bytes over the same kind of
// socket, and no protocol.
func BenchmarkEcho(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		p := make([]byte, 8192)
		reply := make([]byte, dataSize+4096)
		for {
			if _, err := nc.Read(p); err != nil {
				_ = nc.Close()
				return
			}
			if _, err := nc.Write(reply); err != nil {
				return
			}
		}
	}()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	in := newInput(nc)
	req := make([]byte, requestSize)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nc.Write(req); err != nil {
			b.Fatal(err)
		}
		if err := in.discard(dataSize + 4096); err != nil {
			b.Fatal(err)
		}
	}
}
