package linear

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func write(client int, value uint64, call, end time.Duration) Op {
	return Op{Client: client, Write: true, Value: value, Call: call, Return: end}
}

func read(client int, value uint64, call, end time.Duration) Op {
	return Op{Client: client, Value: value, Call: call, Return: end}
}

func unknown(op Op) Op {
	op.Unknown = true
	return op
}

func TestHistoriesAreJudged(t *testing.T) {
	for _, c := range []struct {
		name string
		ops  []Op
		bad  string // what the error must name
	}{
		{"nothing written", []Op{read(1, 0, 1, 2)}, ""},
		{"one after the other", []Op{write(1, 7, 1, 2), read(2, 7, 3, 4)}, ""},
		{"a read during a write finds either", []Op{write(1, 7, 1, 9), read(2, 0, 2, 3),
			read(2, 7, 4, 5)}, ""},
		{"and not the old after the new", []Op{write(1, 7, 1, 9), read(2, 7, 2, 3),
			read(3, 0, 4, 5)}, "client 3 read 0"},
		{"a stale read", []Op{write(1, 7, 1, 2), write(1, 8, 3, 4), read(2, 7, 5, 6)},
			"client 2 read 7"},
		{"a lost write", []Op{write(1, 7, 1, 2), read(2, 0, 3, 4)}, "client 2 read 0"},
		{"a value nobody wrote", []Op{write(1, 7, 1, 2), read(2, 9, 3, 4)}, "client 2 read 9"},
		{"a value of later", []Op{read(2, 7, 1, 2), write(1, 7, 3, 4)}, "client 2 read 7"},
		{"an unknown write that shows late", []Op{unknown(write(1, 7, 1, 2)), read(2, 0, 3, 4),
			read(2, 7, 5, 6)}, ""},
		{"and is not applied twice", []Op{unknown(write(1, 7, 1, 2)), read(2, 7, 3, 4),
			write(3, 8, 5, 6), read(2, 8, 7, 8), read(2, 7, 9, 10)}, "client 2 read 7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			other := read(9, 0, 1, 2)
			other.Block = 5 // another block's history is its own
			err := Check(append(c.ops, other), time.Minute)
			if c.bad == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrViolated) || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("%v, want it to name %q", err, c.bad)
			}
		})
	}
}

func TestHistoryIsBounded(t *testing.T) {
	h := NewHistory(2)
	for i := range 3 {
		err := h.Done(Op{Call: h.Now()})
		if full := errors.Is(err, ErrFull); full != (i == 2) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	if ops := h.Ops(); len(ops) != 2 || ops[0].Return < ops[0].Call {
		t.Errorf("%+v", ops)
	}
}
