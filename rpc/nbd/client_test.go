package nbd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// fakeServer accepts one connection, does an honest handshake for structured replies, reads one
// request and says what it is told.
func fakeServer(t *testing.T, say []byte) string {
	t.Helper()
	return fakeTalk(t, func(nc net.Conn) {
		if _, err := io.ReadFull(nc, make([]byte, requestSize)); err == nil {
			_, _ = nc.Write(say)
		}
	})
}

// fakeTalk accepts one connection, does an honest handshake for structured replies, and talks.
func fakeTalk(t *testing.T, talk func(nc net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = nc.Close() }()
		p := &peerless{}
		_, _ = nc.Write(p.h.greeting(nil))
		b := make([]byte, 4096)
		for p.end == nextRead && p.err == nil {
			n, err := nc.Read(b)
			if err != nil {
				return
			}
			_, _ = nc.Write(p.say(b[:n], n))
		}
		talk(nc)
		_, _ = io.Copy(io.Discard, nc)
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// firstCookie is what the client gives its first request: slot 0, used once.
const firstCookie = 1 << 32

func rawChunk(flags, kind uint16, payload ...byte) []byte {
	b := make([]byte, chunkSize)
	putChunk(b, flags, kind, firstCookie, len(payload))
	return append(b, payload...)
}

func rawData(flags uint16, off int64, data ...byte) []byte {
	b := make([]byte, dataSize)
	putData(b, flags, firstCookie, off, len(data))
	return append(b, data...)
}

func TestClientTakesChunksInAnyOrder(t *testing.T) {
	hole := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, 102), 2)
	addr := fakeServer(t, bytes.Join([][]byte{
		rawData(0, 104, 'd', 'e'), rawChunk(0, chunkHole, hole...), rawData(0, 100, 'a', 'b'),
		rawChunk(chunkFlagDone, chunkNone),
	}, nil))
	c := dial(t, &Dialer{}, addr, "vol")
	p := []byte("......")
	if _, err := c.ReadAt(p, 100); err != nil || string(p) != "ab\x00\x00de" {
		t.Errorf("%q, %v", p, err)
	}
	go func() { _ = c.nc.Close() }() // the fake server hangs up only when the client does
}

func TestClientRefusesRepliesThatMakeNoSense(t *testing.T) {
	simple := make([]byte, simpleSize)
	putSimple(simple, 0, firstCookie)
	stray := make([]byte, simpleSize)
	putSimple(stray, 0, 42)
	long := rawChunk(chunkFlagDone, chunkError)
	binary.BigEndian.PutUint32(long[16:], 1<<31)
	cases := map[string][]byte{
		"garbage":                 bytes.Repeat([]byte("x"), 64),
		"cookie of nothing":       stray,
		"simple reply to a read":  simple,
		"data beyond the request": rawData(chunkFlagDone, 100, make([]byte, 7)...),
		"data before the request": rawData(chunkFlagDone, 99, make([]byte, 6)...),
		"offset that wraps":       rawData(chunkFlagDone, -1, make([]byte, 6)...),
		"data missing":            rawData(chunkFlagDone, 100, 1, 2),
		"data twice": append(rawData(0, 100, 1, 2, 3, 4),
			rawData(chunkFlagDone, 100, 1, 2, 3)...),
		"empty data":               rawData(chunkFlagDone, 100),
		"unknown chunk":            rawChunk(chunkFlagDone, 99),
		"none with a payload":      rawChunk(chunkFlagDone, chunkNone, 1),
		"status for a read":        rawChunk(chunkFlagDone, chunkStatus, make([]byte, 12)...),
		"error without a number":   rawChunk(chunkFlagDone, chunkError, make([]byte, 6)...),
		"error text beyond itself": rawChunk(chunkFlagDone, chunkError, 0, 0, 0, 5, 0, 9),
		"error of two gigabytes":   long,
	}
	for name, say := range cases {
		t.Run(name, func(t *testing.T) {
			c := dial(t, &Dialer{}, fakeServer(t, say), "vol")
			if _, err := c.ReadAt(make([]byte, 6), 100); !errors.Is(err, ErrProtocol) {
				t.Errorf("%v, want ErrProtocol", err)
			}
		})
	}
}

// A client that keeps its depth sends the successors of what was answered together in one write.
func TestClientSendsTheSuccessorsOfOneBurstTogether(t *testing.T) {
	const depth = 8
	bursts := []int{1, depth, depth, depth} // the first answer lets the others begin
	addr := fakeTalk(t, func(nc net.Conn) {
		reqs := make([]byte, depth*requestSize)
		for _, n := range bursts {
			if _, err := io.ReadFull(nc, reqs[:n*requestSize]); err != nil {
				return
			}
			var replies []byte
			for i := range n {
				h, err := parseRequest(reqs[i*requestSize:])
				if err != nil {
					return
				}
				b := make([]byte, chunkSize)
				putChunk(b, chunkFlagDone, chunkNone, h.cookie, 0)
				replies = append(replies, b...)
			}
			_, _ = nc.Write(replies)
		}
		_, _ = io.ReadFull(nc, reqs[:requestSize]) // goodbye
		_ = nc.Close()
	})
	c := dial(t, &Dialer{MaxInFlight: depth}, addr, "vol")
	ended := make(chan error, depth)
	var reqs []*Request
	for range depth {
		left := len(bursts) - 1
		reqs = append(reqs, &Request{Cmd: CmdFlush, Done: func(r *Request) {
			if left--; left == 0 || r.Err != nil {
				ended <- r.Err
				return
			}
			c.Submit(r)
		}})
	}
	c.Submit(&Request{Cmd: CmdFlush, Done: func(*Request) { c.SubmitBatch(reqs) }})
	for range depth {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	if n := c.stats.writes.Load(); n != int64(len(bursts)) {
		t.Errorf("%d writes for %d bursts", n, len(bursts))
	}
}

// A request may have its slot when the connection ends, and be put when the receiver has gone.
func TestRequestThatRacesWithTheEndOfTheConnectionEnds(t *testing.T) {
	hangUp := make(chan struct{})
	c := dial(t, &Dialer{}, fakeTalk(t, func(nc net.Conn) {
		<-hangUp
		_ = nc.Close()
	}), "vol")
	ended := make(chan error, 1)
	s := c.prepare(&Request{Cmd: CmdFlush, Done: func(r *Request) { ended <- r.Err }}, nil)
	close(hangUp)
	if s == nil {
		t.Fatal(<-ended)
	}
	<-c.received
	c.mu.Lock()
	c.closing = true // Close has nothing left to do
	c.mu.Unlock()
	c.out.close() // nor does the writer look again
	<-c.wrote
	c.out.put(s)
	c.send()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a request that never left succeeded")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the request does not end")
	}
}

func TestClientReportsTheTextOfAnError(t *testing.T) {
	payload := errorPayload(ENOSPC, 100, "pool is full")
	say := rawChunk(chunkFlagDone, chunkErrorOffset, payload...)
	c := dial(t, &Dialer{}, fakeServer(t, say), "vol")
	_, err := c.ReadAt(make([]byte, 6), 100)
	if !errors.Is(err, ENOSPC) || !bytes.Contains([]byte(err.Error()), []byte("pool is full")) {
		t.Errorf("error is %v", err)
	}
	go func() { _ = c.nc.Close() }()
}

func TestClientRefusesRequestsThatCannotBeSaid(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 1<<20))
	_, addr := startServer(t, m, nil)
	c := dial(t, &Dialer{}, addr, "vol")
	for _, err := range []error{
		c.Do(CmdDisc, 0, 0, 0, nil), c.Trim(0, 1<<32, 0), c.Trim(0, -1, 0),
		c.Do(CmdRead, 0, 0, 2, make([]byte, 1)),
	} {
		if !errors.Is(err, EINVAL) {
			t.Errorf("%v, want EINVAL", err)
		}
	}
	if _, err := c.Extents(nil, 0, 1, 1); !errors.Is(err, ENOTSUP) {
		t.Errorf("extents: %v, want ENOTSUP", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, l.Addr().String(), "vol"); err == nil {
		t.Error("dialled a server that says nothing")
	}
}

func TestAddressesOfExports(t *testing.T) {
	for in, want := range map[string]endpoint{
		"host:1":                       {"tcp", "host:1", ""},
		"unix:/run/s":                  {"unix", "/run/s", ""},
		"nbd://host/vol":               {"tcp", "host:10809", "vol"},
		"nbd://[::1]:7/a/b":            {"tcp", "[::1]:7", "a/b"},
		"nbd+unix:///v?socket=/run/s":  {"unix", "/run/s", "v"},
		URI("unix:/run/a b", "v%/ol"):  {"unix", "/run/a b", "v%/ol"},
		URI("127.0.0.1:10809", "vol?"): {"tcp", "127.0.0.1:10809", "vol?"},
	} {
		got, err := parseEndpoint(in)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "unix:", "http://x/y", "nbd+unix:///v", "nbd://[::1/x"} {
		if got, err := parseEndpoint(bad); err == nil {
			t.Errorf("%q was understood as %+v", bad, got)
		}
	}
}

func FuzzReplies(f *testing.F) {
	f.Add(rawData(chunkFlagDone, 100, 1, 2, 3, 4), true)
	f.Add(rawChunk(chunkFlagDone, chunkError, errorPayload(EIO, -1, "x")...), true)
	f.Add(rawChunk(chunkFlagDone, chunkStatus, statusPayload([]Extent{{9, 3}})...), true)
	f.Add(make([]byte, simpleSize), false)
	f.Fuzz(func(t *testing.T, in []byte, structured bool) {
		for _, cmd := range []Cmd{CmdRead, CmdWrite, CmdBlockStatus} {
			var extents []Extent
			ended := 0
			req := &Request{Cmd: cmd, Off: 100, Len: 8, Data: make([]byte, 8)}
			req.Done = func(*Request) { ended++ }
			c := &Client{in: newInput(bytes.NewReader(in)), structured: structured,
				statusID: metaAllocationID, slots: make([]slot, 1)}
			c.room = newCond(c)
			c.slots[0] = slot{c: c, req: req, cookie: firstCookie, left: true}
			if cmd == CmdBlockStatus {
				c.slots[0].extents = &extents
			}
			err := c.receive()
			if err == nil || ended > 1 {
				t.Errorf("%v: ended %d times, error %v", cmd, ended, err)
			}
			if ended == 1 && req.Err == nil && cmd == CmdBlockStatus && len(extents) == 0 {
				t.Error("block status without extents succeeded")
			}
		}
	})
}
