package load

import (
	"math"
	"math/bits"
	"math/rand/v2"

	"github.com/ashlar-storage/ashlar/perf/job"
)

// drawer gives the numbers of blocks, from 0 to n-1.
type drawer interface{ next(rng *rand.Rand) uint64 }

func newDrawer(n uint64, distinct bool, s job.Spread, seed uint64) drawer {
	switch {
	case s.Kind == "zipf":
		return newZipf(n, s.Theta, seed)
	case s.Kind == "pareto":
		return &pareto{n: n, power: math.Log(s.Theta) / math.Log(1-s.Theta), seed: seed}
	case distinct:
		return newShuffle(n, seed)
	}
	return uniform(n)
}

type uniform uint64

func (n uniform) next(rng *rand.Rand) uint64 { return rng.Uint64N(uint64(n)) }

// shuffle gives every number once, in an order of its own, and then again in another. It is a
// Feistel network over the next power of four; what it puts beyond n is put again until it is not,
// which makes a permutation of the rest. It takes no memory, where fio has a bit for each block.
type shuffle struct {
	n, at uint64
	half  uint // bits
	keys  [4]uint64
	seed  uint64
}

func newShuffle(n, seed uint64) *shuffle {
	s := &shuffle{n: n, half: uint(bits.Len64(n-1)+1) / 2, seed: seed}
	s.half = max(s.half, 1)
	s.rekey()
	return s
}

func (s *shuffle) rekey() {
	for i := range s.keys {
		s.seed = mix(s.seed + uint64(i))
		s.keys[i] = s.seed
	}
}

func (s *shuffle) next(*rand.Rand) uint64 {
	if s.at == s.n {
		s.at = 0
		s.rekey()
	}
	x := s.put(s.at)
	for x >= s.n {
		x = s.put(x)
	}
	s.at++
	return x
}

func (s *shuffle) put(x uint64) uint64 {
	mask := uint64(1)<<s.half - 1
	left, right := x>>s.half, x&mask
	for _, k := range s.keys {
		left, right = right, left^(mix(right^k)&mask)
	}
	return left<<s.half | right
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// zipf follows Gray et al., Quickly Generating Billion-Record Synthetic Databases (SIGMOD 1994), as
// fio does; which block is how popular is scattered over the region.
type zipf struct {
	n                              uint64
	theta, zetan, half, alpha, eta float64
	seed                           uint64
}

func newZipf(n uint64, theta float64, seed uint64) *zipf {
	z := &zipf{n: n, theta: theta, seed: seed, alpha: 1 / (1 - theta)}
	for i := uint64(1); i <= min(n, zetaMax); i++ {
		z.zetan += math.Pow(1/float64(i), theta)
	}
	z.half = math.Pow(0.5, theta)
	z.eta = (1 - math.Pow(2/float64(n), 1-theta)) / (1 - (1+z.half)/z.zetan)
	return z
}

func (z *zipf) next(rng *rand.Rand) uint64 {
	u := rng.Float64()
	rank := uint64(0)
	switch uz := u * z.zetan; {
	case uz < 1:
	case uz < 1+z.half:
		rank = 1
	default:
		rank = uint64(float64(z.n) * math.Pow(z.eta*u-z.eta+1, z.alpha))
	}
	return mix(rank^z.seed) % z.n
}

// pareto is that of fio: with h = 0.2, a fifth of the blocks get four fifths of the operations.
type pareto struct {
	n     uint64
	power float64
	seed  uint64
}

func (p *pareto) next(rng *rand.Rand) uint64 {
	rank := uint64(float64(p.n-1) * math.Pow(rng.Float64(), p.power))
	return mix(rank^p.seed) % p.n
}
