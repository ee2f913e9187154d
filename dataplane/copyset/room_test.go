package copyset

import (
	"slices"
	"testing"
)

// What is taken from a room is nobody else's: neither writing to it nor appending reaches others.
func TestRoomGivesMemoryThatNobodyElseHas(t *testing.T) {
	var r room[int]
	var all [][]int
	for _, n := range []int{3, 1, 8, 0, 5, 100, 7} {
		p := r.take(n, 8)
		if len(p) != n || slices.ContainsFunc(p, func(v int) bool { return v != 0 }) {
			t.Fatalf("take(%d) gave %v", n, p)
		}
		for i := range p {
			p[i] = n
		}
		all = append(all, p)
	}
	for _, p := range all {
		_ = append(p, -1)
	}
	for _, p := range all {
		if slices.ContainsFunc(p, func(v int) bool { return v != len(p) }) {
			t.Errorf("%d elements were changed by others: %v", len(p), p)
		}
	}
}

// Commands in an arriving message begin where their checksums can be read in place.
func TestArrivalsAreAligned(t *testing.T) {
	for _, n := range []int{76, 77, 81, 80} {
		_, data := arrivalRoom(1, n)
		data = data[:commandHeader+4]
		if crcs := commandCRCs(data); len(crcs) != 1 {
			t.Fatalf("%d checksums", len(crcs))
		} else if crcs[0] = 7; data[commandHeader] != 7 {
			t.Errorf("behind %d bytes a command's checksums are copied", n)
		}
	}
}
