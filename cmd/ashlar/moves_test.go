package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// lostAfter has the cluster's control plane wait for a lost store so long, by its settings.
func (c *cluster) lostAfter(d time.Duration) {
	c.t.Helper()
	path := filepath.Join(c.dir, "conf", "control.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	changed := strings.Replace(string(text), "lost_after: 15m0s", "lost_after: "+d.String(), 1)
	if changed == string(text) {
		c.t.Fatalf("no lost_after in %s:\n%s", path, text)
	}
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		c.t.Fatal(err)
	}
	c.kill("control")
	for began := time.Now(); ; time.Sleep(time.Second) {
		// Starts it again, once it was noticed that it is gone.
		if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			c.t.Fatal(err)
		}
		if _, stderr, status := ashlar("cluster", "status", "--data", c.dir); status == 0 {
			return
		} else if time.Since(began) > settleWait {
			c.t.Fatal(stderr)
		}
	}
}

// kill sends SIGKILL to one process.
func (c *cluster) kill(id string) {
	c.t.Helper()
	for _, p := range c.status().Processes {
		if p.ID == id {
			if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
				c.t.Fatal(err)
			}
			for syscall.Kill(p.PID, 0) == nil {
				time.Sleep(10 * time.Millisecond)
			}
			return
		}
	}
	c.t.Fatalf("no process %s", id)
}

// storeOn is the store of a node.
func (c *cluster) storeOn(node string) (s struct {
	ID, Replicas, Chunks int
	State                string
}) {
	c.t.Helper()
	var nodes []struct {
		Name   string
		Stores []struct {
			ID, Replicas, Chunks int
			State                string
		}
	}
	c.ask(&nodes, "node", "list")
	for _, n := range nodes {
		if n.Name == node {
			return n.Stores[0]
		}
	}
	c.t.Fatalf("no node %s", node)
	return s
}

// await waits until a condition holds, and shows what moves when it does not come.
func (c *cluster) await(what string, cond func() bool) time.Duration {
	c.t.Helper()
	began := time.Now()
	for !cond() {
		if time.Since(began) > settleWait {
			stdout, _, _ := ashlar("operator", "list", "--data", c.dir)
			c.t.Fatalf("never: %s\n%s\n%+v", what, stdout, c.status())
		}
		time.Sleep(200 * time.Millisecond)
	}
	return time.Since(began).Round(100 * time.Millisecond)
}

// Four nodes, three replicas of every block.
func TestReplicasMoveOffADrainedNodeAndOffALostOneUnderLoad(t *testing.T) {
	skipShort(t)
	c := start(t, filepath.Join(t.TempDir(), "data"), "--nodes", "4", "--volume", "vol", "--size",
		"256MiB", "--no-restart")
	c.lostAfter(4 * time.Second)
	l := newLedger(volumeSize / blockSize) // in all copysets
	client := c.attach(c.url)
	soon := make(chan struct{})
	time.AfterFunc(time.Second, func() { close(soon) })
	if err := l.write(client, 4, soon); err != nil {
		t.Fatal(err)
	}
	c.await("n1 has chunks on its disk", func() bool { return c.storeOn("n1").Chunks > 0 })
	done := make(chan struct{})
	var failed atomic.Value
	load := make(chan struct{})
	go func() {
		defer close(load)
		if err := l.write(client, 4, done); err != nil {
			failed.Store(err)
		}
	}()

	if _, stderr, status := ashlar("node", "drain", "n1", "--data", c.dir); status != 0 {
		t.Fatal(stderr)
	}
	if s := c.storeOn("n1"); s.State != "draining" || s.Replicas == 0 {
		t.Fatalf("after the drain: %+v", s)
	}
	took := c.await("n1 is empty", func() bool {
		s := c.storeOn("n1")
		return s.Replicas == 0 && s.Chunks == 0
	})
	t.Logf("drained under load in %v", took)
	c.awaitFull()
	if _, stderr, status := ashlar("node", "undrain", "n1", "--data", c.dir); status != 0 {
		t.Fatal(stderr)
	}

	c.kill("n2")
	took = c.await("nothing is on n2", func() bool { return c.storeOn("n2").Replicas == 0 })
	t.Logf("recovered under load in %v, 4 s of it waiting", took)
	c.awaitFull()
	close(done)
	<-load
	if err := failed.Load(); err != nil {
		t.Fatal(err)
	}
	l.check(t, client)

	// What was moved counts: with another node gone, every block needs the new replicas.
	c.kill("n3")
	l.check(t, client)
	if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	c.await("n2 has destroyed what it had, and all replicas are there", func() bool {
		s := c.status()
		return s.Health == "ok" && s.CopysetsFull == s.Copysets &&
			c.storeOn("n2").State == "up"
	})
	l.check(t, client)
	const told = "replica is no member any more and is destroyed"
	log, err := os.ReadFile(filepath.Join(c.dir, "log", "n2.log"))
	if err != nil || strings.Count(string(log), told) < 6 {
		t.Errorf("n2 was told to destroy %d replicas, %v", strings.Count(string(log), told), err)
	}
	client.Close()
	c.stop()
}

// operator is what moves in a cluster.
type operator struct {
	Kind, State string
	Copyset     int
	ToNode      string `json:"to_node"`
	ToReplica   int    `json:"to_replica_id"`
}

func (c *cluster) operators() []operator {
	c.t.Helper()
	var list struct{ Operators []operator }
	c.ask(&list, "operator", "list")
	return list.Operators
}

// do runs a command on the cluster, which must succeed.
func (c *cluster) do(args ...string) {
	c.t.Helper()
	if _, stderr, status := ashlar(append(args, "--data", c.dir)...); status != 0 {
		c.t.Fatal(args, stderr)
	}
}

// callBack cancels a move that has begun, and says which it was. One that is nearly done cannot be
// called back, and another is taken then.
func (c *cluster) callBack() (moved operator) {
	c.t.Helper()
	c.await("a move is called back", func() bool {
		for _, op := range c.operators() {
			if op.Kind != "drain-replica" || op.State != "running" {
				continue
			}
			_, stderr, status := ashlar("operator", "cancel", fmt.Sprint(op.Copyset), "--kind",
				op.Kind, "--data", c.dir)
			if status == 0 {
				moved = op
				return true
			}
			if !strings.Contains(stderr, "cannot be cancelled any more") &&
				!strings.Contains(stderr, "has no drain-replica") {
				c.t.Fatal(stderr)
			}
		}
		return false
	})
	return moved
}

// arrived waits for the end of a move that was called back, and says whether its replica is a
// member all the same.
func (c *cluster) arrived(op operator) bool {
	c.t.Helper()
	c.await("the move has ended", func() bool {
		return !slices.ContainsFunc(c.operators(), func(o operator) bool {
			return o.Copyset == op.Copyset && o.ToReplica == op.ToReplica
		})
	})
	var g struct{ Replicas []struct{ ID int } }
	c.ask(&g, "copyset", "show", fmt.Sprint(op.Copyset))
	if len(g.Replicas) != 3 {
		c.t.Fatalf("copyset %d has the members %+v", op.Copyset, g)
	}
	for _, m := range g.Replicas {
		if m.ID == op.ToReplica {
			return true
		}
	}
	return false
}

// scrubWaits has stores scrubbed at another time than now, and waits until they say so.
func (c *cluster) scrubWaits() {
	c.t.Helper()
	from := time.Now().UTC().Add(2 * time.Hour)
	c.do("scrub", "set", from.Format("15:04")+"-"+from.Add(time.Hour).Format("15:04"))
	c.await("all stores wait for their window", func() bool {
		var stores []struct{ Scrub struct{ Waits bool } }
		c.ask(&stores, "store", "list")
		for _, s := range stores {
			if !s.Scrub.Waits {
				return false
			}
		}
		return len(stores) == 4
	})
	var status struct {
		Scrub struct {
			Open  bool
			Opens string
		}
	}
	if c.ask(&status, "cluster", "status"); status.Scrub.Open ||
		status.Scrub.Opens != from.Truncate(time.Minute).Format(time.RFC3339) {
		c.t.Errorf("the status says %+v", status.Scrub)
	}
	c.do("scrub", "reset")
}

// Draining begins only when the limit lets it, and one replica that is on its way goes back.
func TestAMoveIsCalledBackAndLeavesNothingBehind(t *testing.T) {
	skipShort(t)
	c := start(t, filepath.Join(t.TempDir(), "data"), "--nodes", "4", "--volume", "vol", "--size",
		"256MiB")
	l := newLedger(volumeSize / blockSize)
	client := c.attach(c.url)
	soon := make(chan struct{})
	time.AfterFunc(3*time.Second, func() { close(soon) })
	if err := l.write(client, 8, soon); err != nil {
		t.Fatal(err)
	}
	c.scrubWaits()
	c.do("scheduler", "set", "store-drains", "0", "--note", "not yet")
	c.do("node", "drain", "n1")
	before := c.storeOn("n1").Replicas
	time.Sleep(3 * time.Second)
	if got := c.storeOn("n1").Replicas; got != before || before == 0 {
		t.Fatalf("%d of %d replicas are left, though none may leave", got, before)
	}
	c.do("scheduler", "reset", "store-drains")

	op := c.callBack()
	for c.arrived(op) { // it was too late: its leader had made it a voter meanwhile
		op = c.callBack()
	}
	c.do("scheduler", "pause", "drain-replica") // so that the others come to rest
	c.await("nothing moves any more", func() bool { return len(c.operators()) == 0 })
	c.do("node", "undrain", "n1")
	told := fmt.Sprintf("copyset=%d replica=%d", op.Copyset, op.ToReplica)
	c.await("the new replica is destroyed", func() bool {
		log, err := os.ReadFile(filepath.Join(c.dir, "log", op.ToNode+".log"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, "is no member any more and is destroyed") &&
				strings.Contains(line, told) {
				return true
			}
		}
		return false
	})
	c.awaitFull()
	l.check(t, client)
	client.Close()
	c.stop()
}
