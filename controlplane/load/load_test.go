package load

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// The process that is measured is this one's program with -serve.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-serve" {
		if err := Main(os.Args[1:], os.Stdout, os.Stderr); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestASmallClusterIsWellAndRecovers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes most of a minute")
	}
	c, err := parse([]string{"-nodes", "12", "-replicas", "30", "-zones", "4", "-phase", "15s",
		"-changing", "20"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	phases, err := measure(c, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if len(phases) != 4 {
		t.Fatalf("%d phases", len(phases))
	}
	for i := range phases[1:] {
		p := &phases[i+1]
		if p.spent <= 0 || p.hold <= 0 || p.peak == 0 || p.beats == 0 {
			t.Errorf("%s: nothing was measured: %+v", p.name, p)
		}
		for _, kind := range kinds {
			l := p.calls[kind]
			if l == nil || len(l.took) == 0 || l.failed > 0 {
				t.Errorf("%s: %s: %+v", p.name, kind, l)
			}
		}
	}
	if n := phases[3].recovered; n < 10 {
		t.Errorf("%d replicas were made anew", n)
	}
	for _, want := range []string{"processors", "`volume create`", "the lock held"} {
		if !strings.Contains(table(phases), want) {
			t.Errorf("no %q in %s", want, table(phases))
		}
	}
}

func TestCopysetsLieInThreeZonesAndEvenly(t *testing.T) {
	c := config{nodes: 100, replicas: 60, zones: 7, seed: 3}
	held := map[uint64]int{}
	for _, rec := range copysets(c) {
		zones := map[uint64]bool{}
		for _, m := range rec.Replicas {
			zones[(m.NodeId-1)%uint64(c.zones)] = true
			held[m.NodeId]++
		}
		if len(zones) != members {
			t.Fatalf("%v", rec)
		}
	}
	for node, n := range held {
		if n < c.replicas-5 || n > c.replicas+5 {
			t.Errorf("node %d has %d replicas", node, n)
		}
	}
}

func TestQuantilesAreThoseOfTheSortedTimes(t *testing.T) {
	l := &latencies{}
	for i := range 100 {
		l.took = append(l.took, time.Duration(i+1))
	}
	if l.quantile(0.5) != 51 || l.quantile(0.99) != 100 || l.quantile(1) != 100 {
		t.Error(l.quantile(0.5), l.quantile(0.99), l.quantile(1))
	}
}
