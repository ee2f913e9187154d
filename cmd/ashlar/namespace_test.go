package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestVolumesAreServedByTheirPathsAlsoAfterARename attaches volumes in directories over NBD and
// through the native client.
func TestDeletedVolumeComesBackWithItsDataAsLongAsItIsInTheTrash(t *testing.T) {
	skipShort(t)
	dir := filepath.Join(t.TempDir(), "data")
	c := start(t, dir, "--volume", "vol", "--size", "64MiB")
	client := c.attach(c.url)
	data := []byte("not lost")
	for at := int64(0); at < 64<<20; at += 16 << 20 {
		if _, err := client.WriteAt(data, at); err != nil {
			t.Fatal(err)
		}
	}
	if _, stderr, status := ashlar("volume", "delete", "vol", "--data", dir); status == 0 {
		t.Errorf("an open volume was deleted: %s", stderr)
	}
	client.Close()
	var v struct{ Name, State string }
	for range 50 { // until the gateway has let it go
		if _, _, status := ashlar("volume", "delete", "vol", "--data", dir); status == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.ask(&v, "volume", "create", "vol", "--size", "64MiB")
	c.killAll()
	c = start(t, dir)
	var list []struct{ Name, State string }
	c.ask(&list, "volume", "list", "--trash")
	if len(list) != 1 || list[0].Name != "vol" || list[0].State != "trashed" {
		t.Fatalf("%+v", list)
	}
	c.ask(&v, "volume", "restore", "vol", "--as", "back")
	back := c.attach("nbd://" + c.nbdAddr() + "/back")
	got := make([]byte, len(data))
	for at := int64(0); at < 64<<20; at += 16 << 20 {
		if _, err := back.ReadAt(got, at); err != nil || string(got) != string(data) {
			t.Errorf("at %d: %q, %v", at, got, err)
		}
	}
	c.stop()
}

func TestVolumesAreServedByTheirPathsAlsoAfterARename(t *testing.T) {
	skipShort(t)
	dir := filepath.Join(t.TempDir(), "data")
	c := start(t, dir, "--volume", "prod/db/vol", "--size", "64MiB")
	if !strings.HasSuffix(c.url, "/prod/db/vol") {
		t.Fatalf("ready line with %q", c.url)
	}
	var v struct{ Name string }
	c.ask(&v, "dir", "create", "old")
	client := c.attach(c.url)
	if _, err := client.WriteAt([]byte("kept"), 4096); err != nil {
		t.Fatal(err)
	}
	c.ask(&v, "volume", "rename", "prod/db/vol", "old/vol")
	c.ask(&v, "dir", "rename", "old", "prod/old")
	c.ask(&v, "volume", "create", "prod/db/vol", "--size", "1MiB")
	if _, err := client.WriteAt([]byte("!"), 4100); err != nil {
		t.Errorf("the client of the renamed volume: %v", err)
	}
	moved := c.attach("nbd://" + c.nbdAddr() + "/prod/old/vol")
	got := make([]byte, 5)
	if _, err := moved.ReadAt(got, 4096); err != nil || string(got) != "kept!" {
		t.Errorf("%q, %v", got, err)
	}
	other := c.attach(c.url)
	if _, err := other.ReadAt(got, 4096); err != nil || strings.Trim(string(got), "\x00") != "" {
		t.Errorf("a new volume under the old name has %q, %v", got, err)
	}
	c.ask(&v, "volume", "resize", "prod/old/vol", "128MiB")
	if _, err := moved.WriteAt(got, 100<<20); err == nil {
		t.Error("a connection from before wrote behind the end that it knows")
	}
	larger := c.attach("nbd://" + c.nbdAddr() + "/prod/old/vol")
	end := []byte("the end")
	if larger.Info().Size != 128<<20 {
		t.Errorf("resized to %d", larger.Info().Size)
	}
	if _, err := larger.WriteAt(end, 128<<20-int64(len(end))); err != nil {
		t.Errorf("behind the old end: %v", err)
	}
	if _, err := larger.ReadAt(end, 128<<20-int64(len(end))); err != nil ||
		string(end) != "the end" {
		t.Errorf("%q, %v", end, err)
	}
	var list []struct{ Name string }
	c.ask(&list, "volume", "list", "--recursive")
	if len(list) != 2 || list[0].Name != "prod/db/vol" || list[1].Name != "prod/old/vol" {
		t.Errorf("%+v", list)
	}
	_, stderr, status := ashlar("bench", "--data", dir, "--volume", "prod/db/vol", "--rw", "read",
		"--bs", "4k", "--number_ios", "10", "--name", "j", "--ioengine", "ashlar")
	if status != 0 {
		t.Errorf("bench: %d %s", status, stderr)
	}
	c.stop()
}
