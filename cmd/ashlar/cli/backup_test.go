package cli

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/server"
)

var quiet = slog.New(slog.DiscardHandler)

// inhabited is a directory with metadata of a cluster that has one copyset.
func inhabited(t *testing.T) (dir, cluster string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "control")
	kv, err := meta.OpenPebble(dir, meta.PebbleConfig{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	id, err := meta.Init(context.Background(), kv)
	if err != nil {
		t.Fatal(err)
	}
	err = kv.Update(context.Background(), func(tx meta.Tx) error {
		return tx.Put(meta.Copysets.Prefix(meta.ID(1)), []byte{meta.RecordVersion})
	})
	if err != nil || kv.Close() != nil {
		t.Fatal(err)
	}
	return dir, id.ClusterID
}

// backupDoc is what `control backup -o json` prints.
type backupDoc struct {
	File, Cluster, SHA256 string
	Records               int
}

func TestBackupOfADirectoryAndOfARunningControlPlaneAreTheSame(t *testing.T) {
	dir, cluster := inhabited(t)
	file := func(name string) string { return filepath.Join(filepath.Dir(dir), name) }
	run := func(args ...string) (doc backupDoc) {
		t.Helper()
		status, stdout, stderr := invoke(t, append([]string{"control", "backup", "-o", "json"},
			args...)...)
		if err := json.Unmarshal([]byte(stdout), &doc); err != nil || status != exitOK {
			t.Fatalf("%q: status %d, %v, %s", args, status, err, stderr)
		}
		return doc
	}
	stopped := run(file("stopped"), "--data", dir)
	if stopped.Cluster != cluster || stopped.Records != 3 {
		t.Errorf("%+v", stopped)
	}
	srv, err := server.New(server.Config{Listen: "127.0.0.1:0", DataDir: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	running := run(file("running"), "--endpoint", srv.Addr().String())
	a, b := records(t, file("stopped")), records(t, file("running"))
	if running.Cluster != cluster || a != b || a == "" {
		t.Errorf("%+v: records %q, want %q", running, b, a)
	}
	status, _, stderr := invoke(t, "control", "rebuild", "--endpoint", srv.Addr().String())
	if status != exitUsage || !strings.Contains(stderr, "never restored") {
		t.Errorf("rebuilding what was not lost: status %d, %s", status, stderr)
	}
	status, _, stderr = invoke(t, "control", "backup", file("other"), "--data", dir)
	if status != exitRefused || !strings.Contains(stderr, "--endpoint") {
		t.Errorf("a directory in use: status %d, %s", status, stderr)
	}
}

// records are those of a backup file, between header and end.
func records(t *testing.T, path string) string {
	t.Helper()
	if _, err := meta.CheckBackup(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[128 : len(b)-64])
}

func TestMistakesWithBackupsNameTheFix(t *testing.T) {
	dir, _ := inhabited(t)
	there := filepath.Join(t.TempDir(), "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(t.TempDir(), "absent")
	for _, c := range []struct {
		args   []string
		status int
		fix    string
	}{
		{nil, exitUsage, "want FILE"},
		{[]string{absent}, exitUsage, "--endpoint"},
		{[]string{absent, "--data", dir, "--endpoint", "h:1"}, exitUsage, "keep one"},
		{[]string{absent, "--data", dir, "--config", "f"}, exitUsage, "keep one"},
		{[]string{absent, "--data", absent}, exitFailed, "name the directory of a control plane"},
		{[]string{there, "--data", dir}, exitExists, "choose another name"},
		{[]string{absent, "--endpoint", "127.0.0.1:1"}, exitUnavailable, "127.0.0.1:1"},
	} {
		status, _, stderr := invoke(t, append([]string{"control", "backup"}, c.args...)...)
		if status != c.status || !strings.Contains(stderr, c.fix) {
			t.Errorf("%q: status %d, %s", c.args, status, stderr)
		}
	}
	if _, err := os.Stat(absent); err == nil {
		t.Error("something was made")
	}
}

func TestBackupIsRestoredIntoNothingOnly(t *testing.T) {
	dir, cluster := inhabited(t)
	file, to := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "control")
	if status, _, stderr := invoke(t, "control", "backup", file, "--data", dir); status != exitOK {
		t.Fatal(stderr)
	}
	restore := []string{"control", "restore", file, "--data", to, "-o", "json"}
	var doc struct {
		Cluster string
		Keys    int
		FirstID int64 `json:"first_id"`
	}
	status, stdout, stderr := invoke(t, restore...)
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil || status != exitOK ||
		doc.Cluster != cluster || doc.Keys != 1 || doc.FirstID < 1_700_000_000_000 {
		t.Fatalf("status %d, %v, %s%s", status, err, stdout, stderr)
	}
	bad := file + ".bad"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[200] ^= 1
	if err := os.WriteFile(bad, b, 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(t.TempDir(), "fresh")
	for _, c := range []struct {
		args   []string
		status int
		fix    string
	}{
		{nil, exitUsage, "want FILE"},
		{[]string{file, "--cluster", cluster, "--data", fresh}, exitUsage, "want FILE"},
		{[]string{file}, exitUsage, "--data DIR"},
		{[]string{file, "--data", to}, exitExists, "empty"},
		{[]string{file, "--data", dir}, exitExists, "empty"},
		{[]string{bad, "--data", fresh}, exitDamaged, "checksum"},
		{[]string{dir, "--data", fresh}, exitFailed, "directory"},
		{[]string{"--cluster", "mine", "--data", fresh}, exitRefused, "cluster_id"},
	} {
		status, _, stderr := invoke(t, append([]string{"control", "restore"}, c.args...)...)
		if status != c.status || !strings.Contains(stderr, c.fix) {
			t.Errorf("%q: status %d, %s", c.args, status, stderr)
		}
	}
}
