package client

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// fetched joins what a fetch brought, and lets it go.
func fetched(t *testing.T, v *Volume, off, n int64) (data []byte, sizes []int) {
	t.Helper()
	bufs, err := v.Fetch(off, n)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bufs {
		data = append(data, b.Bytes()...)
		sizes = append(sizes, len(b.Bytes()))
		b.Release()
	}
	return data, sizes
}

func filledBuffer(t *testing.T, c *Client, seed uint64, n int) *buf.Buf {
	t.Helper()
	b, err := c.Buffer(n)
	if err != nil {
		t.Fatal(err)
	}
	copy(b.Bytes(), fill(seed, n))
	return b
}

// nothingIsHeld waits until all buffers are back: who sends gives its reference back after the
// write to the socket returns, and the answer may be here before.
func nothingIsHeld(t *testing.T, v *Volume) {
	t.Helper()
	held := func() int64 { return v.c.Pool().Stats().InUseBufs }
	for end := time.Now().Add(10 * time.Second); held() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d buffers are still held", held())
		}
	}
}

func TestBuffersAreWrittenAndFetchedWithoutACopy(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	for _, c := range []struct{ off, n int64 }{
		{0, 4096}, {4096, 8192}, {1, 1}, {65535, 2}, {100, 300_000}, {f.size - 5, 5},
	} {
		b := filledBuffer(t, v.c, uint64(c.n), int(c.n))
		if err := v.WriteBuf(b, c.off); err != nil {
			t.Fatal(err)
		}
		got, _ := fetched(t, v, c.off, c.n)
		if !bytes.Equal(got, b.Bytes()) {
			t.Errorf("fetch of %d at %d: other bytes than written", c.n, c.off)
		}
		b.Release()
	}
	if n := v.Stats().CopiedBytes; n != 0 {
		t.Errorf("%d bytes were copied", n)
	}
	for _, m := range v.c.Traffic() {
		if m.Sent.Copied != 0 || m.Sent.Bytes == 0 {
			t.Errorf("%+v", m)
		}
	}
	mustRead(t, v, make([]byte, 0), 0)
	if _, err := v.ReadAt(make([]byte, 100), 0); err != nil || v.Stats().CopiedBytes != 100 {
		t.Errorf("%d bytes copied by a read of 100, %v", v.Stats().CopiedBytes, err)
	}
	nothingIsHeld(t, v)
}

func TestFetchGivesABufferForEachRequestInOrder(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	p := fill(5, 200_000)
	mustWrite(t, v, p, 60_000)
	f.react(func(_ *fakeNode, op wire.Op, r *wire.IORequest) reaction { // the later, the sooner
		return reaction{delay: time.Duration(20-5*r.Chunk) * time.Millisecond}
	})
	got, sizes := fetched(t, v, 60_000, 200_000)
	if want := []int{5536, 65536, 65536, 63392}; !slices.Equal(sizes, want) {
		t.Errorf("buffers of %v, want %v", sizes, want)
	}
	if !bytes.Equal(got, p) {
		t.Error("the buffers are not in order")
	}
}

func TestPartOfABufferIsWritten(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	b := filledBuffer(t, v.c, 3, 100_000)
	op := &Op{Kind: OpWrite, Off: 10, Buf: b, Data: b.Bytes()[5000:90_000]}
	if err := submitWait(v, op); err != nil {
		t.Fatal(err)
	}
	mustRead(t, v, b.Bytes()[5000:90_000], 10)
	other := filledBuffer(t, v.c, 3, 100)
	for _, bad := range []*Op{
		{Kind: OpWrite, Buf: other, Data: b.Bytes()[:4096]},
		{Kind: OpWrite, Data: b.Bytes()[:4096]},
		{Kind: OpFetch, Len: MaxOpBytes + 1},
	} {
		if err := submitWait(v, bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := submitWait(v, &Op{Kind: OpFetch, Off: f.size, Len: 1}); !errors.Is(err,
		ErrOutOfRange) {
		t.Errorf("fetch past the end: %v", err)
	}
	b.Release()
	other.Release()
}

func TestFetchThatFailsHoldsNothing(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	f.react(func(_ *fakeNode, _ wire.Op, r *wire.IORequest) reaction {
		if r.Chunk == 2 {
			return reaction{status: wire.StatusNoSpace}
		}
		return reaction{}
	})
	op := &Op{Kind: OpFetch, Len: 256 << 10}
	if err := submitWait(v, op); !errors.Is(err, ErrNoSpace) || len(op.Bufs) != 0 {
		t.Errorf("%v with %d buffers", err, len(op.Bufs))
	}
	nothingIsHeld(t, v)
}

// The first attempt is answered long after the second one was, and with other bytes.
func TestAnswerThatComesTooLateReachesNoBufferOfTheCaller(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	p := fill(8, 4096)
	mustWrite(t, v, p, 0)
	first := true
	f.nodes[0].react(func(_ *fakeNode, op wire.Op, _ *wire.IORequest) reaction {
		if op == wire.OpRead && first {
			first = false
			return reaction{delay: attemptTimeout + 600*time.Millisecond}
		}
		return reaction{}
	})
	bufs, err := v.Fetch(0, 4096)
	if err != nil || len(bufs) != 1 {
		t.Fatalf("%d buffers, %v", len(bufs), err)
	}
	mustWrite(t, v, fill(9, 4096), 0)
	time.Sleep(time.Second)
	if !bytes.Equal(bufs[0].Bytes(), p) {
		t.Error("the buffer changed after Done")
	}
	bufs[0].Release()
	if s := v.Stats(); s.Silent == 0 {
		t.Errorf("no attempt was given up: %+v", s)
	}
}

func TestBuffersOfRequestsThatNeverLeftAreGivenBack(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	hasten(v, 300*time.Millisecond)
	f.stopNodes()
	b := filledBuffer(t, v.c, 1, 8192)
	for _, data := range [][]byte{nil, b.Bytes()[:4096]} {
		err := submitWait(v, &Op{Kind: OpWrite, Buf: b, Data: data})
		if !errors.Is(err, ErrTimeout) {
			t.Errorf("%v", err)
		}
	}
	b.Release()
	nothingIsHeld(t, v)
}

func BenchmarkWriteBufQD32(b *testing.B) {
	benchOps(b, 32, func(v *Volume, op *Op) {
		op.Kind = OpWrite
		op.Buf, _ = v.c.Buffer(4096)
	})
}

func BenchmarkFetchQD32(b *testing.B) {
	benchOps(b, 32, func(_ *Volume, op *Op) { op.Kind, op.Len = OpFetch, 4096 })
}
