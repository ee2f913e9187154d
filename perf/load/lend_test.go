package load

import (
	"bytes"
	"context"
	"testing"
)

// lender reads into memory that is not what it lent, as a client does that hands buffers over.
type lender struct {
	content  []byte
	lent     map[*Op][]byte
	returned int
	foreign  int // operations on memory that was not lent for them
}

func (l *lender) Lend(op *Op, n int) []byte {
	l.lent[op] = make([]byte, n)
	return l.lent[op]
}

func (l *lender) Return(op *Op) {
	delete(l.lent, op)
	l.returned++
}

func (l *lender) Submit(op *Op) {
	if own := l.lent[op]; own == nil || &own[0] != &op.Data[0] {
		l.foreign++
	}
	at := l.content[op.Off : op.Off+int64(len(op.Data))]
	if op.Kind == Write {
		copy(at, op.Data)
	} else {
		op.Data = bytes.Clone(at)
	}
	op.Done(op)
}

func TestEngineLendsItsMemoryAndGetsItBack(t *testing.T) {
	l := &lender{content: make([]byte, 1<<20), lent: map[*Op][]byte{}}
	res, err := Run(context.Background(), l, Job{Reads: 50, Sizes: Blocks(4096), Random: true,
		Depth: 4, Size: 1 << 20, Ops: 500, Verify: &Verify{After: true}})
	if err != nil || res.Ops() < 500 {
		t.Errorf("%v", err)
	}
	if l.returned != 4 || len(l.lent) != 0 || l.foreign != 0 {
		t.Errorf("%d of 4 returned, %d left, %d operations on other memory", l.returned,
			len(l.lent), l.foreign)
	}
}
