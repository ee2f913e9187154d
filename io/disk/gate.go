package disk

import (
	"sync"
	"sync/atomic"
)

// gate counts the operations under way on something that can be closed, so that closing
// waits for them and none begins afterwards. The zero gate is open.
type gate struct {
	state atomic.Int64 // operations under way, plus gateMarks
	once  sync.Once
	init  sync.Once
	empty chan struct{}
}

const (
	gateShut = 1 << 62
	// gateParked: what is behind the gate must be fetched before an operation begins.
	gateParked = 1 << 61
	gateMarks  = gateShut | gateParked
)

func (g *gate) drained() chan struct{} {
	g.init.Do(func() { g.empty = make(chan struct{}) })
	return g.empty
}

// enter begins an operation; false once the gate is shut.
func (g *gate) enter() bool {
	if g.state.Add(1)&gateShut == 0 {
		return true
	}
	g.leave()
	return false
}

// leave ends an operation.
func (g *gate) leave() {
	if n := g.state.Add(-1); n&^gateParked == gateShut {
		g.once.Do(func() { close(g.drained()) })
	}
}

func (g *gate) isShut() bool { return g.state.Load()&gateShut != 0 }

// park marks a gate with nothing under way, and says whether it could.
func (g *gate) park() bool { return g.state.CompareAndSwap(0, gateParked) }

func (g *gate) unpark() { g.state.And(^gateParked) }

func (g *gate) isParked() bool { return g.state.Load()&gateParked != 0 }

// shut lets no operation begin any more; false when it was shut before.
func (g *gate) shut() bool {
	switch old := g.state.Or(gateShut); {
	case old&gateShut != 0:
		return false
	case old&^gateMarks == 0:
		g.once.Do(func() { close(g.drained()) })
	}
	return true
}

// wait returns when the last operation has left a gate that is shut.
func (g *gate) wait() { <-g.drained() }
