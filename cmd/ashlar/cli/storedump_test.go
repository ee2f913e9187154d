package cli

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/ashlar-storage/ashlar/dataplane/store"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
)

// idleHost is the host of a store that nobody talks to.
type idleHost struct{ store.Host }

func (idleHost) FlushMessages(*store.Owner) {}
func (idleHost) FlushReplies(*store.Owner)  {}

// newStoreDir makes the directory of a store without replicas, stopped in order.
func newStoreDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	fillStore(t, dir)
	return dir
}

// fillStore makes a store of an empty directory or device.
func fillStore(t *testing.T, path string) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	pool, err := buf.NewPool(buf.Config{Bytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	d, err := disk.Open(path, disk.Config{Logger: quiet, NoURing: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Config{Disk: d, Path: path, Pool: pool, Host: idleHost{},
		ChunkSize:   1 << 20,
		SegmentSize: 1 << 20, ReserveChunks: 1, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s.Run()
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// addChunk puts chunk 7/1/0 into a store behind its back.
func addChunk(t *testing.T, dir string) {
	t.Helper()
	var id struct{ UUID uuid.UUID }
	text, err := os.ReadFile(filepath.Join(dir, "STORE"))
	if err != nil || json.Unmarshal(text, &id) != nil {
		t.Fatal(err)
	}
	d, err := disk.OpenDir(dir, disk.Config{Logger: slog.New(slog.DiscardHandler), NoURing: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := chunkfile.Open(chunkfile.Config{Disk: d, Dir: "chunks", StoreID: id.UUID,
		ChunkSize: 1 << 20, Reserve: -1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Create(chunkfile.ID{Group: 7, Volume: 1})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	c.Checkpoint(1, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// fingerprint is everything of a tree that looking must not change.
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
		if !e.IsDir() {
			data, err := os.ReadFile(p)
			fmt.Fprintf(&b, "%x\n", sha256.Sum256(data))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestLookingAtAStoreOfflineChangesNothingInIt(t *testing.T) {
	dir := newStoreDir(t)
	addChunk(t, dir)
	before := fingerprint(t, dir)
	for _, args := range []string{"check", "check --quick", "dump-wal", "dump-wal --segment 0",
		"dump-chunk --slot 0", "dump-chunk --slot 0 --blocks 0-3 --hex"} {
		words := strings.Fields(args)
		line := append([]string{"store", words[0], dir}, words[1:]...)
		status, stdout, stderr := invoke(t, line...)
		if status != exitOK && status != exitDamaged || stdout == "" {
			t.Errorf("%s: status %d, %s%s", args, status, stdout, stderr)
		}
	}
	if after := fingerprint(t, dir); after != before {
		t.Fatalf("before\n%s\nafter\n%s", before, after)
	}
}

func TestStoreCheckEndsWithEightOnlyWhenSomethingIsDamaged(t *testing.T) {
	dir := newStoreDir(t)
	status, stdout, stderr := invoke(t, "store", "check", dir, "-o", "json")
	var doc struct {
		Result   string
		Damage   int
		Findings []struct{ Means, Do, File string }
	}
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil || status != exitOK ||
		doc.Result != "clean" || stderr != "" {
		t.Fatalf("status %d, %v, %s%s", status, err, stdout, stderr)
	}
	addChunk(t, dir) // its copyset is unknown to the log
	status, stdout, stderr = invoke(t, "store", "check", dir, "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil || status != exitDamaged ||
		doc.Damage != 1 || doc.Findings[0].File == "" || doc.Findings[0].Do == "" {
		t.Fatalf("status %d, %v, %s", status, err, stdout)
	}
	if !strings.Contains(stderr, "damaged: 1 findings") {
		t.Error(stderr)
	}
}

func TestAStoreInUseIsNotLookedAtUnlessForced(t *testing.T) {
	dir := newStoreDir(t)
	d, err := disk.OpenDir(dir, disk.Config{Logger: slog.New(slog.DiscardHandler), NoURing: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	status, _, stderr := invoke(t, "store", "check", dir)
	if status != exitRefused || !strings.Contains(stderr, fmt.Sprint(os.Getpid())) ||
		!strings.Contains(stderr, "stop the node") {
		t.Errorf("status %d: %s", status, stderr)
	}
	status, stdout, stderr := invoke(t, "store", "check", dir, "--force")
	if status != exitOK || !strings.Contains(stdout, "clean") ||
		!strings.Contains(stderr, "may look damaged") {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
}

func TestMistakesWithOfflineToolsNameTheFix(t *testing.T) {
	dir, empty := newStoreDir(t), t.TempDir()
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"check", exitUsage, "DIR"},
		{"check " + empty + "/none", exitUsage, "no directory or device of a store"},
		{"check " + empty, exitRefused, "no STORE file"},
		{"dump-wal " + dir + " --limit -1", exitUsage, "--limit"},
		{"dump-chunk " + dir, exitUsage, "--slot N"},
		{"dump-chunk " + dir + " 1/2", exitUsage, "copyset/volume/index"},
		{"dump-chunk " + dir + " 1/2/3 --slot 4", exitUsage, "keep one"},
		{"dump-chunk " + dir + " 1/2/3 --blocks 9-2", exitUsage, "0-15"},
		{"dump-chunk " + dir + " 1/2/3", exitNotFound, "no chunk 1/2/3"},
		{"dump-chunk " + dir + " --slot 99", exitNotFound, "number 99"},
	} {
		line := append([]string{"store"}, strings.Fields(c.args)...)
		status, stdout, stderr := invoke(t, line...)
		if status != c.status || !strings.Contains(stderr, c.want) || stdout != "" ||
			strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, %q, %q", c.args, status, stdout, stderr)
		}
	}
}
