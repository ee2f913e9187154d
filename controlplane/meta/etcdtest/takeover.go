package etcdtest

import (
	"slices"
	"testing"
	"time"
)

// TakeoverLimit is what docs/operations.md promises: a control plane that dies is replaced in this
// time. A takeover takes some commits of etcd, and a disk that others keep busy can stand still for
// longer than all the rest takes: the promise is that of the median, and LateTakeover bounds each.
const (
	TakeoverLimit = 3 * time.Second
	LateTakeover  = 2 * TakeoverLimit
	// fewTakeovers have a median that is one late one as likely as not.
	fewTakeovers = 5
)

// JudgeTakeovers fails the test if those of a run break the promise.
func JudgeTakeovers(tb testing.TB, took []time.Duration) {
	tb.Helper()
	if len(took) == 0 {
		tb.Error("there was no takeover: the test tests nothing")
		return
	}
	took = slices.Sorted(slices.Values(took))
	if d := took[len(took)/2]; len(took) >= fewTakeovers && d > TakeoverLimit {
		tb.Errorf("half of the takeovers took %v and more", d)
	}
	if d := took[len(took)-1]; d > LateTakeover {
		tb.Errorf("a takeover took %v", d)
	}
}
