package disk

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestGateShutsAfterTheLastHasLeft(t *testing.T) {
	for range 200 {
		var g gate
		var inside atomic.Int32
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for g.enter() {
					inside.Add(1)
					inside.Add(-1)
					g.leave()
				}
			})
		}
		if !g.shut() || g.shut() {
			t.Fatal("shut must succeed exactly once")
		}
		g.wait()
		if n := inside.Load(); n != 0 {
			t.Fatalf("%d inside a shut gate", n)
		}
		wg.Wait()
	}
}
