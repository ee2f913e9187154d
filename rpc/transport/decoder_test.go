package transport

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

func newPool(t testing.TB, bytes int64) *buf.Pool {
	t.Helper()
	p, err := buf.NewPool(buf.Config{Bytes: bytes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// plain is a message with nothing borrowed.
type plain struct {
	h             wire.Header
	meta, payload []byte
	noBuffer      bool
}

func (m plain) encode(dst []byte) []byte {
	m.h.PayloadLen = uint32(len(m.payload))
	var head [wire.HeaderSize]byte
	wire.PutHeader(head[:], m.h, m.meta)
	dst = append(dst, head[:]...)
	dst = append(dst, m.meta...)
	return append(dst, m.payload...)
}

func samplePayload(n int, seed byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = seed + byte(i*13)
	}
	return p
}

func sampleStream() (msgs []plain, stream []byte) {
	msgs = []plain{
		{h: wire.Header{Op: wire.OpPing, ID: 1}},
		{h: wire.Header{Op: wire.OpWrite, ID: 2}, meta: samplePayload(72, 1),
			payload: samplePayload(4096, 2)},
		{h: wire.Header{Op: wire.OpRead, ID: 3}, meta: samplePayload(72, 3)},
		{h: wire.Header{Op: wire.OpRaft, ID: 4}, payload: samplePayload(1, 4)},
		{h: wire.Header{Op: wire.OpWrite, ID: 5}, meta: samplePayload(300, 5),
			payload: samplePayload(1000, 6)},
	}
	for _, m := range msgs {
		stream = m.encode(stream)
	}
	return msgs, stream
}

// collect feeds the pieces and copies out the frames. Each piece is spoilt
// afterwards: nothing may point into it any more.
func collect(d *decoder, pieces ...[]byte) (got []plain, err error) {
	for _, p := range pieces {
		p = bytes.Clone(p)
		for rest := p; len(rest) > 0; {
			var f frame
			var ok bool
			if f, rest, ok, err = d.next(rest); err != nil {
				return got, err
			}
			if !ok {
				break
			}
			m := plain{h: f.Header, meta: bytes.Clone(f.Meta), noBuffer: f.noBuffer}
			m.h.MetaLen, m.h.PayloadLen = 0, 0
			if f.Payload != nil {
				m.payload = bytes.Clone(f.Payload.Bytes())
				f.Payload.Release()
			}
			got = append(got, m)
		}
		for i := range p {
			p[i] = 0xee
		}
	}
	return got, nil
}

func equalPlain(a, b plain) bool {
	return a.h == b.h && bytes.Equal(a.meta, b.meta) && bytes.Equal(a.payload, b.payload) &&
		a.noBuffer == b.noBuffer
}

func TestStreamCutAnywhereGivesTheSameFrames(t *testing.T) {
	pool := newPool(t, 4<<20)
	want, stream := sampleStream()
	check := func(what any, pieces ...[]byte) {
		t.Helper()
		d := decoder{get: pool.Get}
		got, err := collect(&d, pieces...)
		if err != nil || !slices.EqualFunc(got, want, equalPlain) || d.midFrame() {
			t.Fatalf("cut at %v: %d frames, %v", what, len(got), err)
		}
	}
	check("nothing", stream)
	for i := range stream {
		check(i, stream[:i], stream[i:])
	}
	check("every byte", slices.Collect(slices.Chunk(stream, 1))...)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var pieces [][]byte
		for rest := stream; len(rest) > 0; {
			n := min(len(rest), 1+rng.IntN(1500))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		check("random", pieces...)
	}
}

func TestMetadataInOnePieceIsNotCopied(t *testing.T) {
	m := plain{h: wire.Header{Op: wire.OpRead}, meta: samplePayload(100, 1)}
	p := m.encode(nil)
	d := decoder{}
	f, _, ok, err := d.next(p)
	if !ok || err != nil || &f.Meta[0] != &p[wire.HeaderSize] || cap(d.scratch) != 0 {
		t.Errorf("ok %v, err %v, scratch %d", ok, err, cap(d.scratch))
	}
}

func TestLengthsAreNotBelievedBeforeTheyAreVerified(t *testing.T) {
	asked := 0
	get := func(int) (*buf.Buf, error) { asked++; return nil, buf.ErrExhausted }
	m := plain{h: wire.Header{Op: wire.OpWrite}, meta: make([]byte, wire.MaxMeta),
		payload: make([]byte, wire.MaxPayload)}
	p := m.encode(nil)[:wire.HeaderSize+wire.MaxMeta]

	d := decoder{get: get}
	if _, _, ok, err := d.next(p[:wire.HeaderSize+100]); ok || err != nil || cap(d.scratch) > 1024 {
		t.Errorf("a claim of %d bytes and 100 sent: scratch of %d", wire.MaxMeta, cap(d.scratch))
	}
	p[wire.HeaderSize] ^= 1
	d = decoder{get: get}
	if _, _, _, err := d.next(p); !errors.Is(err, wire.ErrChecksum) {
		t.Errorf("spoilt metadata gives %v", err)
	}
	if asked != 0 {
		t.Errorf("asked for %d buffers", asked)
	}
}

func TestPayloadWithoutABufferIsDiscardedAndTheNextFrameRead(t *testing.T) {
	pool := newPool(t, 2<<20)
	var held []*buf.Buf
	for {
		b, err := pool.Get(wire.MaxPayload)
		if err != nil {
			break
		}
		held = append(held, b)
	}
	want, stream := sampleStream()
	for i := range want {
		if len(want[i].payload) > 0 {
			want[i].payload, want[i].noBuffer = nil, true
		}
	}
	d := decoder{get: pool.Get}
	got, err := collect(&d, slices.Collect(slices.Chunk(stream, 700))...)
	if err != nil || !slices.EqualFunc(got, want, equalPlain) {
		t.Errorf("%d frames, %v", len(got), err)
	}
	for _, b := range held {
		b.Release()
	}
}

func TestResetGivesABegunPayloadBack(t *testing.T) {
	pool := newPool(t, 2<<20)
	_, stream := sampleStream()
	for n := range len(stream) {
		d := decoder{get: pool.Get}
		if _, err := collect(&d, stream[:n]); err != nil {
			t.Fatal(err)
		}
		d.reset()
	}
	if s := pool.Stats(); s.InUseBufs != 0 {
		t.Errorf("%d buffers lost", s.InUseBufs)
	}
}

func FuzzDecoder(f *testing.F) {
	_, stream := sampleStream()
	f.Add(stream, uint16(3000))
	f.Add(stream[:40], uint16(7))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\nHost: somewhere.example\r\n"), uint16(2))
	pool, err := buf.NewPool(buf.Config{Bytes: 8 << 20})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		i := min(int(cut), len(b))
		whole, parts := decoder{get: pool.Get}, decoder{get: pool.Get}
		want, wantErr := collect(&whole, b)
		got, gotErr := collect(&parts, b[:i], b[i:])
		if (wantErr == nil) != (gotErr == nil) || !slices.EqualFunc(got, want, equalPlain) {
			t.Fatalf("cut at %d: %v and %v", i, gotErr, wantErr)
		}
		whole.reset()
		parts.reset()
		if s := pool.Stats(); s.InUseBufs != 0 {
			t.Fatalf("%d buffers lost", s.InUseBufs)
		}
	})
}
