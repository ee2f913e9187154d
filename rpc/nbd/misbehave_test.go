package nbd

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// rawDial gives a connection in the transmission phase without a client behind it.
func rawDial(t testing.TB, addr, export string, structured bool) net.Conn {
	t.Helper()
	d := &Dialer{SimpleReplies: !structured, Extents: structured}
	h, err := d.connect(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.choose(d, export); err != nil {
		t.Fatal(err)
	}
	h.release()
	t.Cleanup(func() { _ = h.nc.Close() })
	return h.nc
}

// rawRequest encodes a request and its payload.
func rawRequest(h header, payload ...byte) []byte {
	b := make([]byte, requestSize)
	putRequest(b, h)
	return append(b, payload...)
}

func send(t testing.TB, nc net.Conn, b []byte) {
	t.Helper()
	if _, err := nc.Write(b); err != nil {
		t.Fatal(err)
	}
}

// simpleReply reads a reply without data.
func simpleReply(t testing.TB, nc net.Conn) Errno {
	t.Helper()
	b := make([]byte, simpleSize)
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(nc, b); err != nil {
		t.Fatal(err)
	}
	return Errno(uint32(b[4])<<24 | uint32(b[5])<<16 | uint32(b[6])<<8 | uint32(b[7]))
}

// closedByServer reads until the server hangs up.
func closedByServer(t testing.TB, nc net.Conn) {
	t.Helper()
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, nc); isTimeout(err) {
		t.Fatal("the server kept the connection")
	}
}

// memoryIsBack checks that no connection holds payload memory.
func memoryIsBack(t testing.TB, s *Server) {
	t.Helper()
	eventually(t, "payload memory is given back", func() bool {
		if !s.mem.tryReserve(s.mem.total) {
			return false
		}
		s.mem.release(s.mem.total)
		return true
	})
}

func TestOnlyTheConnectionOfAMisbehavingClientIsClosed(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 4<<20))
	s, addr := startServer(t, m, func(c *Config) { c.HandshakeTimeout = 2 * time.Second })
	good := dial(t, &Dialer{}, addr, "vol")
	before := [][]byte{ // instead of a handshake
		[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		clientFlagBytes(1 << 31),
		append(clientFlagBytes(clientFixed), make([]byte, 64)...),
		append(clientFlagBytes(clientFixed), hugeOption(optList)...),
		append(clientFlagBytes(clientFixed), hugeOption(optExportName)...),
		append(clientFlagBytes(clientFixed), opt(optExportName, []byte("nosuch"))...),
		clientFlagBytes(clientFixed), // and then silence
		{},
	}
	after := [][]byte{ // in the transmission phase
		make([]byte, requestSize),
		bytes.Repeat([]byte("garbage "), 100),
		rawRequest(header{cmd: CmdWrite, length: maxDiscard + 1}),
	}
	for i, b := range before {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		send(t, nc, b)
		closedByServer(t, nc)
		_ = nc.Close()
		if _, err := good.WriteAt([]byte{1, 2, 3}, int64(i)); err != nil {
			t.Fatalf("handshake %d: the good client was hurt: %v", i, err)
		}
	}
	for i, b := range after {
		nc := rawDial(t, addr, "vol", i%2 == 0)
		send(t, nc, b)
		closedByServer(t, nc)
		if _, err := good.WriteAt([]byte{1, 2, 3}, int64(i)); err != nil {
			t.Fatalf("transmission %d: the good client was hurt: %v", i, err)
		}
	}
	if n := s.Stats().Violations; n < 8 {
		t.Errorf("%d violations counted", n)
	}
	memoryIsBack(t, s)
}

func TestHangingUpInTheMiddleLosesNothingButTheConnection(t *testing.T) {
	for _, async := range []bool{false, true} {
		m := newMemoryBackend(fullInfo("vol", 40<<20))
		m.exports[0].async = async
		s, addr := startServer(t, m, nil)
		good := dial(t, &Dialer{}, addr, "vol")
		long := rawRequest(header{cmd: CmdWrite, length: 8 << 20}, make([]byte, 3<<20+17)...)
		reads := bytes.Repeat(rawRequest(header{cmd: CmdRead, length: 3 << 20}), 20)
		cuts := [][]byte{
			long, long[:requestSize+1], long[:requestSize-1], long[:requestSize],
			append(bytes.Clone(reads), long...), reads,
			rawRequest(header{cmd: CmdWrite, off: 40 << 20, length: 100}, 1, 2, 3), // refused
		}
		for i, cut := range cuts {
			nc := rawDial(t, addr, "vol", i%2 == 0)
			send(t, nc, cut)
			_ = nc.Close()
		}
		eventually(t, "only the good client is left", func() bool { return s.Stats().Conns == 1 })
		if err := good.Flush(); err != nil {
			t.Fatal(err)
		}
		memoryIsBack(t, s)
	}
}

func TestRefusedRequestsKeepTheFraming(t *testing.T) {
	ro := fullInfo("ro", 1<<20)
	ro.ReadOnly = true
	m := newMemoryBackend(fullInfo("vol", 1<<20), ro)
	_, addr := startServer(t, m, nil)
	vol, fixed := rawDial(t, addr, "vol", false), rawDial(t, addr, "ro", false)
	data := bytes.Repeat([]byte{0x25}, 5000) // looks like anything but a request
	long := make([]byte, MaxPayload+1)
	for i, c := range []struct {
		nc   net.Conn
		h    header
		data []byte
		want Errno
	}{
		{fixed, header{cmd: CmdWrite, length: 5000}, data, EPERM},
		{fixed, header{cmd: CmdTrim, length: 5000}, nil, EPERM},
		{vol, header{cmd: CmdWrite, off: 1 << 20, length: 5000}, data, ENOSPC},
		{vol, header{cmd: CmdWrite, flags: 1 << 7, length: 5000}, data, EINVAL},
		{vol, header{cmd: CmdWrite, length: MaxPayload + 1}, long, EINVAL},
		{vol, header{cmd: CmdRead, length: MaxPayload + 1}, nil, EINVAL},
		{vol, header{cmd: CmdRead, off: 1 << 20, length: 1}, nil, EINVAL},
		{vol, header{cmd: 4711, length: 5000}, nil, EINVAL},
		{vol, header{cmd: CmdBlockStatus, length: 5000}, nil, EINVAL},
		{vol, header{cmd: CmdRead}, nil, 0},
		{vol, header{cmd: CmdWrite}, nil, 0},
		{vol, header{cmd: CmdWriteZeroes}, nil, 0},
		{vol, header{cmd: CmdTrim}, nil, 0},
		{vol, header{cmd: CmdCache, length: 5000}, nil, 0},
		{vol, header{cmd: CmdFlush}, nil, 0},
		{fixed, header{cmd: CmdFlush}, nil, 0},
	} {
		send(t, c.nc, rawRequest(c.h, c.data...))
		if got := simpleReply(t, c.nc); got != c.want {
			t.Errorf("case %d, %v: %d, want %d", i, c.h.cmd, got, c.want)
		}
	}
	if !bytes.Equal(m.exports[0].content(), make([]byte, 1<<20)) {
		t.Error("a refused write reached the export")
	}
}

func TestTransmissionTracesAreStable(t *testing.T) {
	fua := header{cmd: CmdWrite, flags: FlagFUA, cookie: 0x1111, off: 4095, length: 3}
	script := bytes.Join([][]byte{
		rawRequest(fua, 'a', 'b', 'c'),
		rawRequest(header{cmd: CmdRead, cookie: 0x2222, off: 4090, length: 10}),
		rawRequest(header{cmd: CmdFlush, cookie: 0x3333}),
		rawRequest(header{cmd: CmdRead, cookie: 0x4444, off: 1 << 20, length: 1}),
		rawRequest(header{cmd: CmdRead, cookie: 0x5555}),
		rawRequest(header{cmd: CmdTrim, cookie: 0x6666, length: 4096}),
		rawRequest(header{cmd: CmdWriteZeroes, flags: FlagNoHole, cookie: 0x7777, length: 8192}),
		rawRequest(header{cmd: CmdCache, cookie: 0x8888, length: 8192}),
		rawRequest(header{cmd: CmdWrite, cookie: 0x9999, off: 1 << 20, length: 1}, 'x'),
		rawRequest(header{cmd: 77, cookie: 0xaaaa}),
		// The export fails these two.
		rawRequest(header{cmd: CmdRead, cookie: 0xbbbb, off: 512 << 10, length: 1}),
		rawRequest(header{cmd: CmdWrite, cookie: 0xcccc, off: 512 << 10, length: 1}, 'x'),
		rawRequest(header{cmd: CmdDisc}),
	}, nil)
	for _, structured := range []bool{false, true} {
		m := newMemoryBackend(fullInfo("vol", 1<<20))
		m.exports[0].hook = func(r *Request) error {
			if r.Off == 512<<10 {
				return fmt.Errorf("replica lost: %w", EIO)
			}
			return nil
		}
		_, addr := startServer(t, m, nil)
		nc := rawDial(t, addr, "vol", structured)
		send(t, nc, script)
		out, err := io.ReadAll(nc)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("client\n%sserver\n%s", hex.Dump(script), hex.Dump(out))
		golden(t, fmt.Sprintf("transmission-structured-%v.txt", structured), got)
	}
}

func TestAClientThatNeverReadsIsBoundedAndThenClosed(t *testing.T) {
	const count, size = 10_000, 64 << 10
	m := newMemoryBackend(fullInfo("vol", 4<<20))
	m.exports[0].async = true
	s, addr := startServer(t, m, func(c *Config) {
		c.WriteTimeout = 500 * time.Millisecond
		c.MaxConnBytes = 4 << 20
	})
	good := dial(t, &Dialer{}, addr, "vol")
	nc := rawDial(t, addr, "vol", false)
	start := time.Now()
	go func() { // the server stops reading long before all of this is sent
		_, _ = nc.Write(bytes.Repeat(rawRequest(header{cmd: CmdRead, length: size}), count))
	}()
	most := int64(0)
	eventually(t, "the stuck client is closed", func() bool {
		if _, err := good.WriteAt([]byte("still here"), 7); err != nil {
			t.Fatalf("the good client was hurt: %v", err)
		}
		most = max(most, s.mem.pool.Stats().InUseBytes)
		return s.Stats().Conns == 1
	})
	if limit := int64(4<<20 + buf4K); most > limit {
		t.Errorf("%d bytes of payload memory were in use, at most %d are allowed", most, limit)
	}
	if n := s.Stats().Requests; n > count/2 {
		t.Errorf("%d requests were taken in from a client that reads nothing", n)
	}
	if d := time.Since(start); d < 400*time.Millisecond {
		t.Errorf("closed after %v, before the time-out", d)
	}
	memoryIsBack(t, s)
}

// buf4K is what the good client of the test above uses.
const buf4K = 4096

func TestPipelinedReadsAllComeWhenTheClientReads(t *testing.T) {
	const count = 10_000
	for _, structured := range []bool{false, true} {
		m := newMemoryBackend(fullInfo("vol", 4<<20))
		m.exports[0].async = structured
		s, addr := startServer(t, m, func(c *Config) { c.MaxConnRequests = 32 })
		nc := rawDial(t, addr, "vol", structured)
		go func() {
			_, _ = nc.Write(bytes.Repeat(rawRequest(header{cmd: CmdRead, length: 4096}), count))
			_, _ = nc.Write(rawRequest(header{cmd: CmdDisc}))
		}()
		each := int64(simpleSize + 4096)
		if structured {
			each = dataSize + 4096
		}
		time.Sleep(20 * time.Millisecond) // let the server run into its bounds
		_ = nc.SetReadDeadline(time.Now().Add(30 * time.Second))
		if n, err := io.Copy(io.Discard, nc); err != nil || n != count*each {
			t.Errorf("structured %v: %d bytes, %v; want %d", structured, n, err, count*each)
		}
		st := s.Stats()
		t.Logf("structured %v: %d replies took %d writes", structured, st.Replies, st.Writes)
		if !structured && st.Writes > st.Replies/8 { // the export ends requests in bursts
			t.Error("nothing was coalesced")
		}
	}
}

func TestManyStuckClientsDoNotHoldUpTheServer(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 32<<20))
	m.exports[0].async = true
	s, addr := startServer(t, m, func(c *Config) {
		c.MemoryBytes = 16 << 20
		c.WriteTimeout = 3 * time.Second
	})
	for i := range 6 { // together they ask for more than all memory, in every mode of reply
		nc := rawDial(t, addr, "vol", i%2 == 0)
		size := []uint32{1 << 20, 3 << 20, MaxPayload}[i%3]
		send(t, nc, bytes.Repeat(rawRequest(header{cmd: CmdRead, length: size}), 30))
	}
	good := dial(t, &Dialer{}, addr, "vol")
	p := make([]byte, MaxPayload)
	if _, err := good.ReadAt(p, 0); err != nil {
		t.Error(err)
	}
	if _, err := good.WriteAt(p, 0); err != nil {
		t.Error(err)
	}
	eventually(t, "the stuck clients are closed", func() bool { return s.Stats().Conns == 1 })
	memoryIsBack(t, s)
}

func TestGoroutinesAreBoundedPerConnection(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 1<<20))
	_, addr := startServer(t, m, func(c *Config) { c.MaxConns = 20 })
	before := runtime.NumGoroutine()
	for range 40 {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
	}
	time.Sleep(20 * time.Millisecond)
	if n := runtime.NumGoroutine() - before; n > 20 {
		t.Errorf("%d goroutines for 20 connections in their handshake", n)
	}
}

func TestClientsOverTheBoundAreTurnedAway(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 1<<20))
	s, addr := startServer(t, m, func(c *Config) { c.MaxConns = 1 })
	first := dial(t, &Dialer{}, addr, "vol")
	if _, err := Dial(t.Context(), addr, "vol"); err == nil {
		t.Fatal("a second connection was served")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first is gone", func() bool { return s.Stats().Conns == 0 })
	dial(t, &Dialer{}, addr, "vol")
}

func TestASlowExportHoldsUpOnlyItsClient(t *testing.T) {
	m := newMemoryBackend(fullInfo("slow", 1<<20), fullInfo("fast", 1<<20))
	gate := make(chan struct{})
	m.exports[0].hook = func(*Request) error { <-gate; return nil } // blocks inside Submit
	_, addr := startServer(t, m, nil)
	slow, fast := dial(t, &Dialer{}, addr, "slow"), dial(t, &Dialer{}, addr, "fast")
	var wg sync.WaitGroup
	for range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := slow.Flush(); err != nil {
				t.Error(err)
			}
		}()
	}
	for range 100 {
		if err := fast.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	close(gate)
	wg.Wait()
}

func TestClientEndsEverythingWhenTheServerDies(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 1<<20))
	gate := make(chan struct{})
	m.exports[0].async = true
	m.exports[0].hook = func(*Request) error { <-gate; return nil }
	s, addr := startServer(t, m, nil)
	c := dial(t, &Dialer{MaxInFlight: 4}, addr, "vol")
	var wg sync.WaitGroup
	open := sync.OnceFunc(func() { close(gate) })
	for range 10 { // more than fit in flight
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := c.Flush(); err == nil {
				t.Error("flush succeeded")
			}
			open() // the export must still be left in order
		}()
	}
	eventually(t, "requests arrive", func() bool { return s.Stats().Requests == 4 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown: %v", err)
	}
	wg.Wait()
	if err := c.Do(CmdRead, 0, 0, 1, []byte{0}); err == nil {
		t.Error("a request on a dead client succeeded")
	}
}
