package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

var quiet = slog.New(slog.DiscardHandler)

// inhabited makes the directory of a control plane with a cluster in it, and returns what it holds.
func inhabited(t testing.TB) (dir string, holds map[string]string) {
	t.Helper()
	dir = t.TempDir()
	kv, err := OpenPebble(dir, PebbleConfig{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Init(context.Background(), kv); err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, kv, func(tx Tx) (err error) {
		for _, s := range samples() {
			err = errors.Join(err, tx.Put(s.key, s.value))
		}
		for i := range uint64(1000) {
			err = errors.Join(err, Segments.Put(tx, SegmentKey(9, i), &v1.Segment{Index: i}))
		}
		return errors.Join(err, tx.Put([]byte("zlarge"), make([]byte, MaxValueBytes)))
	})
	holds = dump(t, kv)
	if err := kv.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, holds
}

// brittle is a KV that fails, or spoils what is written, from an Update on.
type brittle struct {
	KV
	left  int
	spoil bool
}

var errBrittle = errors.New("broken off")

func (b *brittle) Update(ctx context.Context, fn func(Tx) error) error {
	if b.left--; b.left < 0 && !b.spoil {
		return errBrittle
	}
	return b.KV.Update(ctx, func(tx Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		if b.spoil && b.left == 0 {
			return tx.Put(Segments.Prefix(SegmentKey(9, 3)), []byte("spoilt"))
		}
		return nil
	})
}

func TestMetadataMoveToEtcdAndTheDirectoryIsRefusedAfter(t *testing.T) {
	dir, holds := inhabited(t)
	to := openEtcd(t, EtcdConfig{})
	ctx := context.Background()
	m, err := Migrate(ctx, dir, to, "etcd", quiet)
	if err != nil {
		t.Fatal(err)
	}
	if got := dump(t, to); !reflect.DeepEqual(got, holds) {
		t.Fatalf("%d keys, want %d", len(got), len(holds))
	}
	if m.Keys != uint64(len(holds)-2) || len(m.SHA256) != 64 ||
		m.ClusterID != holds["icluster_id"] {
		t.Errorf("moved %+v", m)
	}
	if id, err := Init(ctx, to); err != nil || id.Fresh || id.ClusterID != m.ClusterID {
		t.Errorf("%+v %v", id, err)
	}
	_, err = OpenPebble(dir, PebbleConfig{Logger: quiet})
	if !errors.Is(err, ErrMoved) || !strings.Contains(err.Error(), "--undo") ||
		!strings.Contains(err.Error(), "moved to etcd") {
		t.Errorf("the directory: %v", err)
	}
	if _, err := Migrate(ctx, dir, to, "etcd", quiet); !errors.Is(err, ErrExists) {
		t.Errorf("a second time: %v", err)
	}
	elsewhere := openEtcd(t, EtcdConfig{Prefix: "/elsewhere"})
	if _, err := Migrate(ctx, dir, elsewhere, "elsewhere", quiet); !errors.Is(err, ErrMoved) {
		t.Errorf("to elsewhere: %v", err)
	}
	if err := Unmove(dir); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, openKV(t, dir, nil)); !reflect.DeepEqual(got, holds) {
		t.Errorf("after taking it back: %d keys, want %d", len(got), len(holds))
	}
	if err := Unmove(dir); !errors.Is(err, ErrNotFound) {
		t.Errorf("taken back twice: %v", err)
	}
}

// Wherever a move ends, at most one side can be used, and the same call completes it.
func TestMoveThatIsBrokenOffIsBegunAgain(t *testing.T) {
	ctx := context.Background()
	for n := 0; ; n++ {
		dir, holds := inhabited(t)
		to := openEtcd(t, EtcdConfig{Prefix: fmt.Sprintf("/%s/%d", t.Name(), n)})
		_, err := Migrate(ctx, dir, &brittle{KV: to, left: n}, "etcd", quiet)
		if err == nil {
			if n < 10 {
				t.Errorf("only %d transactions: the test tests little", n)
			}
			return
		}
		if !errors.Is(err, errBrittle) {
			t.Fatal(err)
		}
		kv, err := OpenPebble(dir, PebbleConfig{Logger: quiet})
		if err == nil {
			err = kv.Close()
		} else if errors.Is(err, ErrMoved) {
			err = nil
		}
		if err != nil {
			t.Fatalf("after %d transactions the directory: %v", n, err)
		}
		if n > 0 {
			if _, err := Init(ctx, to); !errors.Is(err, ErrForeign) ||
				!strings.Contains(err.Error(), "migrate") {
				t.Fatalf("after %d transactions the copy can be used: %v", n, err)
			}
		}
		if _, err := Migrate(ctx, dir, to, "etcd", quiet); err != nil {
			t.Fatalf("after %d transactions, again: %v", n, err)
		}
		if got := dump(t, to); !reflect.DeepEqual(got, holds) {
			t.Fatalf("after %d transactions, again: %d keys, want %d", n, len(got), len(holds))
		}
	}
}

func TestSpoiltCopyIsNoticedAndTheDirectoryStays(t *testing.T) {
	dir, holds := inhabited(t)
	to := &brittle{KV: openEtcd(t, EtcdConfig{}), left: 9, spoil: true}
	_, err := Migrate(context.Background(), dir, to, "etcd", quiet)
	if !errors.Is(err, ErrCorrupt) {
		t.Fatalf("got %v", err)
	}
	if got := dump(t, openKV(t, dir, nil)); !reflect.DeepEqual(got, holds) {
		t.Errorf("the directory: %d keys, want %d", len(got), len(holds))
	}
}

func TestMoveRefusesWhatIsNotItsOwn(t *testing.T) {
	ctx := context.Background()
	to := openEtcd(t, EtcdConfig{})
	absent := filepath.Join(t.TempDir(), "absent")
	if _, err := Migrate(ctx, absent, to, "etcd", quiet); err == nil {
		t.Error("an absent directory was moved")
	}
	if _, err := os.Stat(absent); err == nil {
		t.Error("and made")
	}
	used, _ := inhabited(t)
	kv := openKV(t, used, nil)
	if _, err := Migrate(ctx, used, to, "etcd", quiet); !errors.Is(err, ErrLocked) {
		t.Errorf("a directory in use: %v", err)
	}
	if err := kv.Close(); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, to); len(got) != 0 {
		t.Errorf("the target has %d keys", len(got))
	}
	mustUpdate(t, to, func(tx Tx) error { return tx.Put(keyMoving, []byte("another")) })
	if _, err := Migrate(ctx, used, to, "etcd", quiet); !errors.Is(err, ErrExists) {
		t.Errorf("over a part of another cluster: %v", err)
	}
}

// Metadata of a cluster with a volume of 64 TiB.
func BenchmarkMove(b *testing.B) {
	dir, _ := inhabited(b)
	kv := openKV(b, dir, nil)
	mustUpdate(b, kv, func(tx Tx) (err error) {
		ids := make([]uint64, 16)
		for i := range uint64(64 << 10) {
			s := &v1.Segment{Index: i, CopysetIds: ids}
			err = errors.Join(err, Segments.Put(tx, SegmentKey(10, i), s))
		}
		return err
	})
	if err := kv.Close(); err != nil {
		b.Fatal(err)
	}
	for n := 0; b.Loop(); n++ {
		to := openEtcd(b, EtcdConfig{Prefix: fmt.Sprintf("/move%d-%d", os.Getpid(), n)})
		if _, err := Migrate(context.Background(), dir, to, "etcd", quiet); err != nil {
			b.Fatal(err)
		}
		if err := Unmove(dir); err != nil {
			b.Fatal(err)
		}
	}
}
