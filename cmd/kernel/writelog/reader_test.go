package writelog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

// made is a log as the kernel writes it: the entries, each with its data behind it.
func made(entries ...Entry) []byte {
	b := make([]byte, 512)
	binary.LittleEndian.PutUint64(b, 0x6a736677736872)
	binary.LittleEndian.PutUint64(b[8:], 1)
	binary.LittleEndian.PutUint64(b[16:], uint64(len(entries)))
	binary.LittleEndian.PutUint32(b[24:], 512)
	for _, e := range entries {
		head := make([]byte, 512)
		binary.LittleEndian.PutUint64(head, uint64(e.Offset/512))
		binary.LittleEndian.PutUint64(head[8:], uint64(e.Length/512))
		binary.LittleEndian.PutUint64(head[16:], uint64(e.Flags))
		binary.LittleEndian.PutUint64(head[24:], uint64(len(e.Text)))
		copy(head[32:], e.Text)
		b = append(append(b, head...), e.Data...)
	}
	return b
}

func sample() []Entry {
	return []Entry{
		{Offset: 4096, Length: 1024, Data: bytes.Repeat([]byte{7}, 1024)},
		{Flags: Mark, Text: "a 17"},
		{Offset: 512, Length: 1 << 30, Flags: Discard},
		{Flags: Flush},
		{Offset: 8192, Length: 512, Flags: Flush | FUA | Metadata, Data: make([]byte, 512)},
	}
}

func TestEntriesComeBackAsTheKernelWroteThem(t *testing.T) {
	want := sample()
	r, err := Open(bytes.NewReader(made(want...)))
	if err != nil || r.Entries() != uint64(len(want)) {
		t.Fatalf("%v, %d entries", err, r.Entries())
	}
	var e Entry
	for i, w := range want {
		if err := r.Next(&e); err != nil {
			t.Fatal(err)
		}
		if e.Offset != w.Offset || e.Length != w.Length || e.Flags != w.Flags ||
			e.Text != w.Text || !bytes.Equal(e.Data, w.Data) {
			t.Errorf("entry %d: %+v, want %+v", i, e, w)
		}
	}
	if err := r.Next(&e); err != io.EOF {
		t.Errorf("after the last entry: %v", err)
	}
}

func TestALogCutShortAnywhereIsRefused(t *testing.T) {
	whole := made(sample()...)
	for n := 0; n < len(whole); n += 128 {
		r, err := Open(bytes.NewReader(whole[:n]))
		var e Entry
		for err == nil {
			err = r.Next(&e)
		}
		if !errors.Is(err, ErrFormat) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestForeignBytesAreRefused(t *testing.T) {
	for _, at := range []int{0, 8, 25, 512 + 17, 512 + 14, 512 + 7} {
		b := made(sample()...)
		b[at] ^= 0x55
		r, err := Open(bytes.NewReader(b))
		var e Entry
		for err == nil {
			err = r.Next(&e)
		}
		if !errors.Is(err, ErrFormat) {
			t.Errorf("byte %d changed: %v", at, err)
		}
	}
}
