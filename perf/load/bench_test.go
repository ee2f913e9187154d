package load

import (
	"context"
	"fmt"
	"testing"
)

type nothing struct{}

func (nothing) Submit(op *Op) { op.Done(op) }

// What the generator costs: operations that end at once, so that nothing else is in the figure.
func BenchmarkGenerator(b *testing.B) {
	for _, depth := range []int{1, 32} {
		for _, verify := range []bool{false, true} {
			b.Run(fmt.Sprintf("depth=%d/verify=%t", depth, verify), func(b *testing.B) {
				j := Job{Sizes: Blocks(4096), Random: true, Depth: depth, Size: 1 << 30,
					Ops: int64(b.N), Seed: 1}
				if verify {
					j.Verify = &Verify{PatternAt: -1}
				}
				b.ReportAllocs()
				if _, err := Run(context.Background(), nothing{}, j); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}
