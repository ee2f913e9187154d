package server

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// send writes bytes on a connection of its own and returns whether the server closed it.
func send(t *testing.T, addr string, b []byte) (closed bool) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(b); err != nil {
		return true
	}
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
	_, err = io.Copy(io.Discard, c)
	nerr, ok := err.(net.Error)
	return !ok || !nerr.Timeout()
}

func TestGarbageClosesItsConnectionAndNoOther(t *testing.T) {
	w := newWorld(t, 3, nil)
	addr := w.srv.Addr().String()
	rng := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	huge := make([]byte, 64)
	binary.BigEndian.PutUint32(huge, 1<<31-1) // frame length
	binary.BigEndian.PutUint16(huge[4:], 0x1000)
	for name, b := range map[string][]byte{
		"noise": noise,
		"http":  []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"tls":   append([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, noise[:500]...),
		"huge":  huge,
	} {
		if !send(t, addr, b) {
			t.Errorf("%s: the connection stays open", name)
		}
		if s := w.status(); s.Health != "ok" {
			t.Errorf("%s: %v", name, s.Problems)
		}
	}
}

func TestConcurrentCallsOfAllKindsAgree(t *testing.T) {
	w := newWorld(t, 3, nil)
	const each = 20
	done := make(chan error, 4)
	run := func(fn func(i int) error) {
		go func() {
			var err error
			for i := 0; i < each && err == nil; i++ {
				err = fn(i)
			}
			done <- err
		}()
	}
	name := func(i int) string { return string(rune('a' + i)) }
	run(func(i int) error {
		_, err := w.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: name(i), SizeBytes: 1})
		return err
	})
	run(func(int) error { return w.nodes[0].beat(w.raft) })
	run(func(int) error { w.tick(time.Millisecond); return nil })
	run(func(int) error {
		_, err := w.Admin.ListCopysets(ctx, &v1.ListCopysetsRequest{})
		if err == nil {
			_, err = w.Admin.ClusterStatus(ctx, &v1.ClusterStatusRequest{})
		}
		return err
	})
	for range cap(done) {
		w.ok(<-done)
	}
	if got := w.volumeNames(); len(got) != each {
		t.Fatalf("%v", got)
	}
	_, err := w.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: name(0), SizeBytes: 1})
	has(t, err, admin.ErrExists)
}
