package uring

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tcpPair is two ends of a connection, and the descriptor of the first.
func tcpPair(t *testing.T) (fd int, near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if near, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	raw, err := near.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(p uintptr) { fd = int(p) }); err != nil {
		t.Fatal(err)
	}
	return fd, near, far
}

// reapOne waits for one completion.
func reapOne(t *testing.T, r *Ring) CQE {
	t.Helper()
	var cqes [1]CQE
	for end := time.Now().Add(10 * time.Second); r.Reap(cqes[:]) == 0; {
		if err := r.WaitFor(time.Second); err != nil || time.Now().After(end) {
			t.Fatalf("no completion: %v", err)
		}
	}
	return cqes[0]
}

func sendZC(t *testing.T, r *Ring, fd int, msg *unix.Msghdr) {
	t.Helper()
	next(t, r, 7).SendmsgZC(fd, msg)
	if _, err := r.Submit(); err != nil {
		t.Fatal(err)
	}
}

func gathered(parts ...[]byte) *unix.Msghdr {
	iov := make([]unix.Iovec, len(parts))
	for i, p := range parts {
		iov[i] = Vec(p)
	}
	msg := &unix.Msghdr{Iov: &iov[0]}
	msg.SetIovlen(len(iov))
	return msg
}

func needSendZC(t *testing.T, r *Ring) {
	t.Helper()
	if !r.Supports(OpSendmsgZC) || !r.Timed() {
		t.Skip("the kernel has no zero-copy send: Linux 6.1 is needed")
	}
}

func TestZeroCopySendCompletesAndThenLetsItsMemoryGo(t *testing.T) {
	r := newRing(t, Config{Entries: 8})
	needSendZC(t, r)
	fd, _, far := tcpPair(t)
	head, body := []byte("head"), bytes.Repeat([]byte("payload."), 4<<10)
	sendZC(t, r, fd, gathered(head, body))
	want := append(bytes.Clone(head), body...)
	first := reapOne(t, r)
	if first.UserData != 7 || int(first.Res) != len(want) || !first.More() || first.Notif() {
		t.Fatalf("first completion %+v", first)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("other bytes arrived, or %v", err)
	}
	second := reapOne(t, r)
	if second.UserData != 7 || !second.Notif() || second.More() {
		t.Fatalf("second completion %+v", second)
	}
	if !second.Copied() {
		t.Errorf("the loopback hands pages to its reader: it never did: %+v", second)
	}
}

// A socket that does not block and is full is waited for, not refused.
func TestZeroCopySendWaitsForAFullSocketAndEndsAtItsShutdown(t *testing.T) {
	r := newRing(t, Config{Entries: 8, CQEntries: 512})
	needSendZC(t, r)
	fd, _, _ := tcpPair(t)
	msg := gathered(make([]byte, 1<<20))
	if n := fillBySends(t, r, fd, msg); n == 0 || n > 200 {
		t.Fatalf("%d sends of 1 MiB until the socket was full", n)
	}
	if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	for c := reapOne(t, r); ; c = reapOne(t, r) {
		if !c.Notif() {
			if c.Res != -int32(unix.EPIPE) {
				t.Errorf("after the shutdown: %+v", c)
			}
			return
		}
	}
}

// fillBySends sends msg until one has not completed for a while, and counts those that have.
func fillBySends(t *testing.T, r *Ring, fd int, msg *unix.Msghdr) (n int) {
	t.Helper()
	var cqes [8]CQE
	for ; n <= 200; n++ {
		sendZC(t, r, fd, msg)
		done := false
		for end := time.Now().Add(100 * time.Millisecond); !done && time.Now().Before(end); {
			if err := r.WaitFor(10 * time.Millisecond); err != nil {
				t.Fatal(err)
			}
			for _, c := range cqes[:r.Reap(cqes[:])] {
				if done = done || !c.Notif(); !c.Notif() && c.Res <= 0 {
					t.Fatalf("a full socket refuses: %+v", c)
				}
			}
		}
		if !done {
			break
		}
	}
	return n
}
