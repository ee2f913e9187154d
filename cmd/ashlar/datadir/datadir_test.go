package datadir

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
)

func open(t *testing.T, path string, want Want) *Dir {
	t.Helper()
	d, err := Open(path, want)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestReopenedDirectoryKeepsItsAddresses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	first := open(t, path, Want{Nodes: 3, Volume: "vol"})
	first.Close()
	again := open(t, path, Want{})
	if !reflect.DeepEqual(first.Layout, again.Layout) {
		t.Errorf("was %+v, is %+v", first.Layout, again.Layout)
	}
	if got := again.Layout.Gateway.Listen; got != config.DefaultNBDAddr {
		t.Errorf("NBD on %s", got)
	}
	if l, err := Read(path); err != nil || l.Volume != "vol" {
		t.Error(l, err)
	}
}

func TestFlagsOfALaterStartReplaceWhatMayChange(t *testing.T) {
	path := t.TempDir()
	open(t, path, Want{Nodes: 1}).Close()
	open(t, path, Want{NBD: "127.0.0.1:1", Socket: "/tmp/s", Volume: "w"}).Close()
	l, err := Read(path)
	if err != nil || l.Gateway != (Gateway{"127.0.0.1:1", "/tmp/s"}) || l.Volume != "w" {
		t.Error(l, err)
	}
	if _, err := Open(path, Want{Nodes: 2}); !errors.Is(err, config.ErrInvalid) {
		t.Errorf("another number of nodes: %v", err)
	}
}

func TestAVolatileCacheOnceAllowedStaysAllowed(t *testing.T) {
	for _, later := range []bool{false, true} { // at the first start, or at a later one
		path := t.TempDir()
		open(t, path, Want{Nodes: 1, AllowVolatileCache: !later}).Close()
		if l, err := Read(path); err != nil || l.AllowVolatileCache == later {
			t.Error(l, err)
		}
		open(t, path, Want{AllowVolatileCache: later}).Close()
		open(t, path, Want{}).Close()
		if l, err := Read(path); err != nil || !l.AllowVolatileCache {
			t.Error(l, err)
		}
	}
}

func TestOpenPortIsChosenOnceAndKept(t *testing.T) {
	path := t.TempDir()
	first := open(t, path, Want{NBD: "127.0.0.1:0"})
	first.Close()
	again := open(t, path, Want{NBD: "127.0.0.1:0"})
	got, want := again.Layout.Gateway.Listen, first.Layout.Gateway.Listen
	if got != want || strings.HasSuffix(got, ":0") {
		t.Errorf("NBD on %s, then on %s", want, got)
	}
}

func TestDirectoryOfTheFirstFormatGetsAdminAddresses(t *testing.T) {
	path := t.TempDir()
	old := "kind: ashlar-up\nformat: 1\ncontrol: 127.0.0.1:1\ngateway: {listen: 127.0.0.1:2}\n" +
		"nodes: [{name: n1, listen: 127.0.0.1:3}, {name: n2, listen: 127.0.0.1:4}]\nvolume: v\n"
	if err := os.WriteFile(filepath.Join(path, fileName), []byte(old), 0o644); err != nil {
		t.Fatal(err)
	}
	l := open(t, path, Want{}).Layout
	if l.Control != "127.0.0.1:1" || l.Nodes[1].Listen != "127.0.0.1:4" || l.Volume != "v" {
		t.Errorf("%+v", l)
	}
	if l.Admin == "" || l.Nodes[0].Admin == "" || l.Nodes[1].Admin == l.Nodes[0].Admin {
		t.Errorf("no admin addresses of their own: %+v", l)
	}
	if again, err := Read(path); err != nil || !reflect.DeepEqual(l, again) {
		t.Errorf("written as %+v, %v", again, err)
	}
}

func TestForeignAndNewerDirectoriesAreRefusedSayingWhy(t *testing.T) {
	for _, c := range []struct{ name, file, text, want string }{
		{"other files", "photo.jpg", "x", "photo.jpg"},
		{"other kind", fileName, "kind: cake\nformat: 1\n", "cake"},
		{"newer", fileName, "kind: ashlar-up\nformat: 3\nfuture: [1]\n", "format 3"},
		{"no format", fileName, "kind: ashlar-up\n", "format 0"},
		{"garbage", fileName, "\x00\x01\x02", fileName},
		{"unknown key", fileName, "kind: ashlar-up\nformat: 1\nfoo: 1\n", "foo"},
		{"no nodes", fileName, "kind: ashlar-up\nformat: 1\ncontrol: a:1\n", "lacks nodes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := t.TempDir()
			if err := os.WriteFile(filepath.Join(path, c.file), []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := Open(path, Want{})
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v", err)
			}
			entries, _ := os.ReadDir(path)
			if len(entries) != 1 {
				t.Errorf("the refused directory was written to: %v", entries)
			}
		})
	}
}

func TestSecondOpenIsRefusedNamingTheProcess(t *testing.T) {
	path := t.TempDir()
	open(t, path, Want{})
	_, err := Open(path, Want{})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("error = %v", err)
	}
}

func TestLockOutlivesTheSupervisorInItsProcessesAndIsWaitedFor(t *testing.T) {
	path := t.TempDir()
	d := open(t, path, Want{})
	survivor := exec.Command("sleep", "0.3")
	survivor.ExtraFiles = []*os.File{d.Lock()}
	if err := survivor.Start(); err != nil {
		t.Fatal(err)
	}
	// The supervisor is gone: its pid in the file is of no process.
	if _, err := d.lock.WriteAt([]byte("999999999\n"), 0); err != nil {
		t.Fatal(err)
	}
	d.Close()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = survivor.Wait()
	}()
	open(t, path, Want{})
	<-gone
}

func TestMissingClusterNamesTheFlag(t *testing.T) {
	_, err := Read(t.TempDir())
	if !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "--data") {
		t.Errorf("error = %v", err)
	}
}

func TestNodeCountIsBounded(t *testing.T) {
	for _, n := range []int{-1, nodesMax + 1} {
		if _, err := Open(t.TempDir(), Want{Nodes: n}); !errors.Is(err, config.ErrInvalid) {
			t.Errorf("%d nodes: %v", n, err)
		}
	}
}

func FuzzDecodeLayout(f *testing.F) {
	f.Add([]byte("kind: ashlar-up\nformat: 1\ncontrol: a:1\nnodes: [{name: n1, listen: a:2}]\n"))
	f.Add([]byte("kind: ashlar-up\nformat: 99999999999999999999\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := decode("d", text); err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("error outside ErrRefused: %v", err)
		}
	})
}
