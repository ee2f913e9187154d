package placement

import (
	"flag"
	"fmt"
	"hash/fnv"
	"os"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the golden file instead of comparing")

// A pool is drawn once and then lives with its copysets, but a plan for the next one should be what
// that pool will be. The draws of equal stores must not change by accident.
func TestDrawsOfEqualStoresMatchTheGoldenFile(t *testing.T) {
	const path = "testdata/draws.golden"
	var got strings.Builder
	for _, c := range []struct {
		perZone []int
		p       Params
	}{
		{[]int{1, 1, 1}, Params{Replicas: 3, Copysets: 2, Seed: 1}},
		{[]int{2, 2, 2}, Params{Replicas: 3, Copysets: 8, ScatterWidth: 4, Seed: 7}},
		{[]int{3, 1, 2, 2}, Params{Replicas: 2, Copysets: 9, Seed: 3}},
		{[]int{9, 9, 9, 9}, Params{Replicas: 3, Copysets: 240, ScatterWidth: 12, Seed: 5}},
		{[]int{40, 7, 12, 12, 3}, Params{Replicas: 4, Copysets: 500, ScatterWidth: 20, Seed: 9}},
	} {
		for _, weight := range []uint64{0, 1, 1000} {
			sets, err := Generate(weighted(grid(c.perZone...), weight), c.p)
			if err != nil {
				t.Fatal(err)
			}
			h := fnv.New64a()
			fmt.Fprint(h, sets)
			line := fmt.Sprintf("%v %+v: %x", c.perZone, c.p, h.Sum64())
			if len(sets) < 10 {
				line += fmt.Sprint(" ", sets)
			}
			if weight == 0 {
				fmt.Fprintln(&got, line)
			} else if !strings.Contains(got.String(), line) {
				t.Errorf("weight %d draws other copysets: %s", weight, line)
			}
		}
	}
	if *rewrite {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("%s: got\n%swant\n%s", path, got.String(), want)
	}
}

// weighted gives all stores one weight.
func weighted(stores []Store, weight uint64) []Store {
	for i := range stores {
		stores[i].Weight = weight
	}
	return stores
}
