package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/perf/hot"
)

// rotLog flips one byte in some of the stamped blocks in a node's log, as bits rot while it is
// down. The newest half stays: what lies before a later frame was durable.
func rotLog(t *testing.T, dir, node string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "nodes", node, "*", "log", "*.seg"))
	if err != nil || len(files) == 0 {
		files, _ = filepath.Glob(filepath.Join(dir, "nodes", node, "log", "*.seg"))
	}
	type place struct {
		file string
		at   int64
	}
	var places []place
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for off := 0; off+blockSize <= len(data); off += blockSize {
			block := data[off : off+blockSize]
			number := uint64(block[0]) | uint64(block[1])<<8 | uint64(block[2])<<16
			if version, err := hot.Read(block, number); err == nil && version > 0 {
				places = append(places, place{file, int64(off + 100)})
			}
		}
	}
	rot := places[len(places)/8 : len(places)/2 : len(places)/2]
	for i := 0; i < len(rot); i += 10 {
		f, err := os.OpenFile(rot[i].file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, rot[i].at); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{b[0] ^ 4}, rot[i].at); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return (len(rot) + 9) / 10
}

type replicaView struct {
	ID   int
	Node string
}

// replicasOn are the numbers of the replicas on a node, by copyset.
func (c *cluster) replicasOn(node string) map[int]int {
	c.t.Helper()
	var copysets []struct {
		ID       int
		Replicas []replicaView
	}
	c.ask(&copysets, "copyset", "list")
	found := map[int]int{}
	for _, cs := range copysets {
		for _, r := range cs.Replicas {
			if r.Node == node {
				found[cs.ID] = r.ID
			}
		}
	}
	return found
}

func TestReplicasWhoseLogRottedAreRebuiltAndCountAgain(t *testing.T) {
	skipShort(t)
	dir := filepath.Join(t.TempDir(), "data")
	c := start(t, dir, "--volume", "vol", "--size", "256MiB")
	l := newLedger(2048)
	client := c.attach(c.url)
	done := make(chan struct{})
	time.AfterFunc(2*time.Second, func() { close(done) })
	if err := l.write(client, workers, done); err != nil {
		t.Fatal(err)
	}
	before := c.replicasOn("n2")
	c.killAll()
	rotten := rotLog(t, dir, "n2")
	if rotten == 0 {
		t.Fatal("no block of the volume was found in the log")
	}

	c = start(t, dir, "--no-restart")
	client = c.attach(c.url)
	l.check(t, client)
	began := time.Now()
	changed := 0
	for changed == 0 && time.Since(began) < settleWait {
		changed = 0
		for id, replica := range c.replicasOn("n2") {
			if replica != before[id] {
				changed++
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
	c.awaitFull()
	after := c.replicasOn("n2")
	changed = 0
	for id, replica := range after {
		if replica != before[id] {
			changed++
		}
		if replica < before[id] {
			t.Errorf("copyset %d came back as replica %d after %d", id, replica, before[id])
		}
	}
	t.Logf("%d blocks of the log rotted: %d of %d replicas rebuilt in %v", rotten, changed,
		len(after), time.Since(began).Round(10*time.Millisecond))
	if changed == 0 {
		t.Fatalf("no replica was rebuilt: %+v", c.status())
	}

	// With another node gone, every block is read through a majority that needs the new members.
	for _, p := range c.status().Processes {
		if p.ID == "n1" {
			if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.check(t, client)
	if s := c.status(); slices.ContainsFunc(s.Problems, func(p string) bool {
		return strings.Contains(p, "damaged")
	}) {
		t.Errorf("still damaged: %q", s.Problems)
	}
	client.Close()
	c.stop()
}
