package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		t.Errorf("%s changed on the wire:\n%swant\n%s", name, b.String(), want)
	}
}

func sampleHeader() Header {
	return Header{Op: OpWrite, ID: 0x1122334455667788, PayloadLen: 8192}
}

func encodeHeader(h Header, meta []byte) []byte {
	b := make([]byte, HeaderSize)
	PutHeader(b, h, meta)
	return b
}

func TestHeaderRoundTrip(t *testing.T) {
	for _, h := range []Header{
		sampleHeader(),
		{Op: OpRead, Flags: FlagResponse, ID: 1, Status: StatusNotLeader},
		{Op: OpRaft, PayloadLen: MaxPayload},
		{Op: 200, ID: ^uint64(0)},
	} {
		meta := []byte("some metadata")
		b := encodeHeader(h, meta)
		got, err := ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		h.MetaLen = uint32(len(meta))
		if got != h {
			t.Errorf("got %+v, want %+v", got, h)
		}
		if err := VerifyMeta(b, meta); err != nil {
			t.Error(err)
		}
	}
}

func TestHeaderBytesAreStable(t *testing.T) {
	meta := []byte{1, 2, 3}
	golden(t, "header.txt", append(encodeHeader(sampleHeader(), meta), meta...))
}

func TestHeaderWithOneBadFieldIsRefusedByName(t *testing.T) {
	le := binary.LittleEndian
	for _, tc := range []struct {
		name  string
		spoil func(b []byte)
		class error
		says  string
	}{
		{"magic", func(b []byte) { b[0] ^= 1 }, ErrMagic, "magic"},
		{"version", func(b []byte) { b[4] = 2 }, ErrVersion, "frame version 2"},
		{"op", func(b []byte) { b[5] = 0 }, ErrHeader, "op"},
		{"flags", func(b []byte) { b[6] |= 2 }, ErrHeader, "flags"},
		{"meta", func(b []byte) { le.PutUint32(b[16:], MaxMeta+1) }, ErrHeader, "meta length"},
		{"payload", func(b []byte) { le.PutUint32(b[20:], MaxPayload+1) }, ErrHeader, "payload"},
		{"request status", func(b []byte) { b[24] = 1 }, ErrHeader, "status"},
		{"reserved", func(b []byte) { b[27] = 1 }, ErrHeader, "reserved"},
	} {
		b := encodeHeader(sampleHeader(), nil)
		tc.spoil(b)
		_, err := ParseHeader(b)
		if !errors.Is(err, tc.class) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: got %v, want class %v naming %q", tc.name, err, tc.class, tc.says)
		}
	}
	for n := range HeaderSize {
		if _, err := ParseHeader(make([]byte, n)); !errors.Is(err, ErrHeader) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestEveryFlippedBitOfHeaderAndMetaIsCaught(t *testing.T) {
	meta := []byte("metadata")
	frame := append(encodeHeader(sampleHeader(), meta), meta...)
	for bit := range len(frame) * 8 {
		b := bytes.Clone(frame)
		b[bit/8] ^= 1 << (bit % 8)
		_, err := ParseHeader(b)
		if err == nil {
			err = VerifyMeta(b[:HeaderSize], b[HeaderSize:])
		}
		if err == nil {
			t.Errorf("bit %d went unnoticed", bit)
		}
	}
}

func TestStatusAndClassesMapBothWays(t *testing.T) {
	seen := map[string]bool{}
	for s := StatusOK; int(s) < len(statuses); s++ {
		if s.String() == "" || seen[s.String()] {
			t.Errorf("status %d has no name of its own: %q", s, s)
		}
		seen[s.String()] = true
		if got := StatusOf(s.Err()); got != s {
			t.Errorf("%v comes back as %v", s, got)
		}
		if s != StatusOK && StatusOf(fmt.Errorf("around: %w", s.Err())) != s {
			t.Errorf("%v is lost in a wrapped error", s)
		}
	}
	err := Status(999).Err()
	if !errors.Is(err, ErrInternal) || !strings.Contains(err.Error(), "999") {
		t.Errorf("unknown status gives %v", err)
	}
	if s := StatusOf(errors.New("else")); s != StatusInternal {
		t.Errorf("foreign error gives %v", s)
	}
}

func FuzzHeader(f *testing.F) {
	meta := []byte("meta")
	f.Add(append(encodeHeader(sampleHeader(), meta), meta...))
	f.Add(make([]byte, HeaderSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			return
		}
		if h.MetaLen > MaxMeta || h.PayloadLen > MaxPayload {
			t.Fatalf("lengths past the limits: %+v", h)
		}
		rest := b[HeaderSize:]
		if len(rest) < int(h.MetaLen) || VerifyMeta(b, rest[:h.MetaLen]) != nil {
			return
		}
		if again := encodeHeader(h, rest[:h.MetaLen]); !bytes.Equal(again, b[:HeaderSize]) {
			t.Fatalf("accepted bytes do not encode back:\n% x\n% x", b[:HeaderSize], again)
		}
	})
}
