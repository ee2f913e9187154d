package nbd

import (
	"bytes"
	"fmt"
	"testing"
)

const testSize = 1 << 20

// judges are the sessions that the table of requests is held against.
func judges() map[string]session {
	ro, blocks := fullInfo("v", testSize), fullInfo("v", testSize)
	ro.ReadOnly, blocks.MinBlock = true, 512
	full := agreement{info: fullInfo("v", testSize), structured: true, allocation: true}
	out := map[string]session{}
	for name, a := range map[string]agreement{
		"full": full, "simple": {info: full.info}, "ro": {info: ro}, "blocks": {info: blocks},
		"bare": {info: ExportInfo{Size: testSize}},
	} {
		a.info = a.info.withDefaults()
		out[name] = newSession(a)
	}
	return out
}

// judged is a request and the error number it must get.
type judged struct {
	who  string // of judges
	h    header
	want Errno
}

const farOff = ^uint64(0)

var judgedReads = []judged{
	{"full", header{cmd: CmdRead, length: 1}, 0},
	{"full", header{cmd: CmdRead, off: testSize - 1, length: 1}, 0},
	{"full", header{cmd: CmdRead, off: testSize - 1, length: 2}, EINVAL},
	{"full", header{cmd: CmdRead, off: farOff, length: 2}, EINVAL},
	{"full", header{cmd: CmdRead}, 0},
	{"full", header{cmd: CmdRead, off: testSize}, 0},
	{"full", header{cmd: CmdRead, length: MaxPayload + 1}, EOVERFLOW},
	{"simple", header{cmd: CmdRead, length: MaxPayload + 1}, EINVAL},
	{"full", header{cmd: CmdRead, flags: FlagDF, length: 65536}, 0},
	{"full", header{cmd: CmdRead, flags: FlagDF, length: dontFragmentMax + 1}, EOVERFLOW},
	{"simple", header{cmd: CmdRead, flags: FlagDF, length: 1}, EINVAL},
	{"full", header{cmd: CmdRead, flags: FlagFUA, length: 1}, 0},
	{"full", header{cmd: CmdRead, flags: 1 << 9, length: 1}, EINVAL},
	{"blocks", header{cmd: CmdRead, off: 512, length: 512}, 0},
	{"blocks", header{cmd: CmdRead, off: 1, length: 512}, EINVAL},
	{"full", header{cmd: CmdCache, length: testSize}, 0},
	{"full", header{cmd: CmdCache, off: testSize, length: 1}, EINVAL},
	{"full", header{cmd: CmdCache, flags: FlagNoHole}, EINVAL},
	{"bare", header{cmd: CmdCache, length: 1}, EINVAL},
	{"full", header{cmd: CmdBlockStatus, length: testSize}, 0},
	{"full", header{cmd: CmdBlockStatus, flags: FlagReqOne, length: 1}, 0},
	{"full", header{cmd: CmdBlockStatus, off: testSize, length: 1}, EINVAL},
	{"full", header{cmd: CmdBlockStatus}, EINVAL},
	{"simple", header{cmd: CmdBlockStatus, length: 1}, EINVAL},
}

var judgedWrites = []judged{
	{"full", header{cmd: CmdWrite, length: 1}, 0},
	{"full", header{cmd: CmdWrite, flags: FlagFUA, length: 1}, 0},
	{"full", header{cmd: CmdWrite, flags: FlagDF, length: 1}, EINVAL},
	{"full", header{cmd: CmdWrite, off: testSize, length: 1}, ENOSPC},
	{"full", header{cmd: CmdWrite, off: farOff, length: 2}, ENOSPC},
	{"ro", header{cmd: CmdWrite, length: 1}, EPERM},
	{"ro", header{cmd: CmdWrite, off: testSize, length: 1}, EPERM},
	{"full", header{cmd: CmdWrite, length: MaxPayload + 1}, EINVAL},
	{"full", header{cmd: CmdWrite, flags: 1 << 5, length: 1}, EINVAL},
	{"bare", header{cmd: CmdWrite, flags: FlagFUA, length: 1}, EINVAL},
	{"blocks", header{cmd: CmdWrite, length: 1}, EINVAL},
	{"full", header{cmd: CmdTrim, length: testSize}, 0},
	{"full", header{cmd: CmdTrim, off: 1, length: testSize}, EINVAL},
	{"ro", header{cmd: CmdTrim, length: 1}, EPERM},
	{"bare", header{cmd: CmdTrim, length: 1}, EINVAL},
	{"full", header{cmd: CmdWriteZeroes, length: testSize}, 0},
	{"full", header{cmd: CmdWriteZeroes, flags: FlagNoHole, length: 1}, 0},
	{"full", header{cmd: CmdWriteZeroes, flags: FlagFastZero, length: 1}, 0},
	{"full", header{cmd: CmdWriteZeroes, off: 1, length: testSize}, ENOSPC},
	{"ro", header{cmd: CmdWriteZeroes, flags: FlagFastZero | FlagNoHole, length: 1}, EPERM},
	{"bare", header{cmd: CmdWriteZeroes, length: 1}, EINVAL},
	{"full", header{cmd: CmdFlush}, 0},
	{"ro", header{cmd: CmdFlush}, 0},
	{"full", header{cmd: CmdFlush, length: 1}, EINVAL},
	{"bare", header{cmd: CmdFlush}, EINVAL},
	{"full", header{cmd: 8, length: 1}, EINVAL},
}

func TestEveryRequestGetsTheErrnoOfTheProtocol(t *testing.T) {
	sessions := judges()
	for _, c := range append(judgedReads, judgedWrites...) {
		s := sessions[c.who]
		v := s.check(c.h)
		if v.errno != c.want {
			t.Errorf("%s, %+v: errno %d (%s), want %d", c.who, c.h, v.errno, v.why, c.want)
		}
		if (v.errno != 0) != (v.why != "") {
			t.Errorf("%s, %+v: errno %d with reason %q", c.who, c.h, v.errno, v.why)
		}
		if c.h.cmd == CmdWrite != (v.payload > 0) {
			t.Errorf("%s, %+v: payload of %d bytes", c.who, c.h, v.payload)
		}
	}
	full := sessions["full"]
	if v := full.check(header{cmd: CmdWrite, length: maxDiscard + 1}); !v.fatal {
		t.Error("a payload too long to skip must close the connection")
	}
}

func TestFlagsAdvertiseOnlyWhatTheExportPromises(t *testing.T) {
	all := fullInfo("v", 1)
	all.Rotational = true
	want := HasFlags | SendFlush | SendFUA | IsRotational | SendTrim | SendWriteZeroes |
		CanMultiConn | SendCache | SendFastZero
	if got := all.Flags(false); got != want {
		t.Errorf("everything: %#x, want %#x", got, want)
	}
	if got := all.Flags(true); got != want|SendDF {
		t.Errorf("everything, structured: %#x", got)
	}
	all.ReadOnly = true
	want = want&^(SendTrim|SendWriteZeroes|SendFastZero) | IsReadOnly
	if got := all.Flags(false); got != want {
		t.Errorf("read-only: %#x, want %#x", got, want)
	}
	if got := (ExportInfo{FastZero: true}).Flags(false); got != HasFlags {
		t.Errorf("fast zero without zeroes: %#x", got)
	}
	var back ExportInfo
	back.setFlags(all.Flags(true))
	if back.Flags(true) != all.Flags(true) {
		t.Errorf("setFlags is not the opposite of Flags: %+v", back)
	}
}

func TestPiecesCoverARangeWithoutGaps(t *testing.T) {
	for _, c := range [][2]int64{{0, 1}, {0, 10}, {9, 10}, {9, 11}, {10, 20}, {3, 45}, {40, 41}} {
		at, n := c[0], 0
		for at < c[1] {
			stop := pieceEnd(at, c[1], 10)
			if stop <= at || stop > c[1] || at/10 != (stop-1)/10 {
				t.Fatalf("%v: piece [%d,%d)", c, at, stop)
			}
			at = stop
			n++
		}
		if n != pieceCount(c[0], c[1], 10) {
			t.Errorf("%v: %d pieces, counted %d", c, n, pieceCount(c[0], c[1], 10))
		}
	}
}

func TestExtentsAreCutToTheRequest(t *testing.T) {
	cases := []struct {
		in    []Extent
		n     int64
		limit int
		want  string
	}{
		{[]Extent{{5, 0}, {5, 0}, {5, 3}}, 100, 9, "[{10 0} {5 3}]"},
		{[]Extent{{5, 0}, {5, 3}, {5, 0}}, 7, 9, "[{5 0} {2 3}]"},
		{[]Extent{{5, 0}, {5, 3}, {5, 0}}, 100, 2, "[{5 0} {5 3}]"},
		{[]Extent{{5, 0}, {5, 0}, {5, 1}}, 100, 1, "[{10 0}]"},
	}
	for _, c := range cases {
		got, err := cutExtents(c.in, c.n, c.limit)
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%v for %d: %v, %v; want %s", c.in, c.n, got, err, c.want)
		}
	}
	for _, bad := range [][]Extent{nil, {{0, 0}}, {{-1, 0}}} {
		if _, err := cutExtents(bad, 10, 5); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

func FuzzRequest(f *testing.F) {
	var b [requestSize]byte
	putRequest(b[:], header{cmd: CmdWrite, flags: FlagFUA, cookie: 7, off: 4096, length: 512})
	f.Add(b[:], true)
	f.Add(make([]byte, requestSize), false)
	f.Fuzz(func(t *testing.T, in []byte, structured bool) {
		if len(in) < requestSize {
			return
		}
		h, err := parseRequest(in)
		if err != nil {
			return
		}
		var again [requestSize]byte
		putRequest(again[:], h)
		if !bytes.Equal(again[:], in[:requestSize]) {
			t.Errorf("decoded %+v, encodes to % x", h, again)
		}
		info := fullInfo("v", 1<<30).withDefaults()
		s := newSession(agreement{info: info, structured: structured})
		v := s.check(h)
		if v.errno == 0 && h.cmd != CmdFlush && h.off+uint64(h.length) > 1<<30 {
			t.Errorf("%+v lies outside the export and was accepted", h)
		}
		if v.errno == 0 && h.cmd == CmdRead && h.length > MaxPayload {
			t.Errorf("%+v is too long and was accepted", h)
		}
	})
}
