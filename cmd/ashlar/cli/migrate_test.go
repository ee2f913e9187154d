package cli

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/meta/etcdtest"
)

func TestMetadataAreMovedOnceAndTakenBack(t *testing.T) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	dir := filepath.Join(t.TempDir(), "control")
	kv, err := meta.OpenPebble(dir, meta.PebbleConfig{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	id, err := meta.Init(context.Background(), kv)
	if err != nil {
		t.Fatal(err)
	}
	etcd := etcdtest.Start(t, etcdtest.Options{}).Members[0].Addr
	move := []string{"control", "migrate", "--data", dir, "--etcd", etcd, "-o", "json"}
	status, _, stderr := invoke(t, move...)
	if status != exitRefused || !strings.Contains(stderr, "in use") {
		t.Errorf("while it runs: status %d, %s", status, stderr)
	}
	err = kv.Update(context.Background(), func(tx meta.Tx) error {
		_, err := meta.NextID(tx, meta.CounterNode)
		return err
	})
	if err != nil || kv.Close() != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := invoke(t, move...)
	var doc struct {
		Cluster, To, SHA256 string
		Keys                int
	}
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil || status != exitOK ||
		doc.Cluster != id.ClusterID || doc.Keys != 1 || !strings.Contains(doc.To, etcd) {
		t.Fatalf("status %d, %v, %s%s", status, err, stdout, stderr)
	}
	status, _, stderr = invoke(t, move...)
	if status != exitExists || !strings.Contains(stderr, "choose an empty prefix") {
		t.Errorf("again: status %d, %s", status, stderr)
	}
	if _, err := meta.OpenPebble(dir, meta.PebbleConfig{Logger: quiet}); err == nil {
		t.Error("the directory can be used")
	}
	status, stdout, stderr = invoke(t, "control", "migrate", "--data", dir, "--undo")
	if status != exitOK || !strings.Contains(stdout, "can be used again") {
		t.Errorf("undo: status %d, %s%s", status, stdout, stderr)
	}
	if kv, err = meta.OpenPebble(dir, meta.PebbleConfig{Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	if err := kv.Close(); err != nil {
		t.Error(err)
	}
}

func TestMistakesWithMovesNameTheFix(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
		fix    string
	}{
		{nil, exitUsage, "--data DIR"},
		{[]string{"--data", "x"}, exitUsage, "--etcd HOST:PORT"},
		{[]string{"--data", "x", "--etcd", "nowhere"}, exitUsage, "etcd.endpoints"},
		{[]string{"--data", "x", "--etcd", "h:1", "--etcd-prefix", "p"}, exitUsage, "/ashlar/"},
		{[]string{"--data", "x", "--etcd", "h:1", "--config", "f"}, exitUsage, "keep one"},
		{[]string{"--data", "x", "--etcd", "h:1", "--undo"}, exitUsage, "leave etcd out"},
		{[]string{"--data", t.TempDir(), "--undo"}, exitNotFound, "were not moved"},
		{[]string{"--data", "x", "--etcd", "127.0.0.1:1"}, exitUnavailable, "127.0.0.1:1"},
	} {
		status, _, stderr := invoke(t, append([]string{"control", "migrate"}, c.args...)...)
		if status != c.status || !strings.Contains(stderr, c.fix) {
			t.Errorf("%q: status %d, %s", c.args, status, stderr)
		}
	}
}
