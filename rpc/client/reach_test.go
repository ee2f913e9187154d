package client

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDeadlineTellsWhyNoNodeCanBeReached(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	hasten(v, 300*time.Millisecond)
	for _, n := range f.nodes {
		n.stop()
	}
	_, err := v.ReadAt(make([]byte, 4096), 0)
	if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "can be reached: node 1: ") ||
		!errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
	f.nodes[1].start()
	f.setLeader(none)
	eventuallyUp(t, v.c)
	if _, err = v.ReadAt(make([]byte, 4096), 0); !errors.Is(err, errNoLeader) ||
		strings.Contains(err.Error(), "reached") {
		t.Errorf("one node answers: %v", err)
	}
}

// eventuallyUp waits until a node can be reached.
func eventuallyUp(t *testing.T, c *Client) {
	t.Helper()
	up := func(p *peer) bool { return p.link.Load() != nil }
	for deadline := time.Now().Add(10 * time.Second); !slices.ContainsFunc(c.allPeers(), up); {
		if time.Now().After(deadline) {
			t.Fatal("no connection")
		}
		time.Sleep(time.Millisecond)
	}
}
