package mark

import "testing"

func BenchmarkAttached(b *testing.B) {
	for b.Loop() {
		if Attached() {
			b.Fatal("something is attached")
		}
	}
}

func BenchmarkOps(b *testing.B) {
	var op [1]Op
	for b.Loop() {
		Ops(op[:])
	}
}
