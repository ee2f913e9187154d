package nemesis

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/internal/evidence"
	"github.com/ashlar-storage/ashlar/perf/faultfs"
	"github.com/ashlar-storage/ashlar/perf/rig"
)

const (
	powerBlocks  = 4096 // of the ledger: 16 MiB, so that blocks are written again and again
	powerWorkers = 24
	powerTimeout = 30 * time.Second // of an operation of the client
	loadTime     = time.Second      // before each cut
	liarTimeout  = 10 * time.Second // the same, where it is to be in vain
	settleWait   = 90 * time.Second
	shortRounds  = 2

	fioVolume = "fio"
	fioBytes  = 4 << 20
)

// smallLog is of each node: there are checkpoints among what is cut, and nodes that come back are
// given chunks.
const smallLog = "log_limit: 256MiB\nlog: {level: warn}\n"

// powerSettings are of each node. Nobody measures clients beside replicas that are filled, and the
// next round waits for them.
const powerSettings = smallLog + "fill_rate: 0\n"

// outages is what a run of power cuts counted.
type outages struct {
	phases                            phases
	rounds, writes, blocks, fioBlocks int64
	lost                              faultfs.Losses
}

// phases are the times of one round, one after the other.
type phases struct {
	last  time.Time
	parts []string
}

func (p *phases) done(name string) {
	now := time.Now()
	if !p.last.IsZero() {
		p.parts = append(p.parts, fmt.Sprintf("%s %.1f", name, now.Sub(p.last).Seconds()))
	}
	p.last = now
}

func (p *phases) take() string {
	text := strings.Join(p.parts, ", ")
	p.parts = nil
	return text
}

// everything has its data on disks that lose what was not synced.
var everything = []string{"control", "n1", "n2", "n3"}

func newPowered(t *testing.T, binary string, disk faultfs.Config) *machine {
	m := newMachine(t, rig.Config{Binary: binary, NodeSettings: powerSettings}, disk,
		everything...)
	m.timeout = powerTimeout
	for name, size := range map[string]int64{volumeName: powerBlocks * blockSize,
		fioVolume: fioBytes} {
		if err := m.cluster.CreateVolume(t.Context(), name, size); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.cluster.StartGateway(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

// fio writes its volume with checksums, or checks what it has written; the seed names the content.
func (m *machine) fio(seed uint64, verifyOnly bool) error {
	if err := m.cluster.AwaitGateway(m.t.Context()); err != nil {
		return err
	}
	args := []string{"--name=power", "--ioengine=nbd", "--rw=randwrite", "--bs=4k",
		"--uri=nbd://" + m.cluster.NBD + "/" + fioVolume, fmt.Sprintf("--size=%d", fioBytes),
		"--iodepth=16", "--verify=crc32c", "--verify_fatal=1", "--do_verify=0",
		"--verify_state_save=0", fmt.Sprintf("--randseed=%d", seed+1)}
	if verifyOnly {
		args = append(args, "--verify_only=1")
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), openWait)
	defer cancel()
	out, err := exec.CommandContext(ctx, "fio", args...).CombinedOutput()
	if err != nil && verifyOnly {
		return fmt.Errorf("%w: fio: %w\n%s", errLost, err, out)
	}
	if err != nil {
		return fmt.Errorf("nemesis: fio: %w\n%s", err, out)
	}
	return nil
}

// verify reads back everything that was acknowledged before the last cut.
func (m *machine) verify(l *ledger, o *outages, round uint64) error {
	o.phases.done("start")
	if err := m.attach(); err != nil {
		return err
	}
	o.phases.done("open")
	if err := l.check(m.volume); err != nil {
		return err
	}
	o.phases.done("check")
	o.blocks += int64(len(l.sent))
	if round == 0 {
		return nil
	}
	o.fioBlocks += fioBytes / blockSize
	return m.fio(round-1, true)
}

// round verifies, loads the cluster, and takes its power away in the middle.
func (m *machine) round(l *ledger, o *outages, round uint64) error {
	if err := m.verify(l, o, round); err != nil {
		return err
	}
	o.phases.done("fio check")
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- l.load(m.volume, powerWorkers, round, stop) }()
	loaded := time.After(loadTime)
	if err := m.fio(round, false); err != nil {
		return err
	}
	before := l.writes.Load()
	<-loaded
	o.phases.done("load")
	select {
	case err := <-ended:
		return fmt.Errorf("nemesis: the load ended before the cut: %w", err)
	default:
	}
	if err := m.cutPower(); err != nil {
		return err
	}
	o.phases.done("cut")
	m.detach()
	o.phases.done("detach")
	if err := <-ended; err == nil || l.writes.Load() == before && before == o.writes {
		return errors.New("nemesis: the cut did not meet a write under way")
	}
	o.rounds, o.writes = o.rounds+1, l.writes.Load()
	lost, err := m.restorePower(round)
	o.phases.done("restore")
	o.lost.Kept += lost.Kept
	o.lost.Dropped += lost.Dropped
	o.lost.NamesLost += lost.NamesLost
	return err
}

// awaitFull waits until every replica runs and has caught up.
func (m *machine) awaitFull() error {
	ctx, cancel := context.WithTimeout(m.t.Context(), settleWait)
	defer cancel()
	for {
		r, err := m.cluster.Status(ctx)
		if err == nil && r.GetHealth() == "ok" && r.GetCopysetsFull() == r.GetCopysets() {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("nemesis: not all replicas caught up within %v: %v, %w", settleWait,
				r.GetProblems(), err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestNoAcknowledgedByteIsLostWhenThePowerGoesAgainAndAgain(t *testing.T) {
	binary := prepared(t, "fio")
	rounds := number(t, "ROUNDS", shortRounds)
	m := newPowered(t, binary, faultfs.Config{})
	l, o, began := newLedger(powerBlocks), &outages{}, time.Now()
	for n := range uint64(rounds) {
		at := time.Now()
		if err := m.round(l, o, n); err != nil {
			t.Fatalf("round %d: %v", n+1, err)
		}
		fmt.Printf("power: round %d of %d in %.1f s (%s): %d acknowledged writes, %d unsynced "+
			"sectors dropped, %d kept, %d names lost\n", n+1, rounds, time.Since(at).Seconds(),
			o.phases.take(), o.writes, o.lost.Dropped, o.lost.Kept, o.lost.NamesLost)
	}
	if err := m.verify(l, o, uint64(rounds)); err != nil {
		t.Fatal(err)
	}
	if err := m.awaitFull(); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("power: %d rounds in %.0f s, %d acknowledged writes checked, %d unsynced sectors "+
		"dropped, lost 0\n", o.rounds, time.Since(began).Seconds(), o.writes, o.lost.Dropped)
	if o.lost.Dropped == 0 || o.lost.Kept == 0 {
		t.Errorf("the cuts took nothing, or everything: %+v", o.lost)
	}
	evidence.Record(t, evidence.Item{Lane: "power", Name: "power cuts of a whole cluster",
		Promises: []string{"P1", "P3", "P6"},
		Test:     "perf/nemesis TestNoAcknowledgedByteIsLostWhenThePowerGoesAgainAndAgain",
		Counts: map[string]int64{"rounds": o.rounds, "acknowledged writes": o.writes,
			"blocks read back": o.blocks, "fio blocks verified": o.fioBlocks,
			"unsynced sectors dropped": o.lost.Dropped, "unsynced sectors kept": o.lost.Kept,
			"names lost": o.lost.NamesLost, "violations": 0}})
}

// refuses reports whether the cluster itself says that it cannot serve what it should have: what
// the log knew to be durable is not there.
func (m *machine) refuses() bool {
	r, err := m.cluster.Status(m.t.Context())
	if err == nil && r.GetHealth() != "ok" {
		m.t.Logf("the cluster is %s: %.300v", r.GetHealth(), r.GetProblems())
		return true
	}
	return false
}

func TestDisksThatLieAboutDurabilityAreFoundOut(t *testing.T) {
	m := newPowered(t, prepared(t, "fio"), faultfs.Config{})
	m.timeout, m.openWait = liarTimeout, liarTimeout
	l, o := newLedger(powerBlocks), &outages{}
	for n := range uint64(8) {
		// What the cluster is made of is durable; what it is told from now on is not.
		for _, disk := range m.disks {
			disk.Lie()
		}
		err := m.round(l, o, n)
		if err == nil {
			continue
		}
		if !errors.Is(err, errLost) && !errors.Is(err, rig.ErrDied) && !m.refuses() {
			t.Errorf("the run failed for another reason: %v", err)
		}
		t.Logf("found out in round %d: %.300v", n+1, err)
		evidence.Record(t, evidence.Item{Lane: "power", Name: "disks that lie",
			Promises: []string{"P1"},
			Test:     "perf/nemesis TestDisksThatLieAboutDurabilityAreFoundOut",
			Counts:   map[string]int64{"rounds until found": int64(n + 1)}})
		return
	}
	t.Error("8 power cuts of disks that make nothing durable went unnoticed")
}
