package schedule

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// large is a thousand nodes with ten stores each, where nothing is to be done.
func large() View {
	rng := rand.New(rand.NewPCG(1, 1))
	v := site(rng, 20, 50, 10, 60_000, func(int) uint64 { return 2 << 40 })
	for id, preferred := range Spread(v.Copysets) {
		c := &v.Copysets[id-1]
		c.Preferred, c.Leader = preferred, preferred
	}
	return v
}

// What the control plane pays once a second.
func BenchmarkAQuietRoundOver10000Stores(b *testing.B) {
	v, lim := large(), DefaultLimits()
	x := NewIndex(v.Copysets)
	lim.Balances = 0
	b.Run("leaders", func(b *testing.B) {
		for b.Loop() {
			x.Leaders(v.Scene, lim)
		}
	})
	b.Run("moves", func(b *testing.B) {
		for b.Loop() {
			x.Moves(v.Scene, lim)
		}
	})
	lim.Balances = 4
	b.Run("moves and balance", func(b *testing.B) {
		for b.Loop() {
			v.Resume = x.Moves(v.Scene, lim).Resume
		}
	})
	b.Run("put", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			c := v.Copysets[i%len(v.Copysets)]
			c.Replicas = slices.Clone(c.Replicas)
			c.Leader = c.Replicas[i%3].ID
			x.Put(c)
		}
	})
}
