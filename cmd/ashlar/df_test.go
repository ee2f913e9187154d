package main

import (
	"io/fs"
	"math"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// spaceFigures is what `ashlar df` tells.
type spaceFigures struct {
	Pools []struct {
		Used        uint64 `json:"used_bytes"`
		Provisioned uint64 `json:"provisioned_bytes"`
		Capacity    uint64 `json:"capacity_bytes"`
	}
	Stores []struct {
		Path     string
		Used     uint64 `json:"used_bytes"`
		Held     uint64 `json:"held_bytes"`
		DiskFree uint64 `json:"disk_free_bytes"`
	}
	Volumes []struct {
		Name   string
		Used   uint64 `json:"used_bytes"`
		Chunks uint64
	}
}

// du is what the files below a directory take of their disk.
func du(t *testing.T, dir string) (bytes uint64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		bytes += uint64(info.Sys().(*syscall.Stat_t).Blocks) * 512
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// deviation is how far a figure is from what it should be, as a part of that.
func deviation(got, want uint64) float64 {
	return math.Abs(float64(got)-float64(want)) / float64(max(want, 1))
}

// awaitSpace waits until the volume has so many chunks, of all copies, and gives the figures.
func (c *cluster) awaitSpace(chunks uint64) (f spaceFigures) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		f = spaceFigures{}
		c.ask(&f, "df")
		if len(f.Volumes) == 1 && f.Volumes[0].Chunks == chunks {
			return f
		}
		if time.Now().After(end) {
			c.t.Fatalf("never %d chunks: %+v", chunks, f)
		}
	}
}

func TestSpaceThatIsShownIsWhatTheDisksHold(t *testing.T) {
	skipShort(t)
	const chunk, size, written = 16 << 20, 256 << 20, 6
	c := start(t, t.TempDir(), "--nodes", "3", "--volume", "v", "--size", "256MiB")
	client := c.attach(c.url)
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i>>9) | 1
	}
	for off := int64(0); off < written*chunk; off += int64(len(data)) {
		if _, err := client.WriteAt(data, off); err != nil {
			t.Fatal(err)
		}
	}
	f := c.awaitSpace(3 * written)
	c.wantSpace(3 * written)
	if p := f.Pools[0]; p.Provisioned != size || p.Used != f.Volumes[0].Used ||
		deviation(p.Used, 3*written*chunk) > 0.01 || p.Capacity == 0 {
		t.Errorf("pool %+v with 3 times %d chunks of %d", p, written, chunk)
	}
	if err := client.Trim(0, 2*chunk, 0); err != nil {
		t.Fatal(err)
	}
	after := c.awaitSpace(3 * (written - 2))
	c.wantSpace(3 * (written - 2))
	if deviation(after.Volumes[0].Used, 3*(written-2)*chunk) > 0.01 {
		t.Errorf("after a trim of 2 of %d chunks: %+v", written, after.Volumes[0])
	}
}

// wantSpace compares the figures with the disks, until they fit within a percent: files are made
// ahead meanwhile.
func (c *cluster) wantSpace(chunks uint64) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(500 * time.Millisecond) {
		f, worst := c.awaitSpace(chunks), 0.0
		for _, s := range f.Stores {
			var disk syscall.Statfs_t
			if err := syscall.Statfs(s.Path, &disk); err != nil {
				c.t.Fatal(err)
			}
			have := du(c.t, s.Path)
			worst = max(worst, deviation(s.Held, have),
				deviation(s.DiskFree, disk.Bavail*uint64(disk.Bsize)))
			c.t.Logf("%s: %d held, %d on the disk, %d used", s.Path, s.Held, have, s.Used)
		}
		switch {
		case worst <= 0.01:
			c.t.Logf("within %.3f %%", 100*worst)
			return
		case time.Now().After(end):
			c.t.Fatalf("%.2f %% apart: %+v", 100*worst, f)
		}
	}
}
