package main

import (
	"path/filepath"
	"slices"
	"testing"
)

func TestEveryRoomThatDecodesHasTargets(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	targets, err := find()
	if err != nil {
		t.Fatal(err)
	}
	for _, room := range []string{"io/disk", "io/wal", "io/chunkfile", "dataplane/store",
		"dataplane/copyset", "dataplane/peer", "rpc/wire", "rpc/rdma"} {
		if !slices.ContainsFunc(targets, func(t target) bool { return t.pkg == room }) {
			t.Errorf("%s has no fuzz target", room)
		}
	}
}

func TestOnlyAWorkerThatWasLateIsTriedAgain(t *testing.T) {
	for text, want := range map[string]bool{
		"--- FAIL: FuzzX (10.01s)\n    context deadline exceeded\nFAIL":            true,
		"--- FAIL: FuzzX\n context deadline exceeded\n Failing input written to x": false,
		"--- FAIL: FuzzX (3s)\n    panic: index out of range":                      false,
	} {
		if tooLate(text) != want {
			t.Errorf("%q", text)
		}
	}
}

func TestLastLineOfProgressCounts(t *testing.T) {
	execs, added, ok := counts("fuzz: elapsed: 3s, execs: 10 (3/sec), new interesting: 1 (of 9)\n" +
		"fuzz: elapsed: 6s, execs: 250 (80/sec), new interesting: 4 (total: 12)\nPASS\n")
	if !ok || execs != 250 || added != 4 {
		t.Error(execs, added, ok)
	}
	if _, _, ok := counts("PASS\n"); ok {
		t.Error("counted nothing as something")
	}
}
