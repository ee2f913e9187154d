package main

import (
	"path/filepath"
	"testing"
)

// attachment is a line of `volume attachments`.
type attachment struct {
	Session     uint64
	Mode, State string
}

func TestDetachedClientWritesNoMore(t *testing.T) {
	skipShort(t)
	c := start(t, filepath.Join(t.TempDir(), "data"), "--volume", "vol", "--size", "256MiB")
	data := make([]byte, blockSize)
	client := c.attach(c.url)
	if _, err := client.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	var before, gone, after []attachment
	c.ask(&before, "volume", "attachments", "vol")
	if len(before) != 1 || before[0].Mode != "write" || before[0].State != "ok" {
		t.Fatalf("attached: %+v", before)
	}
	c.ask(&gone, "volume", "detach", "vol")
	if len(gone) != 1 || gone[0] != before[0] {
		t.Errorf("detached: %+v", gone)
	}
	for at := int64(0); at < volumeSize; at += volumeSize / 64 { // in every copyset
		if _, err := client.WriteAt(data, at); err == nil {
			t.Fatalf("a write at %d was taken", at)
		}
	}
	again := c.attach(c.url)
	if _, err := again.WriteAt(data, 0); err != nil {
		t.Errorf("attached anew: %v", err)
	}
	c.ask(&after, "volume", "attachments", "vol")
	if len(after) != 1 || after[0].Session == before[0].Session {
		t.Errorf("attached anew: %+v", after)
	}
	client.Close()
	again.Close()
	c.stop()
}
