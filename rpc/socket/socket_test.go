package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair is two ends of a connection over TCP.
func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if far, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

func TestReadGivesWhatIsThereAndThenTheEnd(t *testing.T) {
	near, far := pair(t)
	r := Reader(near)
	read := make(chan struct{})
	go func() {
		for _, s := range []string{"ab", "cde"} {
			time.Sleep(5 * time.Millisecond) // the reader waits by then
			_, _ = far.Write([]byte(s))
			<-read
		}
		_ = far.Close()
	}()
	p := make([]byte, 64)
	for _, want := range []string{"ab", "cde"} {
		if n, err := r.Read(p); err != nil || string(p[:n]) != want {
			t.Fatalf("%q, %v; want %q", p[:n], err, want)
		}
		read <- struct{}{}
	}
	if n, err := r.Read(p[:0]); n != 0 || err != nil {
		t.Errorf("a read of nothing gives %d, %v", n, err)
	}
	if n, err := r.Read(p); n != 0 || err != io.EOF {
		t.Errorf("%d, %v at the end", n, err)
	}
}

func TestReadFailsAsTheConnectionsOwn(t *testing.T) {
	near, _ := pair(t)
	r, p := Reader(near), make([]byte, 1)
	if err := near.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(p); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	_ = near.SetReadDeadline(time.Time{})
	time.AfterFunc(10*time.Millisecond, func() { _ = near.Close() })
	if _, err := r.Read(p); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	again, far := pair(t)
	_ = far.(*net.TCPConn).SetLinger(0)
	_ = far.Close()
	time.Sleep(10 * time.Millisecond)
	if _, err := Reader(again).Read(p); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after a reset: %v", err)
	}
}

func TestAConnectionWithoutADescriptorIsReadByItself(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	go func() { _, _ = b.Write([]byte("x")); _ = b.Close() }()
	if got, err := io.ReadAll(Reader(a)); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestVectorWritesInOrderAndStopsWhenTheSocketIsFull(t *testing.T) {
	near, far := pair(t)
	raw, err := near.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var vec [][]byte
	for i := range MaxVec + 10 {
		vec = append(vec, bytes.Repeat([]byte{byte(i)}, 1+i%3))
	}
	want := bytes.Join(vec[:MaxVec], nil)
	var v Vector
	write := func(vec [][]byte) (n int, errno syscall.Errno) {
		err := raw.Write(func(fd uintptr) bool { n, errno = v.Write(fd, vec); return true })
		if err != nil {
			t.Fatal(err)
		}
		return n, errno
	}
	if n, errno := write(vec); n != len(want) || errno != 0 {
		t.Fatalf("%d of %d bytes, %v", n, len(want), errno)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(Reader(far), got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("other bytes arrived, or %v", err)
	}
	total, large := 0, [][]byte{make([]byte, rawMax+1)}
	for {
		n, errno := write(large)
		if errno == unix.EAGAIN && n == 0 {
			break
		}
		if errno != 0 || n <= 0 || total > 1<<30 {
			t.Fatalf("%d bytes, %v after %d", n, errno, total)
		}
		total += n
	}
	for _, one := range v.iov[:cap(v.iov)] {
		if one.Base != nil {
			t.Fatal("the vector keeps memory that it wrote from")
		}
	}
}

func TestReadAndWriteAllocateNothing(t *testing.T) {
	near, far := pair(t)
	raw, err := far.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	r, p, vec := Reader(near), make([]byte, 8), [][]byte{make([]byte, 8)}
	var v Vector
	once := func(fd uintptr) bool { _, _ = v.Write(fd, vec); return true }
	if n := testing.AllocsPerRun(100, func() {
		if raw.Write(once) != nil {
			t.Error("write failed")
		}
		if _, err := io.ReadFull(r, p); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
