package load

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func verifying(depth int) Job {
	return Job{Sizes: Blocks(4096), Random: true, Depth: depth, Size: 64 * 4096, Bytes: 256 * 4096,
		Seed: 5, Verify: &Verify{PatternAt: -1, After: true}}
}

func TestHonestServerPassesVerification(t *testing.T) {
	pattern := verifying(4)
	pattern.Verify.Pattern, pattern.Verify.PatternAt = []byte("x12345678y"), 1
	mixed := verifying(8)
	mixed.Reads = 50
	for name, j := range map[string]Job{"crc32c": verifying(8), "depth 1": verifying(1),
		"pattern": pattern, "mixed": mixed} {
		m := newMemory()
		res, err := Run(context.Background(), m, j)
		if err != nil || res.Wrong != 0 {
			t.Errorf("%s: %v, %d wrong", name, err, res.Wrong)
		}
		if name == "crc32c" && (res.Sides[Write].Ops != 256 ||
			res.Sides[Read].Ops != int64(len(m.content))) {
			t.Errorf("%d written, %d checked of %d blocks", res.Sides[Write].Ops,
				res.Sides[Read].Ops, len(m.content))
		}
	}
}

func TestBlocksOfAnEarlierRunAreVerifiedByReading(t *testing.T) {
	m, w := newMemory(), verifying(4)
	w.Bytes, w.Distinct, w.Verify.After = 64*4096, true, false
	if _, err := Run(context.Background(), m, w); err != nil {
		t.Fatal(err)
	}
	r := w
	r.Reads = 100
	if _, err := Run(context.Background(), m, r); err != nil {
		t.Errorf("what the run before wrote: %v", err)
	}
	m.content[4096][17] ^= 1
	if _, err := Run(context.Background(), m, r); !errors.Is(err, ErrLied) {
		t.Errorf("a flipped bit: error = %v", err)
	}
	r.Seed++
	if _, err := Run(context.Background(), m, r); !errors.Is(err, ErrLied) ||
		!strings.Contains(err.Error(), "another run") {
		t.Errorf("blocks of another seed: error = %v", err)
	}
}

// Every way to lie is found, and named.
func TestLyingServerIsCaught(t *testing.T) {
	keep := func(m *memory, op *Op) { m.content[op.Off] = append([]byte(nil), op.Data...) }
	lies := map[string]struct {
		lie  func(m *memory, op *Op)
		want string
	}{
		"loses a write": {func(m *memory, op *Op) {
			if op.Kind == Write && (op.Off != 8192 || m.offsets[op.Off] == 1) {
				keep(m, op)
			} else if op.Kind == Read {
				copy(op.Data, m.content[op.Off])
			}
		}, "write 1 of this block is here"},
		"never wrote": {func(m *memory, op *Op) {
			if op.Kind == Write && op.Off != 8192 {
				keep(m, op)
			} else if op.Kind == Read {
				clear(op.Data)
				copy(op.Data, m.content[op.Off])
			}
		}, "zeroes"},
		"tears": {func(m *memory, op *Op) {
			if op.Kind == Write && op.Off == 8192 && len(m.content[op.Off]) > 0 {
				copy(m.content[op.Off][:1024], op.Data)
			} else if op.Kind == Write {
				keep(m, op)
			} else {
				copy(op.Data, m.content[op.Off])
			}
		}, "torn"},
		"mixes blocks up": {func(m *memory, op *Op) {
			if op.Kind == Write {
				keep(m, op)
			} else if copy(op.Data, m.content[op.Off]); op.Off == 8192 {
				copy(op.Data, m.content[4096])
			}
		}, "offset 8192: the block of offset 4096 is here"},
		"flips a bit": {func(m *memory, op *Op) {
			if op.Kind == Write {
				keep(m, op)
			} else if copy(op.Data, m.content[op.Off]); op.Off == 8192 {
				op.Data[2000] ^= 4
			}
		}, "from byte 2000 on"},
	}
	for name, l := range lies {
		m := newMemory()
		m.lie = l.lie
		j := verifying(4)
		j.Distinct = true // four writes of each block
		res, err := Run(context.Background(), m, j)
		if !errors.Is(err, ErrLied) || !strings.Contains(err.Error(), l.want) || res.Wrong != 1 {
			t.Errorf("a server that %s: %v (%d wrong)", name, err, res.Wrong)
		}
	}
}

func TestPatternCatchesAnotherBlock(t *testing.T) {
	m, j := newMemory(), verifying(4)
	j.Distinct, j.Verify.Pattern, j.Verify.PatternAt = true, make([]byte, 8), 0
	m.lie = func(m *memory, op *Op) {
		if op.Kind == Write {
			m.content[op.Off] = append([]byte(nil), op.Data...)
		} else {
			copy(op.Data, m.content[max(op.Off-4096, 0)])
		}
	}
	res, err := Run(context.Background(), m, j)
	if !errors.Is(err, ErrLied) || res.Wrong != 63 {
		t.Errorf("%v, %d wrong", err, res.Wrong)
	}
	m = newMemory()
	m.lie = func(m *memory, op *Op) { clear(op.Data) }
	j.Verify.Fatal = true
	if res, err = Run(context.Background(), m, j); !errors.Is(err, ErrLied) || res.Wrong > 4 {
		t.Errorf("fatal: %v, %d wrong", err, res.Wrong)
	}
}
