package copyset

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/internal/evidence"
)

// calm is a cluster where nothing fails.
func calm(replicas int) simConfig {
	return simConfig{replicas: replicas, run: 5 * time.Second, clients: 4, inflight: 3,
		delay: 100 * time.Microsecond, disk: 200 * time.Microsecond, readShare: 0.4, partial: 0.4,
		retain: 1 << 20, checkpoint: 500 * time.Millisecond}
}

// stormy draws what goes wrong in a run from its seed.
func stormy(seed uint64) simConfig {
	rng := rand.New(rand.NewPCG(seed, 99))
	c := calm([...]int{3, 3, 3, 3, 5, 1}[rng.IntN(6)])
	some := func(mean time.Duration) time.Duration {
		if rng.IntN(3) == 0 {
			return 0
		}
		return time.Duration((0.5 + rng.Float64()) * float64(mean))
	}
	c.run = 8 * time.Second
	c.drop, c.dup = rng.Float64()*0.05, rng.Float64()*0.05
	c.delay = some(2*time.Millisecond) + 50*time.Microsecond
	c.disk = some(3*time.Millisecond) + 50*time.Microsecond
	c.slowDisk = rng.Float64() * 0.02
	c.crash, c.cut = some(time.Second), some(time.Second)
	c.stall, c.transfer = some(time.Second), some(500*time.Millisecond)
	c.takeover, c.rot = some(2*time.Second), some(300*time.Millisecond)
	c.replace, c.isolate = some(700*time.Millisecond), some(2*time.Second)
	c.clog, c.rumour = some(time.Second), some(200*time.Millisecond)
	if rng.IntN(2) == 0 {
		c.writeFails = rng.Float64() * 0.0005
	}
	// A rotten block, a lost disk and a replica that is behind may be all copies of a block.
	if c.replicas < 3 || rng.IntN(2) == 0 {
		c.replace = 0
	}
	if c.replicas < 3 || c.replace > 0 {
		c.rot = 0
	}
	c.checkpoint = some(300 * time.Millisecond)
	c.pressure = some(200 * time.Millisecond)
	c.drift = rng.Float64() * 0.047
	c.retain = 64 << 10 << rng.IntN(5)
	c.partial = rng.Float64()
	c.lull, c.full, c.control = some(3*time.Second), some(time.Second), some(2*time.Second)
	if c.rot > 0 {
		c.astray = rng.Float64() * 0.01
	}
	if c.readIndex = rng.IntN(4) == 0; c.readIndex {
		c.drift, c.jump = rng.Float64()*0.5, some(500*time.Millisecond)
	}
	c.shuffle = rng.IntN(6) == 0
	if c.replace > 0 && c.jump == 0 {
		c.rollback = some(500 * time.Millisecond)
	}
	return c
}

// Which seeds the simulation runs, and for how long; 0: what a test asks for by itself.
var (
	simFrom  = flag.Uint64("sim.from", 1, "first seed of the simulation")
	simSeeds = flag.Uint64("sim.seeds", 0, "seeds of the simulation")
	simRun   = flag.Duration("sim.run", 0, "simulated time of faults in each run")
	simLoud  = flag.Bool("sim.log", false, "log what the simulated replicas say")
)

func TestCalmClusterIsLinearizable(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		_, s := runSim(t, 1, calm(n))
		t.Log(n, s.marks)
	}
}

func TestStormyClusterIsLinearizable(t *testing.T) {
	const few = 40
	marks := runSeeds(t, few, stormy)
	if t.Failed() {
		return
	}
	leaveCounts(t, marks)
	if *simSeeds != 0 && *simSeeds < few {
		return
	}
	for _, what := range []string{"crash", "crash of all", "cut", "stall", "transfer", "takeover",
		"recovered", "unreported append kept", "block torn", "fetched", "checkpoint", "flush",
		"chunk dropped", "flush from the log", "read from the log", "sent from the log",
		"block repaired", "message lost", "message repeated", "leader isolated", "clog",
		"log write failed", "disk lost", "member to move", "newcomer lost", "replaced", "fenced",
		"called back", "undone",
		"false rumour", "chunk up to date",
		"disk put back", "the control plane knew that it was longer",
		"the leader knew that it was longer",
		"clock jump", "to rest", "disk full", "write lost", "write misdirected",
		"control plane down", "turn to stand for election",
		"kept what the leader has lost"} {
		if marks[what] == 0 {
			t.Errorf("never happened: %s", what)
		}
	}
}

// shuttle hands the leadership on all the time while the chunk files are slow to read: what was
// read under one leadership must not be used under the next.
func shuttle(seed uint64) simConfig {
	c := stormy(seed)
	c.replicas, c.transfer = 3, 150*time.Millisecond
	c.delay, c.disk, c.slowDisk = 200*time.Microsecond, 300*time.Microsecond, 0
	c.slowRead, c.partial, c.pressure = 0.3, 0.8, 20*time.Millisecond
	c.cut, c.stall, c.crash = 0, 0, 0
	return c
}

// drowsy leaves the copyset alone most of the time, and the worst happens while it rests.
func drowsy(seed uint64) simConfig {
	c := stormy(seed)
	c.lull, c.checkpoint = time.Second, 300*time.Millisecond
	c.disk, c.slowDisk, c.drop = 50*time.Microsecond, 0, c.drop/10
	c.crash, c.isolate, c.cut = 2*time.Second, 2*time.Second, 3*time.Second
	c.pressure, c.rumour, c.rot = 0, time.Second, 0
	return c
}

// late lets processes run late and cuts leaders off, so that leases are used to their last moment.
func late(seed uint64) simConfig {
	c := stormy(seed)
	c.replicas, c.crash, c.transfer, c.stall = 3, 0, 0, 0
	c.readIndex, c.jump = false, 0
	c.cut, c.hiccup, c.drift = 300*time.Millisecond, 0.1, 0.047
	c.rumour = 10 * time.Millisecond
	c.delay, c.disk = 50*time.Microsecond, 50*time.Microsecond
	return c
}

// simFailures is after how many failed seeds a run of many ends: each may be another fault.
const simFailures = 3

// runSeeds runs so many seeds unless the flags say otherwise, and counts what happened.
func runSeeds(t *testing.T, count uint64, config func(uint64) simConfig) map[string]int {
	if *simSeeds != 0 {
		count = *simSeeds
	}
	marks, failed := map[string]int{}, 0
	for seed := *simFrom; seed < *simFrom+count && failed < simFailures; seed++ {
		c := config(seed)
		if *simRun != 0 {
			c.run = *simRun
		}
		_, s := runSim(t, seed, c)
		if s.err != nil {
			failed++
		}
		for k, v := range s.marks {
			marks[k] += v
		}
		marks["seeds"]++
		marks["simulated seconds"] += int(c.run / time.Second)
	}
	t.Log(marks)
	return marks
}

// leaveCounts keeps what happened as evidence of the lane, when the flags made this one.
func leaveCounts(t *testing.T, marks map[string]int) {
	if *simSeeds == 0 || *simRun == 0 {
		return
	}
	counts := map[string]int64{"violations": 0}
	for k, v := range marks {
		counts[k] = int64(v)
	}
	evidence.Record(t, evidence.Item{Lane: "sim",
		Promises: []string{"P1", "P2", "P3", "P4", "P6", "P13"},
		Name:     fmt.Sprintf("seeds %d to %d", *simFrom, *simFrom+*simSeeds-1),
		Test:     "dataplane/copyset " + t.Name(), Counts: counts})
}

func TestHandOversUnderSlowReadsAreLinearizable(t *testing.T) { runSeeds(t, 10, shuttle) }

func TestCopysetsAtRestAreLinearizable(t *testing.T) {
	if marks := runSeeds(t, 20, drowsy); *simSeeds == 0 && marks["to rest"] < 30 {
		t.Errorf("replicas went to rest %d times", marks["to rest"])
	}
}

func TestLateProcessesDoNotOutliveTheirLease(t *testing.T) { runSeeds(t, 10, late) }

func TestOneSeedGivesOneRun(t *testing.T) {
	for seed := uint64(1); seed <= max(3, *simSeeds); seed++ {
		a, _ := runSim(t, seed, stormy(seed))
		b, _ := runSim(t, seed, stormy(seed))
		if a != b {
			t.Errorf("seed %d: trace %x, and then %x", seed, a, b)
		}
	}
}
