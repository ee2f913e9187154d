package disk

import (
	"math/rand/v2"
	"testing"
)

const benchFile = 256 << 20

// onRealDisks runs a benchmark on both engines.
func onRealDisks(b *testing.B, bench func(*testing.B, *env, File)) {
	for _, k := range kinds[:2] {
		b.Run(k.name, func(b *testing.B) {
			e := newEnv(b, k.open)
			f := e.create("bench", benchFile)
			bench(b, e, f)
		})
	}
}

func randomBlock(rng *rand.Rand) int64 { return rng.Int64N(benchFile/BlockSize) * BlockSize }

// BenchmarkDurableWrite4K is the write of a log: inline, or submitted alone.
func BenchmarkDurableWrite4K(b *testing.B) {
	onRealDisks(b, func(b *testing.B, e *env, f File) {
		rng := rand.New(rand.NewPCG(1, 1))
		vec := [][]byte{e.block(1)}
		b.Run("inline", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.no(f.WriteVec(vec, randomBlock(rng), true))
			}
		})
		b.Run("submit", func(b *testing.B) {
			e.depth(b, f, 1, Op{Kind: Write, Durable: true})
		})
		b.Run("submit16", func(b *testing.B) {
			e.depth(b, f, 16, Op{Kind: Write, Durable: true})
		})
	})
}

func BenchmarkReadQD1(b *testing.B) {
	onRealDisks(b, func(b *testing.B, e *env, f File) {
		rng := rand.New(rand.NewPCG(1, 1))
		p := e.block(1)
		b.Run("inline", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.ReadAt(p, randomBlock(rng)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("submit", func(b *testing.B) { e.depth(b, f, 1, Op{Kind: Read}) })
	})
}

func BenchmarkReadQD32(b *testing.B) {
	onRealDisks(b, func(b *testing.B, e *env, f File) {
		e.depth(b, f, 32, Op{Kind: Read})
	})
}

// depth keeps n operations of a kind in flight; a whole round of completions is sent again
// with one Flush.
func (e *env) depth(b *testing.B, f File, n int, kind Op) {
	b.ReportAllocs()
	rng := rand.New(rand.NewPCG(1, 2))
	done := make(chan *Op, n)
	left := b.N
	for range min(n, b.N) {
		op := new(Op)
		op.Kind, op.Durable = kind.Kind, kind.Durable
		op.Vec, op.Off = [][]byte{e.block(1)}, randomBlock(rng)
		op.Done = func(op *Op) { done <- op }
		f.Submit(op)
		left--
	}
	b.ResetTimer()
	e.Flush()
	for inflight := min(n, b.N); inflight > 0; {
		op := <-done
		for more := true; more; {
			if op.Err != nil {
				b.Fatal(op.Err)
			}
			if left > 0 {
				left--
				op.Off = randomBlock(rng)
				f.Submit(op)
			} else {
				inflight--
			}
			select {
			case op = <-done:
			default:
				more = false
			}
		}
		e.Flush()
	}
}
