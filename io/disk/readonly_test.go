package disk

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ashlar-storage/ashlar/io/buf"
)

// fingerprint is everything of a tree that reading it must not change: names, modes, sizes,
// contents, and the times of the last change of content and of inode.
func fingerprint(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "%s %v %d %v %v\n", p, info.Mode(), info.Size(), st.Mtim, st.Ctim)
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%x\n", sha256.Sum256(data))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAReadOnlyDiskServesReadsAndChangesNothing(t *testing.T) {
	dir := t.TempDir()
	d := openReal(t, dir, nil, true)
	f, err := d.Create("a", 2*BlockSize)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), d.WriteFile("note", []byte("x")), d.MkdirAll("sub"),
		d.Close()); err != nil {
		t.Fatal(err)
	}
	// What a crash leaves half-made must stay too.
	if err := os.WriteFile(filepath.Join(dir, tmpPrefix+"-b"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := fingerprint(t, dir)
	d, err = OpenDirReadOnly(dir, ReadOnlyConfig{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(dir, Config{Logger: quiet}); !errors.Is(err, ErrLocked) {
		t.Fatalf("a store starts meanwhile: %v", err)
	}
	again, err := OpenDirReadOnly(dir, ReadOnlyConfig{Logger: quiet})
	if err != nil {
		t.Fatalf("two cannot look at once: %v", err)
	}
	tryEverything(t, d)
	if err := errors.Join(again.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	if after := fingerprint(t, dir); after != before {
		t.Fatalf("before\n%s\nafter\n%s", before, after)
	}
}

// tryEverything reads, and expects everything else to be refused.
func tryEverything(t *testing.T, d Disk) {
	t.Helper()
	pool, err := buf.NewPool(buf.Config{Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	b, err := pool.Get(BlockSize)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	f, err := d.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(b.Bytes(), BlockSize); err != nil {
		t.Error(err)
	}
	if data, err := d.ReadFile("note"); err != nil || string(data) != "x" {
		t.Error(data, err)
	}
	vec := [][]byte{b.Bytes()}
	done := make(chan error)
	op := &Op{Kind: Read, Vec: vec, Done: func(op *Op) { done <- op.Err }}
	for _, kind := range []Kind{Read, Write, Sync} {
		op.Kind = kind
		f.Submit(op)
		d.Flush()
		err := <-done
		if kind == Read && err != nil || kind != Read && !errors.Is(err, ErrReadOnly) {
			t.Errorf("%v: %v", kind, err)
		}
	}
	_, created := d.Create("c", BlockSize)
	for what, err := range map[string]error{
		"create": created, "write": f.WriteVec(vec, 0, true), "sync": f.Sync(),
		"rename": d.Rename("a", "b"), "remove": d.Remove("a"), "mkdir": d.MkdirAll("sub/x"),
		"write file": d.WriteFile("note", []byte("y")),
	} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestADirectoryInUseIsNotLookedAtUnlessShared(t *testing.T) {
	dir := t.TempDir()
	d := openReal(t, dir, nil, true)
	defer d.Close()
	_, err := OpenDirReadOnly(dir, ReadOnlyConfig{Logger: quiet})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Fatal(err)
	}
	ro, err := OpenDirReadOnly(dir, ReadOnlyConfig{Logger: quiet, Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := ro.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestADirectoryThatCannotBeWrittenCanBeLookedAt(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenDirReadOnly(filepath.Join(dir, "none"), ReadOnlyConfig{}); !errors.Is(err,
		ErrNotExist) {
		t.Fatal(err)
	}
	d := openReal(t, dir, nil, true)
	f, err := d.Create("a", BlockSize)
	if err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(dir, lockName)
	if err := errors.Join(f.Close(), d.Close(), os.Remove(lock)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	ro, err := OpenDirReadOnly(dir, ReadOnlyConfig{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if names, err := ro.List(""); err != nil || len(names) != 1 {
		t.Error(names, err)
	}
	if err := ro.Close(); err != nil {
		t.Fatal(err)
	}
}
