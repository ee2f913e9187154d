package nbd

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/ashlar-storage/ashlar/io/buf"
)

// The export answers reads with buffers of the server's pool, as one does that got them elsewhere;
// a third of the pieces fails.
func TestReadsAnsweredWithBuffersOfTheExportArriveAndGiveThemBack(t *testing.T) {
	pool, err := buf.NewPool(buf.Config{Bytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	m := newMemoryBackend(fullInfo("disk", 6<<20))
	e := m.exports[0]
	for i := range e.data {
		e.data[i] = byte(i*13 ^ i>>11)
	}
	want := bytes.Clone(e.data)
	var fails, lent atomic.Bool
	lent.Store(true)
	e.setHook(func(r *Request) error {
		switch {
		case r.Cmd == CmdWrite && (r.Buf == nil || !r.Buf.Holds(r.Data)):
			lent.Store(false)
		case r.Cmd == CmdRead && fails.Load() && r.Off/MaxRequest%3 == 2:
			return ENOSPC
		case r.Cmd == CmdRead:
			b, err := pool.Get(len(r.Data))
			if err != nil {
				return err
			}
			copy(b.Bytes(), want[r.Off:])
			r.Got = b
		}
		return nil
	})
	s, addr := startServer(t, m, func(c *Config) { c.Pool = pool })
	for _, simple := range []bool{false, true} {
		c := dial(t, &Dialer{SimpleReplies: simple}, addr, "disk")
		for _, n := range []int{1, 5000, 1 << 20, 3<<20 + 77, 6 << 20} {
			p := make([]byte, n)
			fails.Store(false)
			if _, err := c.ReadAt(p, int64(len(want)-n)); err != nil ||
				!bytes.Equal(p, want[len(want)-n:]) {
				t.Errorf("simple %v: read of %d: %v", simple, n, err)
			}
			fails.Store(n == 3<<20+77)
			if _, err := c.ReadAt(p, 0); fails.Load() && !errors.Is(err, ENOSPC) {
				t.Errorf("simple %v: a read that must fail: %v", simple, err)
			}
		}
		if _, err := c.WriteAt(want[:9000], 0); err != nil || !lent.Load() {
			t.Errorf("write: %v, from a buffer of the pool: %v", err, lent.Load())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
}
