package meta

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) {
	code := m.Run()
	stopShared()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func openKV(t testing.TB, dir string, fs vfs.FS) KV {
	t.Helper()
	kv, err := OpenPebble(dir, PebbleConfig{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kv.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return kv
}

func mustUpdate(t testing.TB, kv KV, fn func(Tx) error) {
	t.Helper()
	if err := kv.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

// dump returns everything but the KV's own keys.
func dump(t testing.TB, kv KV) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := kv.View(context.Background(), func(r Reader) error {
		return r.Scan(nil, []byte{1}, 0, func(k, v []byte) error {
			all[string(k)] = string(v)
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Every acknowledged transaction is there after a power cut, whole, and none after the last that
// was begun.
func TestAcknowledgedTransactionsSurvivePowerLoss(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	fs := vfs.NewCrashableMem()
	want := uint64(0)
	for round := range 12 {
		kv, err := OpenPebble("/m", PebbleConfig{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		checkPairs(t, kv, want)
		for range 20 {
			want++
			mustUpdate(t, kv, func(tx Tx) error {
				return errors.Join(tx.Put([]byte("a"), ID(want)), tx.Put([]byte("b"), ID(want)))
			})
		}
		crashed := fs.CrashClone(vfs.CrashCloneCfg{
			UnsyncedDataPercent: round * 9, RNG: rand.New(rand.NewPCG(rng.Uint64(), 0)),
		})
		if err := kv.Close(); err != nil {
			t.Fatal(err)
		}
		fs = crashed
	}
	kv := openKV(t, "/m", fs)
	checkPairs(t, kv, want)
}

func checkPairs(t *testing.T, kv KV, want uint64) {
	t.Helper()
	got := dump(t, kv)
	if want == 0 {
		if len(got) != 0 {
			t.Fatalf("not empty: %q", got)
		}
		return
	}
	if a, b := got["a"], got["b"]; a != b || a != string(ID(want)) {
		t.Fatalf("transaction %d: found %x and %x", want, a, b)
	}
}

func TestFailedCommitFailsTheStoreForGood(t *testing.T) {
	disk := vfs.NewCrashableMem()
	broken := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
			return errors.New("input/output error")
		}
		return nil
	})}
	kv, err := OpenPebble("/m", PebbleConfig{FS: errorfs.Wrap(disk, broken),
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer kv.Close() // reports the broken log again
	put := func(k string) error {
		return kv.Update(context.Background(), func(tx Tx) error { return tx.Put([]byte(k), nil) })
	}
	if err := put("a"); err != nil {
		t.Fatal(err)
	}
	broken.On()
	if err := put("b"); !errors.Is(err, ErrFailed) {
		t.Fatalf("got %v", err)
	}
	broken.Off()
	if err := put("c"); !errors.Is(err, ErrFailed) {
		t.Fatalf("the store recovered by itself: %v", err)
	}
	after := openKV(t, "/m", disk.CrashClone(vfs.CrashCloneCfg{}))
	got := dump(t, after)
	if _, ok := got["a"]; !ok || len(got) > 2 {
		t.Fatalf("after a restart: %q", got)
	}
}

func TestIdentityIsMadeOnceAndKept(t *testing.T) {
	dir := t.TempDir()
	kv := openKV(t, dir, nil)
	first, err := Init(context.Background(), kv)
	if err != nil || !first.Fresh || first.ClusterID == "" {
		t.Fatal(first, err)
	}
	if err := kv.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Init(context.Background(), openKV(t, dir, nil))
	if err != nil || second.Fresh || second.ClusterID != first.ClusterID {
		t.Fatal(second, err)
	}
}

func TestDirectoryInUseIsRefused(t *testing.T) {
	dir := t.TempDir()
	openKV(t, dir, nil)
	_, err := OpenPebble(dir, PebbleConfig{})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("got %v", err)
	}
}

func TestForeignAndNewerDirectoriesAreRefusedAndLeftAlone(t *testing.T) {
	for _, c := range []struct {
		name, file, text string
		class            error
	}{
		{"foreign", "photo.jpg", "x", ErrForeign},
		{"other format line", formatFile, "something else\n", ErrForeign},
		{"empty format line", formatFile, "", ErrForeign},
		{"binary format line", formatFile, strings.Repeat("\x00", 1<<16), ErrForeign},
		{"newer", formatFile, formatPrefix + "2\n", ErrVersion},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := OpenPebble(dir, PebbleConfig{})
			if !errors.Is(err, c.class) || !strings.Contains(err.Error(), dir) {
				t.Fatalf("got %v", err)
			}
			names, _ := os.ReadDir(dir)
			if len(names) != 1 {
				t.Fatalf("the directory was touched: %v", names)
			}
		})
	}
}

// samples are records with every persisted field set.
func samples() []struct {
	key   []byte
	value []byte
} {
	var out []struct {
		key   []byte
		value []byte
	}
	add := func(key []byte, value []byte, err error) {
		if err != nil {
			panic("meta: sample: " + err.Error())
		}
		out = append(out, struct {
			key   []byte
			value []byte
		}{key, value})
	}
	b, err := encode(&v1.Node{NodeId: 1, Name: "n1", Zone: "z1", Addr: "h:1", Pid: 9, Version: "v"})
	add(Nodes.Prefix(ID(1)), b, err)
	b, err = encode(&v1.Store{StoreId: 2, Uuid: "u", NodeId: 1, Path: "/p", CapacityBytes: 1 << 40})
	add(Stores.Prefix(ID(2)), b, err)
	b, err = encode(&v1.Copyset{CopysetId: 3, Epoch: 1, Replicas: []*v1.Replica{
		{ReplicaId: 4, StoreId: 2, NodeId: 1}}, LeaderReplicaId: 4, LeaderTerm: 5, PoolId: 1,
		PreferredLeaderReplicaId: 4})
	add(Copysets.Prefix(ID(3)), b, err)
	b, err = encode(&v1.Volume{VolumeId: 6, Name: "v", SizeBytes: 4096, SegmentBytes: 1 << 30,
		ChunkBytes: 1 << 24, PoolId: 1, Epoch: 7, CreatedUnixNs: 8, State: "ok"})
	add(Volumes.Prefix(ID(6)), b, err)
	b, err = encode(&v1.Segment{Index: 1, CopysetIds: []uint64{3, 300}})
	add(Segments.Prefix(SegmentKey(6, 1)), b, err)
	b, err = encode(&Session{SessionID: 9, VolumeID: 6, Epoch: 7, ReadOnly: true, Client: "c",
		OpenedNS: 10})
	add(Sessions.Prefix(ID(9)), b, err)
	b, err = encode(&Entry{VolumeID: 6})
	add(Directory.Prefix(NameKey(RootDir, "v")), b, err)
	b, err = encode(&Entry{DirectoryID: 11, CreatedNS: 12})
	add(Directory.Prefix(NameKey(10, "d")), b, err)
	b, err = encode(&Event{EventID: 13, TimeNS: 14, Severity: "info", Kind: "volume-created",
		Object: "volume", ObjectID: 6, Name: "v", Text: "volume v was created"})
	add(Events.Prefix(ID(13)), b, err)
	return out
}

func TestRecordsLookAsTheyAlwaysDid(t *testing.T) {
	var b bytes.Buffer
	for _, s := range samples() {
		fmt.Fprintf(&b, "%s %s\n", hex.EncodeToString(s.key), hex.EncodeToString(s.value))
	}
	path := filepath.Join("testdata", fmt.Sprintf("records-v%d.golden", RecordVersion))
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, b.Bytes()) {
		t.Fatalf("the format changed; raise RecordVersion and read both\ngot:\n%s", b.Bytes())
	}
}

func TestRecordsOfTheFirstVersionAreReadOn(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "records-v1.golden"))
	if err != nil {
		t.Fatal(err)
	}
	now := map[string][]byte{}
	for _, s := range samples() {
		now[string(s.key)] = s.value
	}
	lines := strings.Fields(string(raw))
	for i := 0; i < len(lines); i += 2 {
		key, err1 := hex.DecodeString(lines[i])
		value, err2 := hex.DecodeString(lines[i+1])
		if err1 != nil || err2 != nil || value[0] != 1 {
			t.Fatal(lines[i], lines[i+1])
		}
		again, err := rewrite(key, value)
		if err != nil || !bytes.Equal(again, now[string(key)]) {
			t.Errorf("%x: %x was read as %x: %v", key, value, again, err)
		}
	}
}

// rewrite reads a record and encodes it again.
func rewrite(key, value []byte) ([]byte, error) {
	switch k := Key(key[1:]); key[0] {
	case Nodes.prefix:
		return reencode(Nodes.Decode(k, value))
	case Stores.prefix:
		return reencode(Stores.Decode(k, value))
	case Copysets.prefix:
		return reencode(Copysets.Decode(k, value))
	case Volumes.prefix:
		return reencode(Volumes.Decode(k, value))
	case Segments.prefix:
		return reencode(Segments.Decode(k, value))
	case Sessions.prefix:
		return reencode(Sessions.Decode(k, value))
	case Directory.prefix:
		return reencode(Directory.Decode(k, value))
	}
	return nil, fmt.Errorf("no table for %x", key)
}

func reencode[T any, P message[T]](m P, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return encode[T](m)
}

func FuzzRecordDecodersNeverPanic(f *testing.F) {
	for i, s := range samples() {
		f.Add(uint8(i), s.value)
	}
	f.Add(uint8(2), []byte{1, 0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		var err error
		switch kind % 7 {
		case 0:
			err = again[v1.Node](b)
		case 1:
			err = again[v1.Store](b)
		case 2:
			err = again[v1.Copyset](b)
		case 3:
			err = again[v1.Volume](b)
		case 4:
			err = again[v1.Segment](b)
		case 5:
			err = again[Session](b)
		case 6:
			err = again[Entry](b)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}

// again checks that what decodes encodes to something that decodes to the same.
func again[T any, P message[T]](b []byte) error {
	m, err := decode[T, P](b)
	if err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			return fmt.Errorf("no class: %w", err)
		}
		return nil
	}
	c, err := encode[T](m)
	if err != nil {
		return err
	}
	n, err := decode[T, P](c)
	if err != nil {
		return err
	}
	// Empty and absent lists are the same record; the encoding says so.
	if d, err := encode[T](n); err != nil || !bytes.Equal(c, d) {
		return fmt.Errorf("%x became %x: %w", c, d, err)
	}
	return nil
}
