package meta

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ashlar-storage/ashlar/controlplane/meta/etcdtest"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// An update may be unavailable for as long as etcd is, but what it said it did must be there, and
// nothing else.
func TestEtcdKilledAmongUpdatesLosesNoneAndHalvesNone(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	kv := openEtcd(t, EtcdConfig{Endpoints: c.Endpoints()})
	kills := 4
	updates := 1000
	if testing.Short() {
		kills, updates = 2, 300
	}
	var acked sync.Map
	stop := make(chan struct{})
	var killer sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); killer.Wait() })
	t.Cleanup(end) // before the member ends
	killer.Go(func() {
		for range kills {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(100+rand.IntN(400)) * time.Millisecond):
			}
			c.Members[0].Kill()
			if err := c.Members[0].Restart(); err != nil {
				t.Error(err)
			}
		}
	})
	refused := 0
	var open []int // of which nobody knows
	for i := range updates {
		keys := 2
		if i%50 == 7 {
			keys = 3 * etcdOps // through the journal
		}
		err := kv.Update(context.Background(), func(tx Tx) error {
			for k := range keys {
				if err := tx.Put(pairKey(i, k), ID(uint64(keys))); err != nil {
					return err
				}
			}
			_, err := NextID(tx, CounterVolume)
			return err
		})
		switch {
		case err == nil:
			acked.Store(i, keys)
		case errors.Is(err, ErrUnavailable):
			refused++
		case errors.Is(err, ErrFailed): // a busy disk's member, long in coming back
			open, kv = append(open, i), reopenEtcd(t, c)
		default:
			t.Fatalf("update %d: %v", i, err)
		}
	}
	end()
	findOut(t, kv, open, &acked)
	checkWhole(t, kv, &acked)
	if len(open) > kills {
		t.Errorf("%d updates failed, etcd was killed %d times", len(open), kills)
	}
	t.Logf("%d updates, %d refused, %d kills", updates, refused, kills)
}

// reopenEtcd opens the metadata anew when its store has failed, as soon as etcd answers.
func reopenEtcd(t *testing.T, c *etcdtest.Cluster) *etcdKV {
	t.Helper()
	cfg := EtcdConfig{Endpoints: c.Endpoints(), Prefix: "/" + t.Name(),
		Logger: slog.New(slog.DiscardHandler)}
	for end := time.Now().Add(30 * time.Second); ; {
		kv, err := OpenEtcd(context.Background(), cfg)
		if err == nil {
			t.Cleanup(func() { kv.Close() })
			return kv.(*etcdKV)
		}
		if !errors.Is(err, ErrUnavailable) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// findOut adds those to what was acknowledged that took place though nobody was told. An update
// before it ends the condition of every commit that is still on its way.
func findOut(t *testing.T, kv KV, open []int, acked *sync.Map) {
	t.Helper()
	mustUpdate(t, kv, func(tx Tx) error { return tx.Put([]byte("end"), nil) })
	mustUpdate(t, kv, func(tx Tx) error { return tx.Delete([]byte("end")) })
	there := dump(t, kv)
	for _, i := range open {
		if v, took := there[string(pairKey(i, 0))]; took {
			acked.Store(i, int(binary.BigEndian.Uint64([]byte(v))))
		}
	}
}

func pairKey(i, k int) []byte { return fmt.Appendf(nil, "p%06d/%04d", i, k) }

// checkWhole compares the keys of pairKey, and the counter that each update raised, with what was
// acknowledged.
func checkWhole(t *testing.T, kv KV, acked *sync.Map) {
	t.Helper()
	got, want, updates := dump(t, kv), 0, uint64(0)
	acked.Range(func(i, keys any) bool {
		updates++
		want += keys.(int)
		for k := range keys.(int) {
			if got[string(pairKey(i.(int), k))] != string(ID(uint64(keys.(int)))) {
				t.Errorf("update %d was acknowledged, key %d of %d is not there", i, k, keys)
			}
		}
		return true
	})
	if len(got) != want+1 {
		t.Errorf("%d keys are there, %d were acknowledged", len(got)-1, want)
	}
	if got := got[string(CounterVolume.key())]; got != string(ID(RootDir+updates)) {
		t.Errorf("the counter is %x after %d updates", got, updates)
	}
}

// A member that is stopped while it has a commit carries it out later, when the client has long
// asked another: what the client made of it must be the truth.
func TestCommitsThroughAStoppedMemberAreFoundOut(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{Members: 3})
	kv := openEtcd(t, EtcdConfig{Endpoints: c.Endpoints()})
	stop := make(chan struct{})
	var stopper sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); stopper.Wait() })
	t.Cleanup(end) // before the members end
	stopper.Go(func() {
		for n := 0; ; n++ {
			m := c.Members[n%3]
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
			err := m.Pause()
			time.Sleep(1500 * time.Millisecond)
			if err = errors.Join(err, m.Resume()); err != nil {
				t.Error(err)
			}
		}
	})
	var acked sync.Map
	rounds := 15 * time.Second
	if testing.Short() {
		rounds = 5 * time.Second
	}
	slow, i := 0, 0
	var open []int // of which nobody knows, as etcd stayed silent
	for over := time.Now().Add(rounds); time.Now().Before(over); i++ {
		begun := time.Now()
		err := kv.Update(context.Background(), func(tx Tx) error {
			_, err := NextID(tx, CounterVolume)
			return errors.Join(err, tx.Put(pairKey(i, 0), ID(1)))
		})
		if time.Since(begun) > etcdTry/2 {
			slow++
		}
		switch {
		case err == nil:
			acked.Store(i, 1)
		case errors.Is(err, ErrFailed): // of a busy disk's members, with one stopped
			open, kv = append(open, i), reopenEtcd(t, c)
		case !errors.Is(err, ErrUnavailable):
			t.Fatalf("update %d: %v", i, err)
		}
	}
	end()
	findOut(t, kv, open, &acked)
	checkWhole(t, kv, &acked)
	t.Logf("%d updates, %d of them hung on a stopped member, %d failed", i, slow, len(open))
	if len(open) > 1+i/10 {
		t.Error("etcd is silent most of the time")
	}
	if slow == 0 {
		t.Error("no update met a stopped member: the test tests nothing")
	}
}

func TestCommitWhoseAnswerIsLostIsFoundOut(t *testing.T) {
	way := etcdtest.Forward(t, sharedEtcd(t).Members[0].Addr)
	kv := openEtcd(t, EtcdConfig{Endpoints: []string{way.Addr}})
	cut := sync.OnceFunc(func() {
		way.CutAnswers()
		time.AfterFunc(1500*time.Millisecond, way.Heal)
	})
	err := kv.Update(context.Background(), func(tx Tx) error {
		_, err := NextID(tx, CounterVolume)
		cut()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := dump(t, kv); got[string(CounterVolume.key())] != string(ID(RootDir+1)) {
		t.Fatalf("got %q", got)
	}
}

// A commit that is still on its way when its author asks what became of it must not come after the
// author was told that it did not take place.
func TestLostCommitCannotComeAfterItWasGivenUp(t *testing.T) {
	kv, ctx := openEtcd(t, EtcdConfig{}), context.Background()
	s, err := kv.snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	next := head{revision: s.head.revision + 1, commit: [16]byte{1}}
	err = kv.plain.resolve(ctx, s, next, errors.New("no answer"))
	if !errors.Is(err, errConflict) {
		t.Fatalf("got %v", err)
	}
	late, err := kv.cli.Txn(ctx).If(kv.headIs(s.headMod)).
		Then(clientv3.OpPut(kv.key(etcdHeadKey), string(next.encode()))).Commit()
	if err != nil || late.Succeeded {
		t.Errorf("the lost commit took place after all: %v", err)
	}
}

func TestCommitThatStaysUnknownFailsTheStore(t *testing.T) {
	way := etcdtest.Forward(t, sharedEtcd(t).Members[0].Addr)
	kv := openEtcd(t, EtcdConfig{Endpoints: []string{way.Addr}})
	put := func(then func()) error {
		return kv.Update(context.Background(), func(tx Tx) error {
			then()
			return tx.Put([]byte("a"), nil)
		})
	}
	if err := put(way.CutAnswers); !errors.Is(err, ErrFailed) {
		t.Fatalf("got %v", err)
	}
	way.Heal()
	if err := put(func() {}); !errors.Is(err, ErrFailed) {
		t.Fatalf("the store recovered by itself: %v", err)
	}
	if got := dump(t, openEtcd(t, EtcdConfig{})); len(got) != 1 {
		t.Fatalf("got %q", got)
	}
}

func TestWritersOfSeveralProcessesDoNotMix(t *testing.T) {
	const writers, each = 4, 25
	first := openEtcd(t, EtcdConfig{})
	var wg sync.WaitGroup
	for range writers {
		kv := openEtcd(t, EtcdConfig{})
		wg.Go(func() {
			for range each {
				err := kv.Update(context.Background(), func(tx Tx) error {
					n := 0
					err := tx.Scan([]byte("p"), nil, 0, func(k, v []byte) error {
						n++
						return nil
					})
					id, err2 := NextID(tx, CounterVolume)
					if int(id) != RootDir+1+n {
						err = fmt.Errorf("id %d with %d keys", id, n)
					}
					return errors.Join(err, err2, tx.Put(pairKey(n, 0), nil))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := dump(t, first); len(got) != writers*each+1 {
		t.Fatalf("%d keys", len(got))
	}
}

func TestLeaderThatIsCutOffStopsBeforeAnotherLeads(t *testing.T) {
	way := etcdtest.Forward(t, sharedEtcd(t).Members[0].Addr)
	cut := openEtcd(t, EtcdConfig{Endpoints: []string{way.Addr}})
	other := openEtcd(t, EtcdConfig{})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	old := mustLead(t, cut, "a:1")
	way.Cut()
	begun := time.Now()
	won := make(chan time.Time, 1)
	go func() {
		if _, err := other.Campaign(ctx, "active", "b:1"); err != nil {
			t.Error(err)
		}
		won <- time.Now()
	}()
	<-old.Lost()
	stopped := time.Now()
	if old.Held() {
		t.Fatal("it is lost and held")
	}
	next := <-won
	t.Logf("cut off: stopped after %v, the next leads after %v", stopped.Sub(begun),
		next.Sub(begun))
	if next.Before(stopped) {
		t.Error("two led at a time")
	}
	// A process that was stopped does not know yet that its time is over. Its writes must not pass.
	way.Heal()
	l := old.(*etcdLeadership)
	l.mu.Lock()
	l.until, l.lost = time.Now().Add(time.Hour), make(chan struct{})
	l.mu.Unlock()
	err := old.Update(ctx, func(tx Tx) error { return tx.Put([]byte("a"), nil) })
	if !errors.Is(err, ErrLost) || old.Held() {
		t.Errorf("the former leader wrote: %v", err)
	}
	if got := dump(t, other); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

func TestLeaderWhoseKeyIsDeletedStops(t *testing.T) {
	kv := openEtcd(t, EtcdConfig{})
	ctx := context.Background()
	l, err := kv.Campaign(ctx, "active", "a:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.cli.Delete(ctx, kv.key(etcdElection)+"active"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-l.Lost():
	case <-time.After(5 * DefaultLease):
		t.Error("it goes on leading")
	}
}

// Without this, the renewal's goroutine would end the leadership a second time and panic.
func TestRenewalThatWasUnderWayDoesNotBringALeadershipBack(t *testing.T) {
	kv, ctx := openEtcd(t, EtcdConfig{}), context.Background()
	lead, err := kv.Campaign(ctx, "active", "a:1")
	if err != nil {
		t.Fatal(err)
	}
	l := lead.(*etcdLeadership)
	before := l.left()
	l.extend(time.Now().Add(time.Hour))
	if l.left() <= before {
		t.Fatal("a renewal changes nothing")
	}
	if err := l.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	l.extend(time.Now().Add(time.Hour))
	if l.Held() {
		t.Error("it is lost and held")
	}
	err = l.Update(ctx, func(tx Tx) error { return tx.Put([]byte("a"), nil) })
	if !errors.Is(err, ErrLost) {
		t.Errorf("the former leader wrote: %v", err)
	}
	if err := l.Resign(ctx); err != nil {
		t.Error(err)
	}
}

// A leader that died between commit and carrying out, or before the commit.
func TestJournalIsCarriedOutByWhoeverComesNextOrSwept(t *testing.T) {
	kv, ctx := openEtcd(t, EtcdConfig{}), context.Background()
	mustUpdate(t, kv, func(tx Tx) error {
		return errors.Join(tx.Put([]byte("p"), []byte("old")), tx.Put([]byte("q"), nil))
	})
	writes := []write{{key: []byte("p"), value: []byte("new")}, {key: []byte("q"), deleted: true}}
	for k := range 3 * etcdOps {
		writes = append(writes, write{key: pairKey(1, k), value: make([]byte, 9000)})
	}
	s, err := kv.snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	never := head{commit: [16]byte{1}}
	if _, err := kv.stage(ctx, &never, writes); err != nil || never.parts < 2 {
		t.Fatal(never.parts, err)
	}
	next := head{revision: s.head.revision + 1, commit: [16]byte{2}}
	conds, err := kv.stage(ctx, &next, writes)
	if err != nil {
		t.Fatal(err)
	}
	err = kv.plain.send(ctx, s, next, append(conds, kv.headIs(s.headMod)),
		[]clientv3.Op{clientv3.OpPut(kv.key(etcdHeadKey), string(next.encode()))})
	if err != nil {
		t.Fatal(err)
	}
	other := openEtcd(t, EtcdConfig{})
	if got := dump(t, other); len(got) != 3*etcdOps+1 || got["p"] != "new" {
		t.Fatalf("%d keys, %q", len(got), got["p"])
	}
	// What the dead leader's last request does when it comes now: nothing.
	if err := kv.underHead(ctx, s, clientv3.OpPut(kv.key(etcdData)+"p", "late")); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, other)["p"]; got != "new" {
		t.Errorf("a late request made it %q", got)
	}
	if staged(t, kv) == 0 {
		t.Fatal("the staged transaction is gone: the test tests nothing")
	}
	if _, err := other.Campaign(ctx, "active", "b:1"); err != nil {
		t.Fatal(err)
	}
	if n := staged(t, kv); n != 0 {
		t.Errorf("%d parts are left in the journal", n)
	}
}

func staged(t *testing.T, kv *etcdKV) int64 {
	t.Helper()
	resp, err := kv.cli.Get(context.Background(), kv.key(etcdJournal), clientv3.WithPrefix(),
		clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return resp.Count
}

func TestDamagedJournalIsRefused(t *testing.T) {
	kv, ctx := openEtcd(t, EtcdConfig{}), context.Background()
	next := head{revision: 1, parts: 2}
	for _, kv2 := range [][2]string{
		{kv.partKey(next.commit, 0), string(encodeParts([]write{{key: []byte("a")}})[0])},
		{kv.key(etcdHeadKey), string(next.encode())},
	} {
		if _, err := kv.cli.Put(ctx, kv2[0], kv2[1]); err != nil {
			t.Fatal(err)
		}
	}
	err := kv.View(ctx, func(Reader) error { return nil })
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "1 parts, 2 were written") {
		t.Errorf("got %v", err)
	}
}

func TestWatchOverACompactionFallsBehind(t *testing.T) {
	way := etcdtest.Forward(t, sharedEtcd(t).Members[0].Addr)
	kv := openEtcd(t, EtcdConfig{Endpoints: []string{way.Addr}})
	other := openEtcd(t, EtcdConfig{})
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	w, err := kv.Watch(ctx, []byte("p"))
	if err != nil {
		t.Fatal(err)
	}
	put := func(i int) {
		mustUpdate(t, other, func(tx Tx) error { return tx.Put(pairKey(i, 0), nil) })
	}
	put(1)
	if c, err := w.Next(ctx); err != nil || len(c) != 1 {
		t.Fatalf("got %v %v", c, err)
	}
	way.Cut()
	for i := range 5 {
		put(i)
	}
	s, err := other.snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.cli.Compact(ctx, s.revision); err != nil {
		t.Fatal(err)
	}
	way.Heal()
	if c, err := w.Next(ctx); !errors.Is(err, ErrLagged) {
		t.Fatalf("got %v %v", c, err)
	}
	put(9)
	if c, err := w.Next(ctx); err != nil || string(c[0].Key) != string(pairKey(9, 0)) {
		t.Fatalf("got %v %v", c, err)
	}
}

func TestForeignAndNewerPrefixesAreRefusedAndLeftAlone(t *testing.T) {
	ours := openEtcd(t, EtcdConfig{Prefix: "/above/ours"})
	mustUpdate(t, ours, func(tx Tx) error { return tx.Put([]byte("a"), nil) })
	ctx := context.Background()
	for _, c := range []struct {
		name, prefix, key, value string
		class                    error
	}{
		{"foreign", "/f1", "/f1/registry/pods", "x", ErrForeign},
		{"inside ours", ours.prefix + "d", "", "", ErrForeign},
		{"above ours", "/above", "", "", ErrForeign},
		{"other format line", "/f2", "/f2/format", "something else\n", ErrForeign},
		{"newer", "/f3", "/f3/format", formatPrefix + "2\n", ErrVersion},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.key != "" {
				if _, err := ours.cli.Put(ctx, c.key, c.value); err != nil {
					t.Fatal(err)
				}
			}
			before := countUnder(t, ours, c.prefix)
			_, err := OpenEtcd(ctx, EtcdConfig{Prefix: c.prefix,
				Endpoints: sharedEtcd(t).Endpoints()})
			if !errors.Is(err, c.class) || !strings.Contains(err.Error(), c.prefix) {
				t.Errorf("got %v", err)
			}
			if got := countUnder(t, ours, c.prefix); got != before {
				t.Errorf("the prefix was touched: %d keys, %d before", got, before)
			}
		})
	}
}

func countUnder(t *testing.T, kv *etcdKV, prefix string) int64 {
	t.Helper()
	resp, err := kv.cli.Get(context.Background(), prefix, clientv3.WithPrefix(),
		clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return resp.Count
}

func TestEtcdThatDoesNotAnswerIsUnavailable(t *testing.T) {
	_, err := OpenEtcd(context.Background(), EtcdConfig{Endpoints: []string{"127.0.0.1:1"}})
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	for _, cfg := range []EtcdConfig{{}, {Endpoints: []string{"x:1"}, Lease: time.Second / 2}} {
		if _, err := OpenEtcd(context.Background(), cfg); err == nil {
			t.Errorf("%v was taken", cfg)
		}
	}
}

// What lies in etcd is as it always was: head, then a part of the journal.
func TestStructuresInEtcdLookAsTheyAlwaysDid(t *testing.T) {
	h := head{revision: 1<<40 + 2, parts: 3}
	copy(h.commit[:], "sixteen bytes...")
	parts := encodeParts([]write{{key: []byte("v1"), value: []byte("one")},
		{key: []byte("v2"), deleted: true}, {key: []byte("v3"), value: []byte{}}})
	got := fmt.Sprintf("head %s\npart %s\n", hex.EncodeToString(h.encode()),
		hex.EncodeToString(parts[0]))
	path := filepath.Join("testdata", "etcd.golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != got {
		t.Fatalf("the format changed; raise its version and read both: %v\ngot:\n%s", err, got)
	}
	back, err := parseHead(h.encode())
	if err != nil || back != h {
		t.Errorf("head %v became %v: %v", h, back, err)
	}
	writes, err := decodePart(parts[0])
	if err != nil || len(writes) != 3 || !writes[1].deleted || string(writes[0].value) != "one" {
		t.Errorf("part became %v: %v", writes, err)
	}
}

func FuzzJournalDecoderNeverPanics(f *testing.F) {
	f.Add(encodeParts([]write{{key: []byte("a"), value: []byte("b")}, {deleted: true}})[0])
	f.Add([]byte{partVersion, kindPut, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		writes, err := decodePart(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("no class: %v", err)
			}
			return
		}
		var all []write
		for _, p := range encodeParts(writes) {
			again, err := decodePart(p)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, again...)
		}
		if len(all) != len(writes) {
			t.Fatalf("%d writes became %d", len(writes), len(all))
		}
		for i := range all {
			if !bytes.Equal(all[i].key, writes[i].key) || all[i].deleted != writes[i].deleted {
				t.Fatalf("%v became %v", writes[i], all[i])
			}
		}
	})
}

// A volume of 64 TiB, as the control plane makes it.
func BenchmarkLargestVolume(b *testing.B) {
	kv := openEtcd(b, EtcdConfig{Prefix: fmt.Sprintf("/bench%d", time.Now().UnixNano())})
	ids := make([]uint64, 16)
	for i := range ids {
		ids[i] = uint64(1000 + i)
	}
	for b.Loop() {
		mustUpdate(b, kv, func(tx Tx) error {
			volume, err := NextID(tx, CounterVolume)
			for i := range uint64(64 << 10) {
				s := &v1.Segment{Index: i, CopysetIds: ids}
				err = errors.Join(err, Segments.Put(tx, SegmentKey(volume, i), s))
			}
			return err
		})
	}
}

func BenchmarkSmallUpdate(b *testing.B) {
	for name, kv := range map[string]KV{"pebble": openKV(b, b.TempDir(), nil),
		"etcd": openEtcd(b, EtcdConfig{Prefix: fmt.Sprintf("/bench%d", time.Now().UnixNano())})} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				mustUpdate(b, kv, func(tx Tx) error {
					_, err := NextID(tx, CounterVolume)
					return err
				})
			}
		})
	}
}
