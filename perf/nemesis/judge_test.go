package nemesis

import (
	"errors"
	"testing"

	"github.com/ashlar-storage/ashlar/perf/hot"
)

// memory is a volume that can be spoilt.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }
func (m memory) ReadAt(p []byte, off int64) (int, error)  { return copy(p, m[off:]), nil }

func TestTheLedgerNoticesWhatIsLostTornOrInAnotherPlace(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(l *ledger, m memory)
		lost  bool
	}{
		{name: "nothing", spoil: func(*ledger, memory) {}},
		{"an unacknowledged write that is there", func(l *ledger, m memory) {
			l.sent[5]++
			hot.Stamp(m[5*blockSize:6*blockSize], 5, l.sent[5])
		}, false},
		{"an unacknowledged write that is not", func(l *ledger, _ memory) { l.sent[5]++ }, false},
		{"an older version", func(_ *ledger, m memory) {
			hot.Stamp(m[5*blockSize:6*blockSize], 5, 1)
		}, true},
		{"never written", func(_ *ledger, m memory) { clear(m[5*blockSize : 6*blockSize]) }, true},
		{"a version that was never sent", func(l *ledger, m memory) {
			hot.Stamp(m[5*blockSize:6*blockSize], 5, 9)
		}, true},
		{"a sector of the version before", func(_ *ledger, m memory) {
			old := make([]byte, blockSize)
			hot.Stamp(old, 5, 1)
			copy(m[5*blockSize+512:], old[512:1024])
		}, true},
		{"the neighbour's block", func(_ *ledger, m memory) {
			copy(m[5*blockSize:6*blockSize], m[6*blockSize:7*blockSize])
		}, true},
	} {
		l, m := newLedger(16), make(memory, 16*blockSize)
		for range 2 {
			for n := range 16 {
				if err := l.writeOne(m, n, make([]byte, blockSize)); err != nil {
					t.Fatal(err)
				}
			}
		}
		c.spoil(l, m)
		if err := l.check(m); errors.Is(err, errLost) != c.lost || !c.lost && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
