package copyset

import (
	"errors"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/wal"
)

// logTest is an entry log whose payloads come from a pool.
type logTest struct {
	entryLog
	t    *testing.T
	pool *buf.Pool
}

func newLogTest(t *testing.T, base uint64, entries int) *logTest {
	pool, err := buf.NewPool(buf.Config{Bytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	l := &logTest{entryLog{base: base, baseTerm: 1, bare: base}, t, pool}
	for i := range entries {
		l.add(1, base+1+uint64(i))
	}
	t.Cleanup(func() {
		l.truncate(l.base + 1)
		if l.cached != 0 {
			t.Errorf("an empty log counts %d bytes", l.cached)
		}
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// add appends an entry that is durable at 100 times its index.
func (l *logTest) add(term, index uint64) {
	l.t.Helper()
	b, err := l.pool.Get(BlockSize)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.append(raftpb.Entry{Term: term, Index: index}, NewPayload(b)); err != nil {
		l.t.Fatal(err)
	}
	l.get(index).at = wal.LSN(100 * index)
}

func (l *logTest) want(base, last uint64, bufs int64) {
	l.t.Helper()
	if got := l.pool.Stats().InUseBufs; l.base != base || l.last() != last || got != bufs ||
		l.cached != bufs*BlockSize {
		l.t.Errorf("log %d..%d with %d buffers, %d bytes cached, want %d..%d with %d", l.base+1,
			l.last(), got, l.cached, base+1, last, bufs)
	}
}

func TestEntryOfANewTermReplacesTheTail(t *testing.T) {
	l := newLogTest(t, 10, 5)
	l.add(2, 13)
	l.want(10, 13, 3)
	if term, err := l.Term(13); term != 2 || err != nil {
		t.Error(term, err)
	}
}

func TestEntriesLeaveNoHoles(t *testing.T) {
	l := newLogTest(t, 10, 2)
	for _, index := range []uint64{10, 14} {
		if err := l.append(raftpb.Entry{Index: index}, Payload{}); err == nil {
			t.Errorf("entry %d behind 11..12 accepted", index)
		}
	}
}

func TestStrippedEntriesKeepTheirPlaceInTheLog(t *testing.T) {
	l := newLogTest(t, 10, 5)
	l.strip(12)
	l.strip(12)
	l.want(10, 15, 3)
	if p := l.get(12).payload; p.B != nil || p.Len != BlockSize {
		t.Errorf("payload %+v", p)
	}
	l.get(14).at = 0 // not durable here yet
	l.strip(15)
	l.want(10, 15, 2)
	l.add(3, 12) // behind what was stripped
	l.strip(12)
	l.want(10, 12, 0)
}

func TestCompactedEntriesAreGone(t *testing.T) {
	l := newLogTest(t, 10, 5)
	l.compact(13)
	l.compact(9)
	l.want(13, 15, 2)
	for index, want := range map[uint64]error{12: raft.ErrCompacted, 13: nil, 15: nil,
		16: raft.ErrUnavailable} {
		if _, err := l.Term(index); !errors.Is(err, want) {
			t.Errorf("term of %d: %v, want %v", index, err, want)
		}
	}
	if _, err := l.Entries(13, 15, 1000); !errors.Is(err, raft.ErrCompacted) {
		t.Error(err)
	}
	if _, err := l.Entries(14, 17, 1000); !errors.Is(err, raft.ErrUnavailable) {
		t.Error(err)
	}
	if got, err := l.Entries(14, 16, 1); err != nil || len(got) != 1 {
		t.Errorf("%d entries of at most 1 byte, want one at least: %v", len(got), err)
	}
}

func TestResetLogIsEmptyBehindTheSnapshot(t *testing.T) {
	l := newLogTest(t, 10, 5)
	l.reset(40, 3)
	l.want(40, 40, 0)
	l.add(3, 41)
	l.want(40, 41, 1)
	l.strip(41)
	l.want(40, 41, 0)
}

func TestPlacesInTheLogThatAreNeeded(t *testing.T) {
	l := newLogTest(t, 10, 5)
	for index, want := range map[uint64]wal.LSN{0: 1100, 10: 1100, 12: 1300, 14: 1500, 15: 0} {
		if got := l.firstNeeded(index); got != want {
			t.Errorf("first needed above %d: %d, want %d", index, got, want)
		}
	}
	for _, c := range []struct {
		lsn   wal.LSN
		limit uint64
		want  uint64
	}{{1000, 99, 0}, {1100, 99, 0}, {1101, 99, 11}, {1300, 99, 12}, {9999, 99, 15}, {9999, 13, 13},
		{9999, 5, 0}} {
		if got := l.below(c.lsn, c.limit); got != c.want {
			t.Errorf("below %d up to entry %d: %d, want %d", c.lsn, c.limit, got, c.want)
		}
	}
	l.get(13).at = 0
	if got := l.below(9999, 99); got != 12 {
		t.Errorf("below, with entry 13 not durable: %d, want 12", got)
	}
	if got := l.firstNeeded(12); got != 1400 {
		t.Errorf("first needed above 12, with entry 13 not durable: %d, want 1400", got)
	}
}

func TestMessageWithManyEntriesIsBoundedByItsPayload(t *testing.T) {
	const entries = 3 * maxPayloadPerMsg / BlockSize
	l := newLogTest(t, 0, entries)
	for lo, most := uint64(1), maxPayloadPerMsg/BlockSize; lo <= entries; lo += uint64(most) {
		got, err := l.Entries(lo, entries+1, 1<<30)
		if err != nil || len(got) != most {
			t.Fatalf("from entry %d: %d entries at a time, want %d, %v", lo, len(got), most, err)
		}
	}
	one, err := l.Entries(1, 2, 1)
	if err != nil || len(one) != 1 {
		t.Errorf("an entry larger than the bound: %d, %v", len(one), err)
	}
}
