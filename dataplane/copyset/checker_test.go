package copyset

import (
	"math"
	"testing"
)

// history is one sector's: w writes, r reads, z zeroes; times are begin and end.
type history struct {
	kind       byte
	value      uint64
	begin, end int64
}

const never = math.MaxInt64

func (g *register) replay(ops []history) error {
	for _, op := range ops {
		if op.kind != 'r' {
			g.write("write", op.value, op.begin, op.end, op.end == never)
		}
	}
	for _, op := range ops {
		if op.kind == 'r' {
			if err := g.readValue("read", op.value, op.begin, op.end); err != nil {
				return err
			}
		}
	}
	return g.check()
}

func TestCheckerTellsGoodHistoriesFromBad(t *testing.T) {
	for name, c := range map[string]struct {
		ops []history
		bad bool
	}{
		"nothing written":       {[]history{{'r', 0, 1, 2}}, false},
		"read what was written": {[]history{{'w', 1, 1, 2}, {'r', 1, 3, 4}}, false},
		"read beside the write": {[]history{{'w', 1, 1, 5}, {'r', 1, 2, 3},
			{'r', 1, 6, 7}}, false},
		"old beside the write": {[]history{{'w', 1, 1, 2}, {'w', 2, 3, 9},
			{'r', 1, 4, 5}}, false},
		"lost write": {[]history{{'w', 1, 1, 2}, {'r', 0, 3, 4}}, true},
		"stale read": {[]history{{'w', 1, 1, 2}, {'w', 2, 3, 4},
			{'r', 1, 5, 6}}, true},
		"value from nowhere":    {[]history{{'r', 7, 1, 2}}, true},
		"value from the future": {[]history{{'w', 1, 5, 6}, {'r', 1, 1, 2}}, true},
		"reads go back": {[]history{{'w', 1, 1, 2}, {'w', 2, 3, 99},
			{'r', 2, 4, 5}, {'r', 1, 6, 7}}, true},
		"unanswered, never seen": {[]history{{'w', 1, 1, 2}, {'w', 2, 3, never},
			{'r', 1, 9, 10}}, false},
		"unanswered, seen later": {[]history{{'w', 1, 1, 2}, {'w', 2, 3, never},
			{'r', 1, 9, 10}, {'r', 2, 11, 12}}, false},
		"unanswered, seen, gone": {[]history{{'w', 1, 1, 2}, {'w', 2, 3, never},
			{'r', 2, 9, 10}, {'r', 1, 11, 12}}, true},
		"old write comes again": {[]history{{'w', 1, 1, 2}, {'w', 2, 3, 4},
			{'r', 2, 5, 6}, {'r', 1, 7, 8}}, true},
		"zeroed": {[]history{{'w', 1, 1, 2}, {'z', 0, 3, 4},
			{'r', 0, 5, 6}}, false},
		"comes back after zeroes": {[]history{{'w', 1, 1, 2}, {'z', 0, 3, 4},
			{'r', 1, 5, 6}}, true},
		"lost zeroes": {[]history{{'w', 1, 1, 2}, {'z', 0, 3, 4},
			{'w', 2, 5, 6}, {'r', 0, 7, 8}}, true},
		"zeroes that may be late": {[]history{{'w', 1, 1, 2}, {'z', 0, 3, never},
			{'r', 1, 5, 6}, {'r', 0, 7, 8}}, false},
		"zeroes inside a value": {[]history{{'w', 1, 1, 2}, {'r', 1, 3, 4},
			{'r', 0, 5, 6}, {'r', 1, 7, 8}}, true},
	} {
		if err := newRegister().replay(c.ops); (err != nil) != c.bad {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTornSectorsAreTold(t *testing.T) {
	op := &simOp{first: 8, n: 2, value: 9}
	p := stamps(op)
	if got, err := unstamp(8, p); err != nil || got[0] != 9 || got[1] != 9 {
		t.Error(got, err)
	}
	if _, err := unstamp(9, p); err == nil {
		t.Error("bytes of another sector")
	}
	clear(p[sectorSize-8 : sectorSize])
	if _, err := unstamp(8, p); err == nil {
		t.Error("a torn sector")
	}
}
