package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ashlar-storage/ashlar/controlplane/meta/etcdtest"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// What every KV promises is tested here, with each of them.

// each runs a test with an empty KV of every kind.
func each(t *testing.T, test func(t *testing.T, kv KV)) {
	t.Run("pebble", func(t *testing.T) { test(t, openKV(t, "/m", vfs.NewMem())) })
	t.Run("etcd", func(t *testing.T) { test(t, openEtcd(t, EtcdConfig{})) })
}

// shared is one server for the tests that do not harm it; each has a prefix of its own.
var shared struct {
	once    sync.Once
	cluster *etcdtest.Cluster
	err     error
	dir     string
}

func sharedEtcd(t testing.TB) *etcdtest.Cluster {
	t.Helper()
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "ashlar-etcd-"); shared.err == nil {
			shared.cluster, shared.err = etcdtest.Run(shared.dir, etcdtest.Options{})
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.cluster
}

func stopShared() {
	if shared.cluster != nil {
		shared.cluster.Stop()
	}
	if shared.dir != "" {
		_ = os.RemoveAll(shared.dir)
	}
}

// openEtcd opens a KV that ends with the test, on the shared server unless told otherwise.
func openEtcd(t testing.TB, cfg EtcdConfig) *etcdKV {
	t.Helper()
	if cfg.Endpoints == nil {
		cfg.Endpoints = sharedEtcd(t).Endpoints()
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "/" + t.Name()
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	kv, err := OpenEtcd(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kv.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return kv.(*etcdKV)
}

func TestTransactionReadsItsOwnWritesAndFailureLeavesNothing(t *testing.T) {
	each(t, func(t *testing.T, kv KV) {
		mustUpdate(t, kv, func(tx Tx) error {
			return errors.Join(tx.Put([]byte("a"), []byte("1")), tx.Put([]byte("b"), []byte("2")))
		})
		stop := errors.New("stop")
		err := kv.Update(context.Background(), func(tx Tx) error {
			err := errors.Join(tx.Put([]byte("a"), []byte("9")), tx.Delete([]byte("b")))
			if err != nil {
				return err
			}
			if v, err := tx.Get([]byte("a")); err != nil || string(v) != "9" {
				t.Errorf("own write not seen: %q %v", v, err)
			}
			if _, err := tx.Get([]byte("b")); !errors.Is(err, ErrNotFound) {
				t.Errorf("own delete not seen: %v", err)
			}
			return stop
		})
		if !errors.Is(err, stop) {
			t.Fatal(err)
		}
		want := map[string]string{"a": "1", "b": "2"}
		if got := dump(t, kv); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v", got)
		}
	})
}

func TestScanStaysInsideItsPrefixFromAndLimit(t *testing.T) {
	each(t, func(t *testing.T, kv KV) {
		mustUpdate(t, kv, func(tx Tx) error {
			for _, k := range []string{"a", "b", "b1", "b2", "b3", "c", "\xff", "\xff\xff1"} {
				if err := tx.Put([]byte(k), nil); err != nil {
					return err
				}
			}
			return nil
		})
		for _, c := range []struct {
			prefix, from string
			limit        int
			want         []string
		}{
			{"b", "", 0, []string{"b", "b1", "b2", "b3"}},
			{"b", "b2", 0, []string{"b2", "b3"}},
			{"b", "a", 2, []string{"b", "b1"}},
			{"b", "c", 0, nil},
			{"\xff", "", 0, []string{"\xff", "\xff\xff1"}},
			{"z", "", 0, nil},
		} {
			var got []string
			err := kv.View(context.Background(), func(r Reader) error {
				return r.Scan([]byte(c.prefix), []byte(c.from), c.limit, func(k, _ []byte) error {
					got = append(got, string(k))
					return nil
				})
			})
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("scan %q from %q limit %d: %q %v", c.prefix, c.from, c.limit, got, err)
			}
		}
	})
}

func TestConcurrentIncrementsAreAllCounted(t *testing.T) {
	each(t, func(t *testing.T, kv KV) {
		var wg sync.WaitGroup
		seen := make([][]uint64, 8)
		for i := range seen {
			wg.Go(func() {
				for range 50 {
					err := kv.Update(context.Background(), func(tx Tx) error {
						id, err := NextID(tx, CounterVolume)
						seen[i] = append(seen[i], id)
						return err
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(seen...))))
		if len(all) != 400 || all[0] != RootDir+1 || all[399] != RootDir+400 {
			t.Fatalf("ids %d..%d, %d of them", all[0], all[len(all)-1], len(all))
		}
	})
}

func TestOversizedEntriesAndTransactionsAreRefused(t *testing.T) {
	each(t, func(t *testing.T, kv KV) {
		ctx := context.Background()
		err := kv.Update(ctx, func(tx Tx) error {
			return tx.Put([]byte("a"), make([]byte, MaxValueBytes+1))
		})
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("value: %v", err)
		}
		err = kv.Update(ctx, func(tx Tx) error { return tx.Put(make([]byte, MaxKeyBytes+1), nil) })
		if err == nil {
			t.Error("a reserved key was taken")
		}
		err = kv.Update(ctx, func(tx Tx) error {
			for i := range MaxTxnBytes/MaxValueBytes + 1 {
				if err := tx.Put([]byte{'a', byte(i)}, make([]byte, MaxValueBytes)); err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, ErrTooLarge) || len(dump(t, kv)) != 0 {
			t.Errorf("transaction: %v", err)
		}
	})
}

func TestWatchSeesCommittedChangesOfItsPrefixInOrder(t *testing.T) {
	each(t, func(t *testing.T, kv KV) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		w, err := kv.Watch(ctx, []byte("v"))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_ = kv.Update(ctx, func(tx Tx) error { return tx.Put([]byte("v1"), []byte("a")) })
			_ = kv.Update(ctx, func(tx Tx) error { return tx.Put([]byte("n1"), []byte("a")) })
			_ = kv.Update(ctx, func(tx Tx) error {
				_ = tx.Put([]byte("v9"), nil)
				return errors.New("rolled back")
			})
			_ = kv.Update(ctx, func(tx Tx) error {
				return errors.Join(tx.Delete([]byte("v1")), tx.Put([]byte("v2"), []byte{}))
			})
		}()
		var got []string
		for len(got) < 3 {
			changes, err := w.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range changes {
				got = append(got, fmt.Sprintf("%d %s %q %v", c.Revision, c.Key, c.Value, c.Deleted))
			}
		}
		want := []string{`1 v1 "a" false`, `3 v1 "" true`, `3 v2 "" false`}
		if !slices.Equal(got, want) {
			t.Fatalf("got %q", got)
		}
		w.Close()
		if _, err := w.Next(ctx); !errors.Is(err, ErrClosed) {
			t.Fatalf("after close: %v", err)
		}
	})
}

func TestUnreadWatchFallsBehindAndRecovers(t *testing.T) {
	each(t, func(t *testing.T, kv KV) {
		ctx := context.Background()
		w, err := kv.Watch(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		mustUpdate(t, kv, func(tx Tx) error {
			for i := range watchQueue + 1 {
				if err := tx.Put(ID(uint64(i)|1<<63), nil); err != nil {
					return err
				}
			}
			return nil
		})
		if _, err := w.Next(ctx); !errors.Is(err, ErrLagged) {
			t.Fatalf("got %v", err)
		}
		mustUpdate(t, kv, func(tx Tx) error { return tx.Put([]byte("a"), nil) })
		if c, err := w.Next(ctx); err != nil || len(c) != 1 {
			t.Fatalf("got %v %v", c, err)
		}
		if err := kv.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Next(ctx); !errors.Is(err, ErrClosed) {
			t.Fatalf("got %v", err)
		}
		if err := kv.View(ctx, func(Reader) error { return nil }); !errors.Is(err, ErrClosed) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestNewerMetadataIsRefused(t *testing.T) {
	each(t, func(t *testing.T, kv KV) {
		mustUpdate(t, kv, func(tx Tx) error {
			return tx.Put(keyFormat, []byte(formatPrefix+"7\n"))
		})
		if _, err := Init(context.Background(), kv); !errors.Is(err, ErrVersion) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestMetadataWithoutIdentityIsForeign(t *testing.T) {
	each(t, func(t *testing.T, kv KV) {
		mustUpdate(t, kv, func(tx Tx) error { return tx.Put([]byte("/registry/x"), nil) })
		if _, err := Init(context.Background(), kv); !errors.Is(err, ErrForeign) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestTablesKeepRecordsApartAndInOrder(t *testing.T) {
	each(t, func(t *testing.T, kv KV) {
		mustUpdate(t, kv, func(tx Tx) error {
			for _, k := range []uint64{300, 2, 1 << 40} {
				for i := range uint64(3) {
					s := &v1.Segment{Index: i, CopysetIds: []uint64{k}}
					if err := Segments.Put(tx, SegmentKey(k, i), s); err != nil {
						return err
					}
				}
			}
			return Volumes.Put(tx, ID(2), &v1.Volume{VolumeId: 2})
		})
		var got []string
		err := kv.View(context.Background(), func(r Reader) error {
			all, err := Segments.All(r)
			if err != nil || len(all) != 9 || all[0].CopysetIds[0] != 2 {
				t.Errorf("all: %v %v", all, err)
			}
			return Segments.Scan(r, ID(300), SegmentKey(300, 1), 5,
				func(k Key, s *v1.Segment) error {
					got = append(got, fmt.Sprintf("%x %d", []byte(k), s.Index))
					return nil
				})
		})
		want := []string{"000000000000012c0000000000000001 1", "000000000000012c0000000000000002 2"}
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("got %q %v", got, err)
		}
	})
}

func TestDamagedRecordNamesTableAndKey(t *testing.T) {
	each(t, func(t *testing.T, kv KV) {
		mustUpdate(t, kv, func(tx Tx) error {
			return errors.Join(tx.Put(Volumes.Prefix(ID(5)), []byte{1, 0xff}),
				tx.Put(Volumes.Prefix(ID(6)), []byte{RecordVersion + 1}))
		})
		_ = kv.View(context.Background(), func(r Reader) error {
			_, err := Volumes.Get(r, ID(5))
			where := "volume 0000000000000005"
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), where) {
				t.Errorf("damaged: %v", err)
			}
			if _, err = Volumes.Get(r, ID(6)); !errors.Is(err, ErrVersion) {
				t.Errorf("newer: %v", err)
			}
			if _, err = Volumes.Get(r, ID(7)); !errors.Is(err, ErrNotFound) {
				t.Errorf("absent: %v", err)
			}
			return nil
		})
	})
}

func TestScanSeesTheTransactionsOwnWritesAmongTheOthers(t *testing.T) {
	each(t, func(t *testing.T, kv KV) {
		mustUpdate(t, kv, func(tx Tx) error {
			return errors.Join(tx.Put([]byte("b1"), nil), tx.Put([]byte("b3"), []byte("old")),
				tx.Put([]byte("b5"), nil))
		})
		mustUpdate(t, kv, func(tx Tx) error {
			err := errors.Join(tx.Put([]byte("b0"), nil), tx.Put([]byte("b3"), []byte("new")),
				tx.Delete([]byte("b5")), tx.Put([]byte("b9"), nil), tx.Put([]byte("c"), nil))
			for _, c := range []struct {
				limit int
				want  string
			}{{0, "b0= b1= b3=new b9= "}, {3, "b0= b1= b3=new "}, {1, "b0= "}} {
				got := ""
				note := func(k, v []byte) error {
					got += fmt.Sprintf("%s=%s ", k, v)
					return nil
				}
				err = errors.Join(err, tx.Scan([]byte("b"), nil, c.limit, note))
				if got != c.want {
					t.Errorf("limit %d: %q, want %q", c.limit, got, c.want)
				}
			}
			return err
		})
	})
}

func TestLargeTransactionIsWholeOrNotThere(t *testing.T) {
	each(t, func(t *testing.T, kv KV) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		w, err := kv.Watch(ctx, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		const n = 1500
		value := make([]byte, 2000)
		done := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { // sees all of it or nothing, at any time
			for {
				if got := len(dump(t, kv)); got != 0 && got != n {
					t.Errorf("%d of %d keys are there", got, n)
				}
				select {
				case <-done:
					return
				case <-time.After(time.Millisecond):
				}
			}
		})
		mustUpdate(t, kv, func(tx Tx) error {
			for i := range n {
				if err := tx.Put(fmt.Appendf(nil, "x%06d", i), value); err != nil {
					return err
				}
			}
			return nil
		})
		close(done)
		wg.Wait()
		changes, err := w.Next(ctx)
		if err != nil || len(changes) != n || changes[n-1].Revision != 1 {
			t.Errorf("watch: %d changes %v", len(changes), err)
		}
		mustUpdate(t, kv, func(tx Tx) error {
			return errors.Join(tx.Put([]byte("x000003"), []byte("a")), tx.Delete([]byte("x000004")))
		})
		if got := dump(t, kv); len(got) != n-1 || got["x000003"] != "a" {
			t.Errorf("%d keys, %q", len(got), got["x000003"])
		}
	})
}

func TestOneLeadsAndAFormerLeaderWritesNothing(t *testing.T) {
	each(t, func(t *testing.T, kv KV) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if _, err := kv.Leader(ctx, "active"); !errors.Is(err, ErrNotFound) {
			t.Fatalf("nobody stood for election: %v", err)
		}
		first, err := kv.Campaign(ctx, "active", "a:1")
		if err != nil || !first.Held() {
			t.Fatal(err)
		}
		if at, err := kv.Leader(ctx, "active"); err != nil || at != "a:1" {
			t.Fatalf("leader %q %v", at, err)
		}
		soon, stop := context.WithTimeout(ctx, 200*time.Millisecond)
		defer stop()
		if _, err := kv.Campaign(soon, "active", "b:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a second one leads: %v", err)
		}
		put := func(s Store, v string) error {
			return s.Update(ctx, func(tx Tx) error { return tx.Put([]byte("a"), []byte(v)) })
		}
		if err := put(first, "1"); err != nil {
			t.Fatal(err)
		}
		if err := first.Resign(ctx); err != nil || first.Held() {
			t.Fatal("it still leads", err)
		}
		<-first.Lost()
		second, err := kv.Campaign(ctx, "active", "b:1")
		if err != nil {
			t.Fatal(err)
		}
		if err := put(second, "2"); err != nil {
			t.Fatal(err)
		}
		if err := put(first, "3"); !errors.Is(err, ErrLost) {
			t.Fatalf("the former leader wrote: %v", err)
		}
		if at, err := kv.Leader(ctx, "active"); err != nil || at != "b:1" {
			t.Fatalf("leader %q %v", at, err)
		}
		if got := dump(t, kv); got["a"] != "2" {
			t.Fatalf("got %q", got)
		}
	})
}

func TestCampaignEndsWhenTheStoreIsClosed(t *testing.T) {
	each(t, func(t *testing.T, kv KV) {
		ctx := context.Background()
		l, err := kv.Campaign(ctx, "active", "a:1")
		if err != nil {
			t.Fatal(err)
		}
		failed := make(chan error, 1)
		go func() {
			_, err := kv.Campaign(ctx, "active", "b:1")
			failed <- err
		}()
		time.Sleep(20 * time.Millisecond)
		if err := kv.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		<-l.Lost()
	})
}
