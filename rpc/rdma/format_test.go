package rdma

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares a hex dump with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var b strings.Builder
	for i := 0; i < len(got); i += 16 {
		fmt.Fprintf(&b, "%04x % x\n", i, got[i:min(i+16, len(got))])
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s changed:\n%swant\n%s", name, b.String(), want)
	}
}

func encodeSlot(s *slot) []byte {
	b := make([]byte, SlotSize)
	return b[:putSlot(b, s)]
}

// sampleSlots has every kind of message.
func sampleSlots() map[string]*slot {
	head := make([]byte, wire.HeaderSize)
	wire.PutHeader(head, wire.Header{Op: wire.OpWrite, ID: 7, PayloadLen: 300}, []byte("meta"))
	return map[string]*slot{
		"head": {kind: kindHead, flags: flagRoom, credits: 5, taken: 0x11223344,
			pieces: descs(desc{0x1122334455667788, 0x99aabbcc, 100}, desc{1 << 40, 2, 200}),
			room:   desc{1 << 41, 3, 4096}, body: append(head, "meta"...)},
		"placed": {kind: kindHead, flags: flagPlaced, body: head},
		"tell": {kind: kindHead, flags: flagTell, pieces: descs(desc{1 << 40, 2, 300}),
			body: head},
		"more":  {kind: kindMore, credits: 1, body: []byte("what did not fit")},
		"done":  {kind: kindDone, credits: 16, taken: 9},
		"proof": {kind: kindProof, body: make([]byte, proofSize)},
		"bye":   {kind: kindBye},
	}
}

func TestMessagesKeepTheirFormat(t *testing.T) {
	for name, s := range sampleSlots() {
		b := encodeSlot(s)
		golden(t, "message-"+name+".txt", b)
		got, err := parseSlot(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if again := encodeSlot(&got); !bytes.Equal(again, b) {
			t.Errorf("%s: encodes back as\n% x\n% x", name, again, b)
		}
	}
}

func sampleIntro() intro {
	i := intro{flags: introKey, credits: 32, slotSize: SlotSize}
	copy(i.nonce[:], "sixteen bytes 16")
	return i
}

func TestPrivateDataKeepsItsFormat(t *testing.T) {
	i := sampleIntro()
	b := i.appendTo(nil)
	golden(t, "intro.txt", b)
	if len(b) != introSize {
		t.Errorf("%d bytes", len(b))
	}
	got, err := parseIntro(append(b, 0, 0, 0)) // cards pad
	i.version = FormatVersion
	if err != nil || got != i {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestProofsAreOfTheirConnectionAndRole(t *testing.T) {
	key, other := bytes.Repeat([]byte{1}, MinKey), bytes.Repeat([]byte{2}, MinKey)
	a, b := [nonceSize]byte{1}, [nonceSize]byte{2}
	golden(t, "proof.txt", proof(key, true, a, b))
	seen := map[string]bool{}
	for _, p := range [][]byte{proof(key, true, a, b), proof(key, false, a, b),
		proof(key, true, b, a), proof(key, true, a, a), proof(other, true, a, b)} {
		if seen[string(p)] {
			t.Error("a proof is good twice")
		}
		seen[string(p)] = true
	}
}

func TestMalformedMessagesAreRefused(t *testing.T) {
	head := *sampleSlots()["head"]
	as := func(k kind) func(b []byte) []byte {
		return func(b []byte) []byte { b[3], b[4], b[5] = byte(k), 0, 0; return b }
	}
	for name, f := range map[string]func(b []byte) []byte{
		"short":         func(b []byte) []byte { return b[:slotHead-1] },
		"magic":         func(b []byte) []byte { b[0]++; return b },
		"kind 0":        func(b []byte) []byte { b[3] = 0; return b },
		"kind unknown":  func(b []byte) []byte { b[3] = 6; return b },
		"pieces":        func(b []byte) []byte { b[4] = MaxPieces + 1; return b },
		"flags":         func(b []byte) []byte { b[5] |= 8; return b },
		"placed pieces": func(b []byte) []byte { b[5] |= flagPlaced; return b },
		"cut":           func(b []byte) []byte { return b[:slotHead+40] },
		"reserved 12":   func(b []byte) []byte { b[12] = 1; return b },
		"reserved 15":   func(b []byte) []byte { b[15] = 1; return b },
		"room too big":  func(b []byte) []byte { b[slotHead+2*descSize+15] = 1; return b },
		"done + body":   as(kindDone),
		"bye + body":    as(kindBye),
		"proof":         as(kindProof),
		"more + pieces": func(b []byte) []byte { b[3] = byte(kindMore); return b },
	} {
		if _, err := parseSlot(f(encodeSlot(&head))); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := encodeSlot(&head)
	b[2] = 2
	if _, err := parseSlot(b); !errors.Is(err, wire.ErrVersion) {
		t.Errorf("version: %v", err)
	}
}

func TestMalformedPrivateDataIsRefused(t *testing.T) {
	good := sampleIntro()
	for name, f := range map[string]func(b []byte) []byte{
		"short":      func(b []byte) []byte { return b[:introSize-1] },
		"magic":      func(b []byte) []byte { b[0]++; return b },
		"flags":      func(b []byte) []byte { b[6] |= 2; return b },
		"no credits": func(b []byte) []byte { b[8] = 0; return b },
		"credits":    func(b []byte) []byte { b[9] = 3; return b },
		"reason":     func(b []byte) []byte { b[10] = byte(reasonEnd); return b },
		"slot size":  func(b []byte) []byte { b[12] = 1; return b },
		"reserved":   func(b []byte) []byte { b[32] = 1; return b },
		"padding":    func(b []byte) []byte { return append(b, 0, 1) },
	} {
		if _, err := parseIntro(f(good.appendTo(nil))); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := good.appendTo(nil)
	b[4] = 9
	if _, err := parseIntro(b); !errors.Is(err, wire.ErrVersion) {
		t.Errorf("version: %v", err)
	}
}

func FuzzMessage(f *testing.F) {
	for _, s := range sampleSlots() {
		f.Add(encodeSlot(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSlot(b)
		if err != nil {
			return
		}
		if len(s.pieces) > MaxPieces*descSize || s.room.size > wire.MaxPayload {
			t.Fatalf("past the limits: %+v", s)
		}
		if again := encodeSlot(&s); !bytes.Equal(again, b) {
			t.Fatalf("accepted bytes do not encode back:\n% x\n% x", b, again)
		}
	})
}

func FuzzPrivateData(f *testing.F) {
	i := sampleIntro()
	f.Add(i.appendTo(nil))
	f.Add(append(i.appendTo(nil), make([]byte, 16)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := parseIntro(b)
		if err != nil {
			return
		}
		if again := i.appendTo(nil); !bytes.Equal(again, b[:introSize]) {
			t.Fatalf("accepted bytes do not encode back:\n% x\n% x", b, again)
		}
	})
}
