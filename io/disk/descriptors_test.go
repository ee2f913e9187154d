package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ashlar-storage/ashlar/io/buf"
)

// crowded is a disk that may have few files open, with many files whose blocks say which one
// they are.
func crowded(t *testing.T, files int, noURing bool) (Disk, []File, *buf.Pool) {
	t.Helper()
	pool, err := buf.NewPool(buf.Config{Bytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	d, err := OpenDir(t.TempDir(), Config{Logger: quiet, NoURing: noURing,
		files: openFiles.Load() + 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(d.Close(), pool.Close()); err != nil {
			t.Error(err)
		}
	})
	list := make([]File, files)
	b, err := pool.Get(BlockSize)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	for i := range list {
		if list[i], err = d.Create(fmt.Sprintf("f%d", i), 2*BlockSize); err != nil {
			t.Fatal(err)
		}
		label(b.Bytes(), i)
		if err := list[i].WriteVec([][]byte{b.Bytes()}, 0, false); err != nil {
			t.Fatal(err)
		}
	}
	return d, list, pool
}

func label(b []byte, i int) { copy(b, fmt.Sprintf("file %6d", i)) }

func labelled(b []byte, i int) bool { return bytes.HasPrefix(b, fmt.Appendf(nil, "file %6d", i)) }

func TestMoreFilesThanDescriptorsAreServedAlike(t *testing.T) {
	for _, noURing := range []bool{false, true} {
		before := openFiles.Load()
		d, files, pool := crowded(t, 100, noURing)
		if n := openFiles.Load() - before; n > 8+parkAtOnce {
			t.Fatalf("%d descriptors are open, the budget is 8", n)
		}
		var wg sync.WaitGroup
		var wrong atomic.Int64
		for worker := range 4 { // more at once than the budget has room for
			b, err := pool.Get(32 * BlockSize)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				defer b.Release()
				for round := range 8 {
					wrong.Add(readMany(d, files, b.Bytes(), worker*31+round*7))
				}
			})
		}
		wg.Wait()
		if n := wrong.Load(); n != 0 {
			t.Errorf("%d of the blocks read are of another file or failed", n)
		}
		for _, f := range files {
			if err := f.Sync(); err != nil {
				t.Error(err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		if n := openFiles.Load(); n != before {
			t.Errorf("%d descriptors are open after all files were closed, %d before", n, before)
		}
	}
}

// readMany reads the mark of some files at once and counts the wrong ones.
func readMany(d Disk, files []File, b []byte, from int) (wrong int64) {
	var wg sync.WaitGroup
	n := len(b) / BlockSize
	ops := make([]Op, n)
	for i := range ops {
		part := b[i*BlockSize:][:BlockSize]
		clear(part)
		ops[i] = Op{Kind: Read, Vec: [][]byte{part}, Done: func(*Op) { wg.Done() }}
		wg.Add(1)
		files[(from+i)%len(files)].Submit(&ops[i])
	}
	d.Flush()
	wg.Wait()
	for i := range ops {
		if ops[i].Err != nil || !labelled(b[i*BlockSize:], (from+i)%len(files)) {
			wrong++
		}
	}
	return wrong
}

// A file that was replaced while it was parked must not be taken for the one that was opened.
func TestAParkedFileThatWasReplacedFailsInsteadOfServingAnother(t *testing.T) {
	d, files, pool := crowded(t, 60, true)
	b, err := pool.Get(BlockSize)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	replaced := 0
	for i, f := range files {
		if !f.(*fdFile).gate.isParked() {
			continue
		}
		replaced++
		name := filepath.Join(d.(*dirDisk).root, fmt.Sprintf("f%d", i))
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, make([]byte, 2*BlockSize), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(b.Bytes(), 0); !errors.Is(err, ErrNotExist) {
			t.Fatalf("file %d: %v", i, err)
		}
	}
	if replaced == 0 {
		t.Fatal("no file was parked: the test does not reach it")
	}
}
