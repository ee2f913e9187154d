package wal

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"testing"

	"go.uber.org/goleak"

	"github.com/ashlar-storage/ashlar/io/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	testStore  = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	otherStore = [16]byte{0xAA}
	quiet      = slog.New(slog.NewTextHandler(io.Discard, nil))
)

const smallSegment = 64 << 10

func testConfig(d disk.Disk) Config {
	return Config{Disk: d, Dir: "wal", StoreID: testStore, SegmentSize: smallSegment,
		PreparedSegments: 1, Logger: quiet}
}

// record makes a record whose every byte follows from its arguments.
func record(group, index uint64, blocks, meta int) Record {
	rng := rand.New(rand.NewPCG(group, index))
	r := Record{Group: group, Kind: Kind(1 + index%255), Term: group ^ 0x77, Index: index}
	if meta > 0 {
		r.Meta = make([]byte, meta)
	}
	for i := range r.Meta {
		r.Meta[i] = byte(rng.Uint32())
	}
	if blocks > 0 {
		r.Payload = alignedBytes(blocks * BlockSize)
	}
	for i := range r.Payload {
		r.Payload[i] = byte(rng.Uint32())
	}
	r.CRCs = checksums(r.Payload)
	return r
}

func checksums(payload []byte) (crcs []uint32) {
	for ; len(payload) > 0; payload = payload[BlockSize:] {
		crcs = append(crcs, crc32.Checksum(payload[:BlockSize], castagnoli))
	}
	return crcs
}

func same(a, b *Record) bool {
	return a.Group == b.Group && a.Kind == b.Kind && a.Term == b.Term && a.Index == b.Index &&
		bytes.Equal(a.Meta, b.Meta) && bytes.Equal(a.Payload, b.Payload)
}

func describe(r *Record) string {
	return fmt.Sprintf("group %d index %d kind %d (%d blocks, %d meta) at %d", r.Group,
		r.Index, r.Kind, len(r.CRCs), len(r.Meta), r.At)
}

// clone keeps a replayed record beyond the call.
func clone(r *Record) Record {
	c := *r
	c.Meta, c.CRCs = bytes.Clone(r.Meta), append([]uint32(nil), r.CRCs...)
	if len(r.Payload) > 0 {
		c.Payload = alignedBytes(len(r.Payload))
		copy(c.Payload, r.Payload)
	}
	return c
}

// reopen opens the log and returns what it replays.
func reopen(t testing.TB, cfg Config) (*Log, *Recovery, []Record) {
	t.Helper()
	var got []Record
	l, rec, err := Open(cfg, func(r *Record) error {
		got = append(got, clone(r))
		return nil
	})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return l, rec, got
}

// opened is reopen for a log that must be empty.
func opened(t testing.TB, cfg Config) *Log {
	t.Helper()
	l, _, got := reopen(t, cfg)
	if len(got) != 0 {
		t.Fatalf("a new log replays %d records", len(got))
	}
	return l
}

func closed(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// settle waits until the preparer has nothing left to write.
func settle(l *Log) {
	for {
		l.mu.Lock()
		settled := len(l.segs.ready) >= l.segs.prepared && !l.entered()
		l.mu.Unlock()
		if settled {
			return
		}
		runtime.Gosched()
	}
}

// put appends records as one request and waits for it.
func put(l *Log, records ...Record) *Append {
	done := make(chan struct{})
	a := &Append{Records: records, Done: func(*Append) { close(done) }}
	l.Append(a)
	<-done
	return a
}

// must is put, which succeeds.
func must(t testing.TB, l *Log, records ...Record) *Append {
	t.Helper()
	a := put(l, records...)
	if a.Err != nil {
		t.Fatalf("append: %v", a.Err)
	}
	return a
}

func wantRecords(t testing.TB, got, want []Record) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !same(&got[i], &want[i]) {
			t.Fatalf("record %d is %s, want %s", i, describe(&got[i]), describe(&want[i]))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
}

func newSim() *disk.Sim { return disk.NewSim(disk.SimConfig{Seed: 1, Inline: true}) }
