package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/datadir"
	"github.com/ashlar-storage/ashlar/perf/faultfs"
)

// lateSoon is how soon a cluster must tell of a request that waits: the bound, and some heartbeats.
const lateSoon = 12 * time.Second

// onFaultyDisk mounts a file system for a cluster whose disk is to hang.
func onFaultyDisk(t *testing.T) (*faultfs.FS, string) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); os.Getenv("FUSE") != "required" &&
		(err != nil || os.Getuid() != 0) {
		t.Skip("needs root and /dev/fuse; FUSE=required makes this a failure")
	}
	dir := t.TempDir()
	fs, err := faultfs.Mount(faultfs.Config{Dir: filepath.Join(dir, "disk"),
		At: filepath.Join(dir, "mounted")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		fs.Clear()
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
	})
	return fs, filepath.Join(dir, "mounted", "cluster")
}

func page(t *testing.T, addr, path string) (code int, body string) {
	t.Helper()
	resp, err := http.Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestWriteThatADiskKeepsMakesTheHealthBadThoughHeartbeatsGoOn(t *testing.T) {
	skipShort(t)
	disk, dir := onFaultyDisk(t)
	c := start(t, dir, "--nodes", "1", "--volume", "v", "--size", "64MiB")
	layout, err := datadir.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	node := layout.Nodes[0].Admin
	client := c.attach(c.url)
	if _, err := client.WriteAt(make([]byte, 4096), 0); err != nil {
		t.Fatal(err)
	}
	c.awaitFull()
	for _, addr := range []string{layout.Admin, node} {
		if code, body := page(t, addr, "/healthz"); code != 200 {
			t.Fatalf("/healthz of a cluster that is well: %d %s", code, body)
		}
	}
	err = disk.Fail(&faultfs.Rule{Pattern: "cluster/nodes/n1/store0/log/*", Kinds: faultfs.Write,
		Until: time.Now().Add(10 * time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		_, err := client.WriteAt(make([]byte, 4096), 8192)
		written <- err
	}()
	s := c.awaitLate()
	for _, p := range s.Processes {
		if p.State != "up" {
			t.Errorf("%s %s is %s: its heartbeats should go on", p.Role, p.ID, p.State)
		}
	}
	c.wantLate(node)
	disk.Clear()
	if err := <-written; err != nil {
		t.Errorf("the write that waited: %v", err)
	}
	began := time.Now()
	c.awaitFull()
	t.Logf("well again %v after the disk", time.Since(began).Round(time.Millisecond))
	if code, body := page(t, node, "/healthz"); code != 200 {
		t.Errorf("/healthz of the node when all is well again: %d %s", code, body)
	}
}

// lateWords are in all that tells of a request that waits.
const lateWords = "has waited"

// awaitLate waits until the status tells of a request that waits.
func (c *cluster) awaitLate() clusterStatus {
	c.t.Helper()
	began := time.Now()
	late := func(s clusterStatus) bool {
		return s.Health != "ok" && strings.Contains(strings.Join(s.Problems, "\n"), lateWords)
	}
	s := c.status()
	for ; !late(s); s = c.status() {
		if time.Since(began) > lateSoon {
			c.t.Fatalf("after %v: %+v", time.Since(began), s)
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.t.Logf("after %v: %s %q", time.Since(began).Round(time.Millisecond), s.Health, s.Problems)
	return s
}

// wantLate says that a node's pages and the listing of its store tell of it too.
func (c *cluster) wantLate(node string) {
	c.t.Helper()
	if code, body := page(c.t, node, "/healthz"); code != 503 ||
		!strings.Contains(body, "the device let an operation wait") {
		c.t.Errorf("/healthz of the node: %d %s", code, body)
	}
	if _, body := page(c.t, node, "/metrics"); !strings.Contains(body,
		"ashlar_store_oldest_request_seconds") {
		c.t.Error("the node does not serve metrics meanwhile")
	}
	var stores []struct {
		Late           string
		OldestRequest  int `json:"oldest_request_ms"`
		OldestAtDevice int `json:"oldest_device_ms"`
	}
	c.ask(&stores, "store", "list")
	if len(stores) != 1 || !strings.Contains(stores[0].Late, lateWords) ||
		stores[0].OldestRequest < 5000 || stores[0].OldestAtDevice < 4000 {
		c.t.Errorf("store list: %+v", stores)
	}
}
