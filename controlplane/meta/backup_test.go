package meta

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var backupTime = time.Unix(1_900_000_000, 5)

// backupOf is a backup file of the samples, and what is in it.
func backupOf(t testing.TB) (path string, holds map[string]string) {
	t.Helper()
	dir, holds := inhabited(t)
	path = filepath.Join(t.TempDir(), "backup")
	if _, err := BackUp(context.Background(), openKV(t, dir, nil), path, backupTime); err != nil {
		t.Fatal(err)
	}
	return path, holds
}

func TestBackupFormatIsPinned(t *testing.T) {
	var b bytes.Buffer
	info := Backup{ClusterID: "6f1c1f6e-0d5c-4a53-9d3c-0f6a2b7d9e11", Revision: 7,
		Taken: backupTime}
	w, err := newBackupWriter(&b, info)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []string{"a", "b", "c"} {
		if err := w.add([]byte(r), []byte("value of "+r)); err != nil {
			t.Fatal(err)
		}
		if r == "b" {
			if err := w.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	made, err := w.end()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "backup-v1.golden")
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(want, b.Bytes()) {
		t.Fatalf("the format changed; raise backupVersion and read both: %v\n%x", err, b.Bytes())
	}
	got, err := readBackup(&b, func([]byte, []byte) error { return nil })
	if err != nil || got.SHA256 != made.SHA256 || got.Records != 3 || got.Revision != 7 ||
		!got.Taken.Equal(backupTime) || got.ClusterID != info.ClusterID || got.Bytes != made.Bytes {
		t.Fatalf("%+v %v, want %+v", got, err, made)
	}
}

// Whatever byte of a backup is another, and wherever it ends, it is not taken for one.
func TestBackupWithAnyByteChangedOrCutOffIsRefused(t *testing.T) {
	sound, err := os.ReadFile(filepath.Join("testdata", "backup-v1.golden"))
	if err != nil {
		t.Fatal(err)
	}
	read := func(b []byte) error {
		_, err := readBackup(bytes.NewReader(b), func([]byte, []byte) error { return nil })
		return err
	}
	if err := read(sound); err != nil {
		t.Fatal(err)
	}
	for i := range sound {
		for _, flip := range []byte{1, 0x80, 0xff} {
			bad := bytes.Clone(sound)
			bad[i] ^= flip
			if err := read(bad); !errors.Is(err, ErrBackup) && !errors.Is(err, ErrVersion) {
				t.Fatalf("byte %d changed by %#x: %v", i, flip, err)
			}
		}
		if err := read(sound[:i]); !errors.Is(err, ErrBackup) {
			t.Fatalf("cut off at %d: %v", i, err)
		}
	}
	if err := read(append(bytes.Clone(sound), 0)); !errors.Is(err, ErrBackup) {
		t.Errorf("with a byte behind its end: %v", err)
	}
	newer := bytes.Clone(sound)
	newer[8] = backupVersion + 1
	if err := read(newer); !errors.Is(err, ErrVersion) {
		t.Errorf("newer: %v", err)
	}
}

func FuzzReadBackup(f *testing.F) {
	sound, err := os.ReadFile(filepath.Join("testdata", "backup-v1.golden"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sound)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := readBackup(bytes.NewReader(b), func([]byte, []byte) error { return nil })
		if err != nil && !errors.Is(err, ErrBackup) && !errors.Is(err, ErrVersion) {
			t.Errorf("an error without a class: %v", err)
		}
	})
}

func TestBackupIsOneSnapshotAndNeverHalfUnderItsName(t *testing.T) {
	each(t, func(t *testing.T, kv KV) {
		ctx := context.Background()
		if _, err := Init(ctx, kv); err != nil {
			t.Fatal(err)
		}
		mustUpdate(t, kv, func(tx Tx) error { return tx.Put([]byte("a"), []byte("1")) })
		holds := dump(t, kv)
		path := filepath.Join(t.TempDir(), "backup")
		var revision uint64
		err := kv.View(ctx, func(r Reader) (err error) {
			if revision, err = r.Revision(); err != nil {
				return err
			}
			// What is written meanwhile is not in it.
			mustUpdate(t, kv, func(tx Tx) error { return tx.Put([]byte("a"), []byte("2")) })
			info := Backup{ClusterID: holds["icluster_id"], Revision: revision, Taken: backupTime}
			_, err = CreateBackup(path, info, func(add func(k, v []byte) error) error {
				return EachRecord(r, nil, add)
			})
			return err
		})
		if err != nil || revision != 2 {
			t.Fatal(revision, err)
		}
		got := map[string]string{}
		_, err = eachOf(path, func(k, v []byte) error {
			got[string(k)] = string(v)
			return nil
		})
		if err != nil || !reflect.DeepEqual(got, holds) {
			t.Errorf("%q, want %q: %v", got, holds, err)
		}
		if _, err := BackUp(ctx, kv, path, backupTime); !errors.Is(err, ErrExists) {
			t.Errorf("over another: %v", err)
		}
		other := path + "2"
		stop := errors.New("stop")
		_, err = CreateBackup(other, Backup{ClusterID: holds["icluster_id"]},
			func(func(k, v []byte) error) error { return stop })
		names, _ := os.ReadDir(filepath.Dir(path))
		if !errors.Is(err, stop) || len(names) != 1 {
			t.Errorf("broken off: %v, %v", err, names)
		}
	})
}

// restoredTo is what a KV must hold after a restore of what was backed up.
func checkRestored(t *testing.T, kv KV, holds map[string]string, done Restoration) {
	t.Helper()
	got := dump(t, kv)
	for k, v := range holds {
		if !strings.HasPrefix(k, "c") && got[k] != v {
			t.Errorf("%q is %q, want %q", k, got[k], v)
		}
	}
	var mark *Restored
	err := kv.View(context.Background(), func(r Reader) (err error) {
		if mark, err = ReadRestored(r); err != nil {
			return err
		}
		for _, c := range counters {
			last, err := LastID(r, c)
			if err != nil || last != mark.Floor {
				t.Errorf("counter %s is at %d, want %d: %v", c, last, mark.Floor, err)
			}
		}
		e, err := Events.Get(r, ID(mark.Floor))
		if err != nil || e.Kind != "metadata-restored" {
			t.Errorf("event: %+v %v", e, err)
		}
		return nil
	})
	if err != nil || *mark != done.Restored {
		t.Fatalf("%+v %v, want %+v", mark, err, done.Restored)
	}
	if n := len(holds) + len(counters) + 2; len(got) != n {
		t.Errorf("%d keys, want %d", len(got), n)
	}
	id, err := Init(context.Background(), kv)
	if err != nil || id.Fresh || id.ClusterID != holds["icluster_id"] {
		t.Errorf("%+v %v", id, err)
	}
}

func TestRestoredMetadataAreThoseOfTheBackupAndEveryNumberIsNew(t *testing.T) {
	path, holds := backupOf(t)
	each(t, func(t *testing.T, kv KV) {
		ctx := context.Background()
		now := time.Unix(2_000_000_000, 0)
		done, err := Restore(ctx, path, kv, "here", now)
		if err != nil {
			t.Fatal(err)
		}
		checkRestored(t, kv, holds, done)
		if done.Restored.Floor != 2_000_000_000_000 || done.Restored.TakenNS !=
			backupTime.UnixNano() {
			t.Errorf("%+v", done.Restored)
		}
		if _, err := Restore(ctx, path, kv, "here", now); !errors.Is(err, ErrExists) {
			t.Errorf("a second time: %v", err)
		}
	})
}

// A clock that stands in the past does not bring old numbers back.
func TestFloorIsAboveTheBackupWhateverTheClockSays(t *testing.T) {
	path, _ := backupOf(t)
	kv := openKV(t, t.TempDir(), nil)
	done, err := Restore(context.Background(), path, kv, "here", time.Unix(3, 0))
	if err != nil || done.Restored.Floor != 13+RestoredJump { // 13 is the sample's event
		t.Errorf("%+v %v", done.Restored, err)
	}
}

// Two restores of the same backup give out different numbers.
func TestSecondRestoreOfABackupIsAboveTheFirst(t *testing.T) {
	path, _ := backupOf(t)
	ctx := context.Background()
	first, err := Restore(ctx, path, openKV(t, t.TempDir(), nil), "here", backupTime)
	if err != nil {
		t.Fatal(err)
	}
	later := backupTime.Add(time.Hour)
	second, err := Restore(ctx, path, openKV(t, t.TempDir(), nil), "here", later)
	if err != nil || second.Restored.Floor < first.Restored.Floor+3_600_000 {
		t.Errorf("%+v after %+v: %v", second, first, err)
	}
}

func TestRestoreThatIsBrokenOffIsBegunAgain(t *testing.T) {
	path, holds := backupOf(t)
	ctx := context.Background()
	for n := 0; ; n++ {
		kv := openKV(t, t.TempDir(), nil)
		_, err := Restore(ctx, path, &brittle{KV: kv, left: n}, "here", backupTime)
		if err == nil {
			if n < 10 {
				t.Errorf("only %d transactions: the test tests little", n)
			}
			return
		}
		if !errors.Is(err, errBrittle) {
			t.Fatal(err)
		}
		if n > 0 {
			if _, err := Init(ctx, kv); !errors.Is(err, ErrForeign) ||
				!strings.Contains(err.Error(), "restore") {
				t.Fatalf("after %d transactions it can be used: %v", n, err)
			}
		}
		done, err := Restore(ctx, path, kv, "here", backupTime)
		if err != nil {
			t.Fatalf("after %d transactions, again: %v", n, err)
		}
		checkRestored(t, kv, holds, done)
	}
}

func TestSpoiltRestoreIsNoticed(t *testing.T) {
	path, _ := backupOf(t)
	kv := openKV(t, t.TempDir(), nil)
	to := &brittle{KV: kv, left: 9, spoil: true}
	if _, err := Restore(context.Background(), path, to, "here", backupTime); !errors.Is(err,
		ErrCorrupt) {
		t.Fatalf("got %v", err)
	}
	if _, err := Init(context.Background(), kv); !errors.Is(err, ErrForeign) {
		t.Errorf("it can be used: %v", err)
	}
}

func TestDamagedBackupWritesNothing(t *testing.T) {
	path, _ := backupOf(t)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 4
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	kv := openKV(t, t.TempDir(), nil)
	_, err = Restore(context.Background(), path, kv, "here", backupTime)
	if !errors.Is(err, ErrBackup) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	if got := dump(t, kv); len(got) != 0 {
		t.Errorf("%d keys were written", len(got))
	}
}

func TestRestoreOfNothingHoldsTheIdentityAlone(t *testing.T) {
	ctx := context.Background()
	const cluster = "6f1c1f6e-0d5c-4a53-9d3c-0f6a2b7d9e11"
	kv := openKV(t, t.TempDir(), nil)
	done, err := RestoreNothing(ctx, cluster, kv, "here", backupTime)
	if err != nil {
		t.Fatal(err)
	}
	checkRestored(t, kv, map[string]string{"icluster_id": cluster, "iformat": formatPrefix + "1\n"},
		done)
	if _, err := RestoreNothing(ctx, cluster, kv, "here", backupTime); !errors.Is(err, ErrExists) {
		t.Errorf("a second time: %v", err)
	}
	if _, err := RestoreNothing(ctx, "mine", kv, "here", backupTime); !errors.Is(err, ErrForeign) {
		t.Errorf("a cluster that is none: %v", err)
	}
}
