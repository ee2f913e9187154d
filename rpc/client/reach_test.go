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
	f.stopNodes()
	_, err := v.ReadAt(make([]byte, 4096), 0)
	if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "can be reached: node 1: ") ||
		!errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
	f.nodes[1].start()
	f.setLeader(none)
	eventually(t, "a node can be reached", func() bool {
		up := func(p *peer) bool { return p.link.Load() != nil }
		return slices.ContainsFunc(v.c.allPeers(), up)
	})
	if _, err = v.ReadAt(make([]byte, 4096), 0); !errors.Is(err, errNoLeader) ||
		strings.Contains(err.Error(), "reached") {
		t.Errorf("one node answers: %v", err)
	}
}
