package wal

import (
	"sync"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

func TestTheLogWorksOnADirectory(t *testing.T) {
	for _, ring := range []bool{true, false} {
		dir := t.TempDir()
		want := map[uint64]uint64{}
		for range 3 {
			d, err := disk.OpenDir(dir, disk.Config{Logger: quiet, NoURing: !ring})
			if err != nil {
				t.Skipf("no direct I/O in %s: %v", dir, err)
			}
			cfg := testConfig(d)
			cfg.SegmentSize = 1 << 20
			l, rec, got := reopen(t, cfg)
			have := map[uint64]uint64{}
			for i := range got {
				have[got[i].Group]++
			}
			for g, n := range want {
				if have[g] != n {
					t.Errorf("group %d has %d records, want %d", g, have[g], n)
				}
			}
			if rec.Torn || len(rec.Damage) > 0 {
				t.Errorf("recovery %+v", rec)
			}
			var wg sync.WaitGroup
			for g := range uint64(4) {
				wg.Add(1)
				want[g] += 100
				go func() {
					defer wg.Done()
					for i := range uint64(100) {
						if a := put(l, record(g, i, 1, 20)); a.Err != nil {
							t.Errorf("append: %v", a.Err)
						}
					}
				}()
			}
			wg.Wait()
			closed(t, l)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
