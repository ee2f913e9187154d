package transport

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// BenchmarkZeroCopy compares the settings of the switch side by side, with depth 8 in flight:
// "read" asks for payload, which the server sends, "write" sends it. cpu-us is the processor time
// of both ends for each. It uses the loopback, or two network namespaces that a veth pair joins:
//
//	ip netns add a; ip netns add b
//	ip -n a link add v0 type veth peer name v1 netns b
//	ip -n a addr add 10.9.9.1/24 dev v0; ip -n a link set v0 up
//	ip -n b addr add 10.9.9.2/24 dev v1; ip -n b link set v1 up
//	go test -run '^$' -bench ZeroCopy -namespaces=/run/netns/a,10.9.9.1,/run/netns/b

var namespaces = flag.String("namespaces", "",
	"of the server, its address, and of the client: PATH,IP,PATH")

func BenchmarkZeroCopy(b *testing.B) {
	for _, kind := range []string{"read", "write"} {
		for _, size := range []int{16 << 10, 64 << 10, 128 << 10, 1 << 20} {
			for _, zero := range []string{"off", "auto", "1"} {
				b.Run(fmt.Sprintf("%s/%dKiB/%s", kind, size>>10, zero), func(b *testing.B) {
					z, err := ParseZeroCopy(zero)
					if err != nil {
						b.Fatal(err)
					}
					benchZeroCopy(b, kind == "read", size, z)
				})
			}
		}
	}
}

func benchZeroCopy(b *testing.B, read bool, size int, zero ZeroCopy) {
	const depth = 8
	pool := newPool(b, 64<<20)
	payload, err := pool.Get(size)
	if err != nil {
		b.Fatal(err)
	}
	defer payload.Release()
	h := &testHandler{onMessage: func(c ServerConn, m *Message) {
		m.done()
		answer := Message{Header: response(m.Header)}
		if read {
			answer.Payload = payload.Retain()
		}
		c.Reply([]Message{answer})
	}}
	c := benchConn(b, h, pool, zero)
	one := func() {
		m := Message{Header: wire.Header{Op: wire.OpWrite}}
		if !read {
			m.Payload = payload.Retain()
		}
		if err := c.Send([]Message{m}); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(size))
	cpu := processorTime(b)
	b.ResetTimer()
	for i := range b.N + depth {
		if i < b.N {
			one()
		}
		if i < depth {
			continue
		}
		m, err := c.Recv()
		if err != nil {
			b.Fatal(err)
		}
		m.done()
	}
	b.StopTimer()
	b.ReportMetric(float64((processorTime(b)-cpu).Nanoseconds())/1e3/float64(b.N), "cpu-us/op")
	_ = c.Close()
}

func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchConn starts a server and dials it, each in its namespace.
func benchConn(b *testing.B, h *testHandler, pool *buf.Pool, zero ZeroCopy) (c Conn) {
	var from, ip, to string
	addr := "127.0.0.1:0"
	if *namespaces != "" {
		parts := [3]*string{&from, &ip, &to}
		for i, s := range strings.Split(*namespaces, ",") {
			*parts[i%3] = s
		}
		addr = ip + ":0"
	}
	var s *Server
	inNamespace(b, from, func() {
		s = startServer(b, addr, h, ServerConfig{Pool: pool, Loops: 1, ZeroCopy: zero})
	})
	inNamespace(b, to, func() {
		var err error
		c, err = Dial(b.Context(), s.Addr(), Config{Pool: pool, ZeroCopy: zero})
		if err != nil {
			b.Fatal(err)
		}
	})
	return c
}

// inNamespace calls f on a thread that is in a network namespace; sockets stay where they are made.
func inNamespace(b *testing.B, path string, f func()) {
	if path == "" {
		f()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	enter := func(path string) {
		ns, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			b.Fatal(err)
		}
	}
	own := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
	home, err := os.Open(own)
	if err != nil {
		b.Fatal(err)
	}
	defer home.Close()
	enter(path)
	defer func() {
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			b.Fatal(err)
		}
	}()
	f()
}
