package wal

import (
	"fmt"
	"os"
	"path"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// realDisk opens a disk in a new directory: on the file system of ASHLAR_BENCH_DIR, or of the
// system's temporary directory.
func realDisk(b *testing.B) disk.Disk {
	b.Helper()
	dir, err := os.MkdirTemp(os.Getenv("ASHLAR_BENCH_DIR"), "wal-bench-*")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	d, err := disk.OpenDir(dir, disk.Config{Logger: quiet})
	if err != nil {
		b.Skipf("no disk for direct I/O: %v", err)
	}
	b.Cleanup(func() { _ = d.Close() })
	return d
}

func benchConfig(d disk.Disk) Config {
	cfg := testConfig(d)
	cfg.SegmentSize, cfg.PreparedSegments = DefaultSegmentSize, DefaultPrepared
	return cfg
}

// BenchmarkAppend appends records of one size at a queue depth, releasing as it goes.
func BenchmarkAppend(b *testing.B) {
	for _, depth := range []int{1, 8, 32, 128} {
		for _, blocks := range []int{1, 16} {
			b.Run(fmt.Sprintf("%dK/qd%d", blocks*4, depth), func(b *testing.B) {
				benchAppend(b, depth, blocks)
			})
		}
	}
}

func benchAppend(b *testing.B, depth, blocks int) {
	l := opened(b, benchConfig(realDisk(b)))
	defer closed(b, l)
	latency := make([]time.Duration, 0, b.N)
	start := make([]time.Time, depth)
	var wg sync.WaitGroup
	left := b.N
	var issue func(a *Append)
	slot := func(a *Append) int { return int(a.Records[0].Index) }
	issue = func(a *Append) { // on the log's goroutine, but for the first round
		left--
		start[slot(a)] = time.Now()
		l.Append(a)
	}
	var mu sync.Mutex
	done := func(a *Append) {
		mu.Lock()
		defer mu.Unlock()
		latency = append(latency, time.Since(start[slot(a)]))
		if len(latency)%1000 == 0 {
			l.Release(a.End)
		}
		if left > 0 {
			issue(a)
			return
		}
		wg.Done()
	}
	r := record(1, 0, blocks, 40)
	must(b, l, r)
	for l.Stats().ReadySegments < DefaultPrepared { // as a running store has them
		time.Sleep(time.Millisecond)
	}
	b.ReportAllocs()
	b.SetBytes(int64(blocks) * BlockSize)
	b.ResetTimer()
	mu.Lock()
	for i := range min(depth, b.N) {
		a := &Append{Records: []Record{r}, Done: done}
		a.Records[0].Index = uint64(i)
		wg.Add(1)
		issue(a)
	}
	mu.Unlock()
	wg.Wait()
	b.StopTimer()
	s := l.Stats()
	slices.Sort(latency)
	at := func(q float64) float64 {
		return float64(latency[int(q*float64(len(latency)-1))].Nanoseconds()) / 1e3
	}
	b.ReportMetric(at(0.5), "p50-us")
	b.ReportMetric(at(0.99), "p99-us")
	b.ReportMetric(float64(s.Writes+s.HeaderWrites)/float64(s.Records), "writes/record")
	b.ReportMetric(float64(s.WriteBytes)/float64(s.PayloadBytes), "bytes/byte")
	b.ReportMetric(float64(s.Starved), "starved")
}

// BenchmarkDurableWrite is the floor: the same device write without a log.
func BenchmarkDurableWrite(b *testing.B) {
	for _, size := range []int{4096, 8192, 65536} {
		b.Run(fmt.Sprintf("%dK", size>>10), func(b *testing.B) {
			d := realDisk(b)
			f, err := d.Create("floor", DefaultSegmentSize)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			vec := [][]byte{alignedBytes(size)}
			off := int64(0)
			latency := make([]time.Duration, 0, b.N)
			for b.Loop() {
				start := time.Now()
				if err := f.WriteVec(vec, off, true); err != nil {
					b.Fatal(err)
				}
				latency = append(latency, time.Since(start))
				if off += int64(size); off == DefaultSegmentSize {
					off = 0
				}
			}
			slices.Sort(latency)
			b.ReportMetric(float64(latency[len(latency)/2].Nanoseconds())/1e3, "p50-us")
			b.ReportMetric(float64(latency[len(latency)*99/100].Nanoseconds())/1e3, "p99-us")
		})
	}
}

// BenchmarkRecovery reads a log of 512 MiB back, and beside it, in the same run, the same bytes
// with plain sequential direct reads of the same size: plain-MB/s is what the device gives, and
// recovery's share of it is ratio.
func BenchmarkRecovery(b *testing.B) {
	for _, blocks := range []int{1, 64} {
		b.Run(fmt.Sprintf("%dK", blocks*4), func(b *testing.B) {
			cfg := benchConfig(realDisk(b))
			l := opened(b, cfg)
			r := record(1, 0, blocks, 40)
			batch := make([]Record, 64/blocks)
			for i := range batch {
				batch[i] = r
			}
			for l.Usage() < 512<<20 {
				must(b, l, batch...)
			}
			closed(b, l)
			var bytes int64
			var plain time.Duration
			for b.Loop() {
				_, rec, err := recoveredQuietly(cfg)
				if err != nil {
					b.Fatal(err)
				}
				bytes += rec.Bytes
				b.StopTimer()
				plain += readPlainly(b, cfg, rec.Bytes)
				b.StartTimer()
			}
			rate := func(d time.Duration) float64 { return float64(bytes) / 1e6 / d.Seconds() }
			b.ReportMetric(rate(b.Elapsed()), "MB/s")
			b.ReportMetric(rate(plain), "plain-MB/s")
			b.ReportMetric(rate(b.Elapsed())/rate(plain), "ratio")
		})
	}
}

// readPlainly reads bytes of the log's files front to back and does nothing with them.
func readPlainly(b *testing.B, cfg Config, bytes int64) time.Duration {
	b.Helper()
	names, err := cfg.Disk.List(cfg.Dir)
	if err != nil {
		b.Fatal(err)
	}
	p := alignedBytes(scanWindow)
	start := time.Now()
	for _, name := range names {
		if _, ok := slotNumber(name); !ok {
			continue
		}
		f, err := cfg.Disk.Open(path.Join(cfg.Dir, name))
		if err != nil {
			b.Fatal(err)
		}
		for off := int64(0); off < f.Size() && bytes > 0; off += scanWindow {
			if _, err := f.ReadAt(p, off); err != nil {
				b.Fatal(err)
			}
			bytes -= scanWindow
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

func recoveredQuietly(cfg Config) (n int, rec *Recovery, err error) {
	r := newRecovery(cfg, func(*Record) error {
		n++
		return nil
	})
	defer r.close()
	return n, r.out, r.run(nil)
}
