package main

import (
	"context"
	"fmt"
	"strings"
)

const (
	block     = 4096
	large     = 128 << 10
	queue     = 32 // the deeper of the two depths
	echoShare = 2  // round trips are measured for 1/echoShare of a case's time
	// many volumes are written at the same time, by several clients of a pool.
	many, manyDepth = 4, 8
	largeDepth      = 8
)

// figures of one case in one round. Latencies in us.
type figures struct {
	Ops  int64   `json:"ops"`
	IOPS float64 `json:"iops"`
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p999_us"`
	Mean float64 `json:"mean_us"`
}

// Who does the operations of a case; the name of a peer otherwise.
const (
	onNet    = "net"
	onRaw    = "raw"
	byNative = "native"
	byNBD    = "nbd"     // fio
	byOwnNBD = "own-nbd" // the harness's own client, which costs what the native one does
)

// doorClients are the clients by which the gateway is measured.
var doorClients = map[string]string{byOwnNBD: "own client", byNBD: "fio"}

// benchCase is one thing that is measured in every round.
type benchCase struct {
	name    string // who-operation-depth
	who     string
	write   bool
	inOrder bool // sequential, not random
	block   int
	depth   int
	copies  int // so many jobs at once, of the raw file; 0: one
	volumes int // so many at the same time; 0: one
	run     func(ctx context.Context, b *bench, c *benchCase, round int) (figures, error)
	cluster bool // its cost is that of the cluster
	costs   bool // it has a column in the tables of costs
}

// threeAtOnce is what the replicas' logs do with one disk at depth 1.
const threeAtOnce = "raw-write-1x3"

// cases in the order of a round: what is compared stands side by side.
func cases(peers []peer) []benchCase {
	out := []benchCase{{name: "net-echo-1", who: onNet, depth: 1, run: runEcho}}
	for _, depth := range []int{1, queue} {
		for _, op := range []string{"write", "read"} {
			for _, who := range all(peers) {
				c := newCase(who, op, block, depth)
				c.costs = c.cluster
				out = append(out, c)
				if c.name == "raw-write-1" {
					c.name, c.copies = threeAtOnce, replicas
					out = append(out, c)
				}
			}
		}
	}
	for _, who := range all(peers) {
		c := newCase(who, "write", block, queue)
		c.name, c.inOrder = who+"-seqwrite-32", true
		out = append(out, c)
	}
	for _, op := range []string{"write", "read"} {
		for _, who := range all(peers) {
			c := newCase(who, op, large, largeDepth)
			c.name, c.inOrder = fmt.Sprintf("%s-128k-%s-%d", who, op, largeDepth), true
			out = append(out, c)
		}
	}
	return append(out, manyCases(peers)...)
}

// manyCases write to several volumes at the same time: with the native client, and on the peers
// that have several.
func manyCases(peers []peer) (out []benchCase) {
	who := []string{byNative}
	for _, p := range peers {
		if p.several() {
			who = append(who, p.name)
		}
	}
	for _, w := range who {
		c := newCase(w, "write", block, manyDepth)
		c.name, c.volumes = fmt.Sprintf("%s-write-%dx%d", w, many, manyDepth), many
		if w == byNative {
			c.run = runMany
		}
		out = append(out, c)
	}
	return out
}

func all(peers []peer) []string {
	out := []string{onRaw, byNative, byOwnNBD, byNBD}
	for _, p := range peers {
		out = append(out, p.name)
	}
	return out
}

func newCase(who, op string, size, depth int) benchCase {
	c := benchCase{name: fmt.Sprintf("%s-%s-%d", who, op, depth), who: who, write: op == "write",
		block: size, depth: depth, run: runFio}
	switch who {
	case byNative:
		c.cluster, c.run = true, runNative
	case byOwnNBD:
		c.cluster, c.run = true, runOwnNBD
	case byNBD:
		c.cluster = true
	}
	return c
}

// main reports whether a case is of the first table: random blocks of 4 KiB, of the floor and of
// Ashlar.
func (c *benchCase) main() bool {
	return !c.inOrder && c.volumes == 0 && (c.cluster || c.who == onRaw || c.who == onNet)
}

// like is the name of the same case, done by another.
func (c *benchCase) like(who string) string { return who + strings.TrimPrefix(c.name, c.who) }
