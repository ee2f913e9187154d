package main

import (
	"bufio"
	"encoding/json"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// event is what `ashlar events -o json` prints of one.
type event struct {
	ID         uint64
	Kind, Name string
}

func TestEventsAreFollowedAcrossARestartOfTheControlPlane(t *testing.T) {
	skipShort(t)
	dir := filepath.Join(t.TempDir(), "data")
	c := start(t, dir, "--volume", "vol", "--size", "64MiB")
	follow := command("events", "--follow", "--data", dir, "-o", "json")
	out, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	got := make(chan event, 100)
	go func() {
		defer close(got)
		for s := bufio.NewScanner(out); s.Scan(); {
			var e event
			if err := json.Unmarshal(s.Bytes(), &e); err != nil {
				t.Errorf("%s: %v", s.Bytes(), err)
			}
			got <- e
		}
	}()
	last := uint64(0)
	await := func(kind, name string) {
		t.Helper()
		for late := time.After(30 * time.Second); ; {
			select {
			case e := <-got:
				if e.ID != last+1 {
					t.Errorf("event %d follows %d", e.ID, last)
				}
				if last = e.ID; e.Kind == kind && e.Name == name {
					return
				}
			case <-late:
				t.Fatalf("no %s of %s", kind, name)
			}
		}
	}
	await("volume-created", "vol")
	for _, p := range c.status().Processes {
		if p.Role == "control" || p.ID == "n2" {
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}
	await("node-started", "n2")
	c.ask(&struct{}{}, "volume", "create", "second", "--size", "1MiB")
	await("volume-created", "second")
	var all []event
	c.ask(&all, "events", "--since", "0s")
	if len(all) == 0 || all[len(all)-1].ID < last {
		t.Errorf("%d events, the last %+v", len(all), all)
	}
	_ = follow.Process.Signal(syscall.SIGTERM)
	for range got {
	}
	if err := follow.Wait(); err != nil {
		t.Errorf("ended by SIGTERM: %v", err)
	}
	c.stop()
}
