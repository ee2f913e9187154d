package schedule

import (
	"math/rand/v2"
	"testing"
)

// A round over a thousand nodes in which nothing is to be done: what the control plane pays once a
// second.
func BenchmarkAQuietRoundOver10000Stores(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	v := site(rng, 20, 50, 10, 60_000, func(int) uint64 { return 2 << 40 })
	lim := DefaultLimits()
	for id, preferred := range Spread(v.Copysets) {
		c := &v.Copysets[id-1]
		c.Preferred, c.Leader = preferred, preferred
	}
	lim.Balances = 0
	b.Run("leaders", func(b *testing.B) {
		for b.Loop() {
			Leaders(v, lim)
		}
	})
	b.Run("moves", func(b *testing.B) {
		for b.Loop() {
			Moves(v, lim)
		}
	})
	lim.Balances = 4
	b.Run("moves and balance", func(b *testing.B) {
		for b.Loop() {
			Moves(v, lim)
		}
	})
}
