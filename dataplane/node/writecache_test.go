package node

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// mayForget says that tests' directories lie where a power cut takes them, as on a tmpfs.
func mayForget(t testing.TB, dir string) bool {
	t.Helper()
	c, err := disk.CacheOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c.Verdict == disk.CacheVolatile
}

func TestAStoreInMemoryIsRefusedUnlessTheSettingsAllowIt(t *testing.T) {
	const shm = "/dev/shm"
	if _, err := os.Stat(shm); err != nil || !mayForget(t, shm) {
		t.Skip("needs a memory file system at " + shm)
	}
	dir, err := os.MkdirTemp(shm, "ashlar-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var log bytes.Buffer
	cfg := Config{Name: "n1", Zone: "z1", Listen: "127.0.0.1:0", Control: "127.0.0.1:1",
		Stores: []string{dir}, PoolBytes: 64 << 20, ChunkBytes: testChunk, SegmentBytes: 4 << 20,
		LogBytes: 32 << 20, ReserveChunks: 2, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	n, err := Start(cfg)
	if !errors.Is(err, ErrVolatile) {
		if err == nil {
			n.Close()
		}
		t.Fatalf("error %v, not %v", err, ErrVolatile)
	}
	for _, w := range []string{dir, shm + " (tmpfs)", "memory", "directory on a disk",
		"allow_volatile_cache", "--allow-volatile-cache"} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("the refused directory holds %v, %v", left, err)
	}
	cfg.AllowVolatileCache = true
	if n, err = Start(cfg); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(n.Close(), n.pool.Close()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "level=WARN msg=\"a power cut takes") {
		t.Errorf("no warning in the log:\n%s", &log)
	}
}
