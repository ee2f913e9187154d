package store

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

const (
	benchChunks = 64 // of 1 MiB
	benchSlice  = 250 * time.Millisecond
)

// scrubBench is three stores on the file system, all that a client asks of them, and their
// scrubbers, which run when they are told to.
type scrubBench struct {
	*rig
	leader int
	rng    *rand.Rand
	took   [3][2][]time.Duration // without scrubbers, with them, without; of writes, of reads
	bytes  uint64                // scrubbed
	ran    time.Duration
}

func newScrubBench(b *testing.B, period time.Duration) *scrubBench {
	base := b.TempDir()
	r := newRig(b, 3, func(r *rig) {
		r.adapt = func(i int, cfg *Config) {
			path := filepath.Join(base, strconv.Itoa(i))
			err := os.MkdirAll(path, 0o755)
			if err == nil {
				cfg.Disk, err = disk.OpenDir(path, disk.Config{Logger: cfg.Logger})
			}
			if err != nil {
				b.Fatal(err)
			}
			cfg.LogBytes, cfg.SegmentSize, cfg.ScrubBytes = 256<<20, 16<<20, -1
			cfg.ScrubPeriod = period
		}
	})
	sb := &scrubBench{rig: r, rng: rand.New(rand.NewPCG(1, 1))}
	for c := range uint64(benchChunks) {
		for off := 0; off < testChunk; off += 64 * block {
			r.mustWrite(1, c, uint32(off), pattern(byte(c), 64))
		}
	}
	r.settle(1)
	for i := range r.stores {
		r.store(uint64(i)).cfg.ScrubBytes = 1 << 40 // as fast as they can
	}
	sb.leader = r.leader(1)
	return sb
}

// scrubAgain goes back to the first chunk when the last has been read.
func (s *Store) scrubAgain() {
	if s.scrub.Finished > s.scrub.Started {
		s.scrub.Finished, s.scrub.ID, s.scrubWay = 0, chunkfile.ID{}, scrubWay{}
	}
}

// scrub runs a store's scrubber until stop, over and over.
func (sb *scrubBench) scrub(i int, stop <-chan struct{}) {
	s := sb.store(uint64(i))
	pace := scrubPace{rate: s.cfg.ScrubBytes}
	for {
		s.scrubAgain()
		select {
		case <-stop:
			return
		case <-time.After(s.scrubTurn(&pace)):
		}
	}
}

// slice has the client write and read a block in turns, and notes how long each took.
func (sb *scrubBench) slice(b *testing.B, on int) {
	data := pattern(7, 1)
	for end := time.Now().Add(benchSlice); time.Now().Before(end); {
		for kind, q := range []copyset.Request{{Kind: copyset.KindWrite},
			{Kind: copyset.KindRead, Length: block}} {
			q.Chunk = copyset.Chunk{Volume: 1, Index: sb.rng.Uint64N(benchChunks)}
			q.Offset = sb.rng.Uint32N(testChunk/block) * block
			payload := data
			if q.Kind == copyset.KindRead {
				payload = nil
			}
			from := time.Now()
			if got := sb.op(sb.leader, 1, q, payload); got.status != wire.StatusOK {
				b.Fatalf("the client was answered %v", got.status)
			}
			sb.took[on][kind] = append(sb.took[on][kind], time.Since(from))
		}
	}
}

func (sb *scrubBench) checked() (n uint64) {
	for i := range sb.stores {
		n += sb.store(uint64(i)).chunks.Stats().ReadBlocks
	}
	return n
}

// round is a slice with the scrubbers between two without. What these two differ in is what the
// machine does by itself.
func (sb *scrubBench) round(b *testing.B) {
	sb.slice(b, 0)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for i := range sb.stores {
		wait.Go(func() { sb.scrub(i, stop) })
	}
	from, reads, blocks := time.Now(), len(sb.took[1][1]), sb.checked()
	sb.slice(b, 1)
	sb.bytes += (sb.checked() - blocks - uint64(len(sb.took[1][1])-reads)) * block
	sb.ran += time.Since(from)
	close(stop)
	wait.Wait()
	sb.slice(b, 2)
}

func p99(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)*99/100]) / 1e3
}

func (sb *scrubBench) report(b *testing.B) {
	for kind, name := range []string{"write", "read"} {
		first, last := sb.took[0][kind], sb.took[2][kind]
		b.ReportMetric(p99(last)/p99(first), name+"-p99-control")
		without, with := p99(append(first, last...)), p99(sb.took[1][kind])
		b.ReportMetric(without, name+"-p99-us")
		b.ReportMetric(with/without, name+"-p99-ratio")
	}
	b.ReportMetric(float64(sb.bytes)/sb.ran.Seconds()/3/(1<<20), "scrub-MiB/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkScrubBesideClients compares the p99 of a client that does one thing at a time with the
// scrubbers of all three stores at full pace and without, in slices that alternate. In "early" the
// cycle will end in its period, in "late" it is overdue.
func BenchmarkScrubBesideClients(b *testing.B) {
	for name, period := range map[string]time.Duration{"early": 7 * 24 * time.Hour, "late": 1} {
		b.Run(name, func(b *testing.B) {
			sb := newScrubBench(b, period)
			for b.Loop() {
				sb.round(b)
			}
			sb.report(b)
		})
	}
}

// BenchmarkScrubAlone is how fast a store is scrubbed while no client is there.
func BenchmarkScrubAlone(b *testing.B) {
	sb := newScrubBench(b, 7*24*time.Hour)
	s := sb.store(uint64((sb.leader + 1) % 3)) // it compares nothing
	time.Sleep(2 * scrubCalm)
	blocks, from := sb.checked(), time.Now()
	pace := scrubPace{rate: s.cfg.ScrubBytes}
	for b.Loop() {
		for s.scrub.Finished <= s.scrub.Started {
			time.Sleep(s.scrubTurn(&pace))
		}
		s.scrubAgain()
	}
	b.ReportMetric(float64(sb.checked()-blocks)*block/time.Since(from).Seconds()/(1<<20), "MiB/s")
}
