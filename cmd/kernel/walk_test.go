package main

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/ashlar-storage/ashlar/cmd/kernel/writelog"
)

// entries builds a log by hand: each letter is a write of one block of that letter.
func write(at int, letter byte, f writelog.Flags) *writelog.Entry {
	return &writelog.Entry{Offset: int64(at) * sectorBytes, Length: sectorBytes, Flags: f,
		Data: bytes.Repeat([]byte{letter}, sectorBytes)}
}

func mark(text string) *writelog.Entry {
	return &writelog.Entry{Flags: writelog.Mark, Text: text}
}

// walked gives the states of a log as text: point, variant, the first byte of each sector, how many
// operations were acknowledged.
func walked(t *testing.T, entries ...*writelog.Entry) (states []string, w *walker) {
	t.Helper()
	w = newWalker(bytes.Repeat([]byte{'.'}, 4*sectorBytes), 1)
	for _, e := range append([]*writelog.Entry{mark(markStart)}, entries...) {
		err := w.add(e, func(s state) {
			var image []byte
			for at := 0; at < len(s.image); at += sectorBytes {
				image = append(image, s.image[at])
			}
			states = append(states, fmt.Sprintf("%d %s %s %d", s.point,
				variantNames[s.variant], image, len(s.done)))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return states, w
}

func TestOnlyAFlushMakesAWriteDurable(t *testing.T) {
	got, _ := walked(t, write(0, 'a', 0), &writelog.Entry{Flags: writelog.Flush}, mark("done:1"),
		write(1, 'b', 0), write(2, 'c', writelog.Flush))
	want := []string{"1 bare .... 0", "", "2 bare a... 1", "", "2 whole abc. 1"}
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i, w := range want {
		if w != "" && got[i] != w {
			t.Errorf("state %d: %q, want %q", i, got[i], w)
		}
	}
}

func TestDataOfAFlushWithoutFUAIsNotDurableItself(t *testing.T) {
	got, _ := walked(t, write(0, 'a', writelog.Flush), &writelog.Entry{Flags: writelog.Flush})
	if len(got) < 3 || got[1] != "1 whole a... 0" || got[2] != "2 bare .... 0" {
		t.Errorf("%q", got)
	}
}

func TestAFUAWriteIsDurableAloneAndNotUndoneByAnOlderWrite(t *testing.T) {
	got, w := walked(t, write(0, 'a', 0), write(1, 'b', 0), write(0, 'c', writelog.FUA),
		&writelog.Entry{Flags: writelog.Flush})
	if got[0] != "1 bare .... 0" || got[2] != "1 whole cb.. 0" || got[3] != "2 bare c... 0" ||
		got[4][:8] != "2 part c" {
		t.Errorf("%q", got)
	}
	if len(w.pending) != 0 || w.image[sectorBytes] != 'b' {
		t.Errorf("after the flush: %d pending", len(w.pending))
	}
}

func TestWindowOfLoneWritesIsJudgedExactly(t *testing.T) {
	flush := &writelog.Entry{Flags: writelog.Flush}
	fine := []*writelog.Entry{write(0, 'a', 0), flush, write(1, 'b', writelog.FUA)}
	for _, c := range []struct {
		name  string
		extra *writelog.Entry
		fine  bool
	}{
		{"one each", nil, true},
		{"a flush more", flush, false},
		{"a write more", write(2, 'x', 0), false},
		{"a journal commit", write(2, 'x', writelog.Metadata), false},
		{"a discard", &writelog.Entry{Flags: writelog.Discard, Length: sectorBytes}, false},
	} {
		log := append([]*writelog.Entry{mark(markBegin)}, fine...)
		if c.extra != nil {
			log = append(log, c.extra)
		}
		_, w := walked(t, append(log, mark(markEnd))...)
		if len(w.windows) != 1 || (w.windows[0].judge(2) == nil) != c.fine {
			t.Errorf("%s: %+v", c.name, w.windows)
		}
	}
}

func TestWindowMayHaveOneHeaderForASegmentThatTheLogEnters(t *testing.T) {
	header := int64(2)
	for _, c := range []struct {
		n    window
		fine bool
	}{
		{window{data: 10, fua: 10, entered: 1}, true},
		{window{data: 11, fua: 11, entered: 1}, true},
		{window{data: 10 + header, fua: 10 + header, entered: 1}, false},
		{window{data: 11, fua: 11}, false},
		{window{data: 11, fua: 10, entered: 1}, false},
		{window{data: 9, fua: 9, entered: 1}, false},
	} {
		if (c.n.judge(10) == nil) != c.fine {
			t.Errorf("%+v: %v", c.n, c.n.judge(10))
		}
	}
}

func TestALogOfAnotherDeviceIsRefused(t *testing.T) {
	w := newWalker(make([]byte, 4*sectorBytes), 1)
	for _, e := range []*writelog.Entry{write(4, 'a', 0), mark("fsck"), mark("done:x")} {
		if err := w.add(e, func(state) {}); err == nil {
			t.Errorf("%+v is taken", e)
		}
	}
}
