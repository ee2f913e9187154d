package nemesis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/ashlar-storage/ashlar/internal/evidence"
	"github.com/ashlar-storage/ashlar/perf/faultfs"
	"github.com/ashlar-storage/ashlar/perf/hot"
	"github.com/ashlar-storage/ashlar/perf/rig"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/client"
)

const (
	processBlocks  = 65536 // 256 MiB: chunks of most copysets
	processWorkers = 8
	processTimeout = 30 * time.Second // of an operation of the client
	processRounds  = 5
	fullRounds     = 20              // of a full run
	sufferTime     = 4 * time.Second // how long a round is looked at, at least
	afterTime      = time.Second     // so long after the end of the blow, too
	wholeWait      = 60 * time.Second
	hotVolume      = "hot"
	judgeTime      = time.Minute // for each block
	historyMost    = 4_000_000   // operations that are judged together
	// pauseBound is what no operation may take, on a machine as busy as it may be; how long they
	// do take is what the table is for.
	pauseBound = 10 * time.Second
)

// awaitWhole starts what has ended and waits until every replica has everything, and the leaders
// are where they are wanted.
func (m *machine) awaitWhole(wait time.Duration) error {
	return m.await(wait, func(st *v1.ClusterStatusResponse) bool {
		return full(st) && st.GetHealth() == "ok"
	})
}

// full says that every replica has everything.
func full(st *v1.ClusterStatusResponse) bool {
	return st.GetCopysets() > 0 && st.GetCopysetsFull() == st.GetCopysets()
}

// await starts what has ended and waits until the cluster is as wanted.
func (m *machine) await(wait time.Duration, wanted func(*v1.ClusterStatusResponse) bool) error {
	for end := time.Now().Add(wait); ; time.Sleep(100 * time.Millisecond) {
		if err := m.cluster.Restart(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(m.t.Context(), time.Second)
		st, err := m.cluster.Status(ctx)
		cancel()
		switch {
		case err == nil && wanted(st):
			return nil
		case time.Now().After(end):
			return fmt.Errorf("nemesis: not whole again after %v: %v, %v", wait, st, err)
		}
	}
}

// strike deals one blow under load and gives the longest operation that was under way then.
func (e *endurance) strike(b *blow, s *struck) (pause time.Duration, err error) {
	l := e.ledger
	l.longest.Store(0)
	began := time.Now()
	end, err := b.begin(s)
	if err == nil && b.meet != nil {
		err = b.meet(e, s)
	}
	time.Sleep(b.lasts(s.rng) - time.Since(began))
	if end != nil {
		err = errors.Join(err, end())
		time.Sleep(afterTime)
	}
	time.Sleep(sufferTime - time.Since(began))
	pause = time.Duration(l.longest.Load())
	if b.whole == 0 {
		return pause, errors.Join(err, e.awaitWhole(wholeWait))
	}
	err = errors.Join(err, e.awaitWhole(b.whole))
	return time.Duration(l.longest.Load()), err
}

// endurance is a machine with what is asked of it all the time.
type endurance struct {
	*machine
	rounds         int
	test           string
	ledger         *ledger
	writer, reader *client.Volume // of the hot blocks
	cold           *cold          // nil: there is none
	table          strings.Builder
	rows           *tabwriter.Writer
}

// isFull says whether every kind of blow is to be dealt.
func isFull() bool { return os.Getenv("NIGHTLY") != "" }

// newEndurance starts a cluster in a network, on disks that can fail when names has processes.
func newEndurance(t *testing.T, test string, names ...string) *endurance {
	t.Helper()
	binary := prepared(t)
	if os.Getenv(environment) != "required" {
		t.Skip("takes four minutes: runs in `make nemesis`")
	}
	rounds := processRounds
	if isFull() {
		rounds = fullRounds
	}
	e := &endurance{rounds: number(t, "ROUNDS", rounds), test: test,
		ledger: newLedger(processBlocks)}
	e.rows = tabwriter.NewWriter(&e.table, 0, 0, 2, ' ', 0)
	lab := newLab(t)
	e.machine = newMachine(t, rig.Config{Binary: binary, NodeSettings: powerSettings, Net: lab},
		faultfs.Config{}, names...)
	e.lab = lab
	e.timeout = processTimeout
	if err := e.open(); err != nil {
		t.Fatal(err)
	}
	return e
}

// open makes the volumes and attaches them.
func (e *endurance) open() (err error) {
	m, ctx := e.machine, e.t.Context()
	if err := m.cluster.CreateVolume(ctx, volumeName, processBlocks*blockSize); err != nil {
		return err
	}
	if err := m.attach(); err != nil {
		return err
	}
	if err := m.cluster.CreateVolume(ctx, hotVolume, hot.Config{}.Bytes()); err != nil {
		return err
	}
	e.writer, e.reader, m.closeHot, err = hot.Attach(ctx, client.Config{
		Endpoint: m.cluster.Endpoint, Name: "hot", Timeout: m.timeout,
		Logger: slog.New(slog.DiscardHandler)}, hotVolume)
	if err == nil && isFull() {
		e.cold, err = newCold(m)
	}
	return err
}

// deal has the cluster endure each of the blows, and prints the table.
func (e *endurance) deal(t *testing.T, kinds []blow) {
	fmt.Fprintln(e.rows, "A NODE IS\tROUNDS\tPAUSE P50\tWORST\tBEFORE\tWRITES\tJUDGED")
	for i := range kinds {
		t.Run(kinds[i].name, func(t *testing.T) { e.endure(t, &kinds[i]) })
	}
	e.rows.Flush()
	fmt.Print(e.table.String())
}

func TestClientsGoOnWhenANodesProcessIsStruck(t *testing.T) {
	e := newEndurance(t, "TestClientsGoOnWhenANodesProcessIsStruck")
	kinds := blows
	if isFull() {
		kinds = slices.Concat(blows, rareBlows, wipedBlows)
	}
	e.deal(t, kinds)
}

func TestClientsGoOnWhenANodesDiskIsStruck(t *testing.T) {
	if !isFull() {
		t.Skip("takes a quarter of an hour: runs in `make nemesis NIGHTLY=1`")
	}
	e := newEndurance(t, "TestClientsGoOnWhenANodesDiskIsStruck", "n1", "n2", "n3")
	e.deal(t, append(diskBlows, storm(slices.Concat(blows, rareBlows, diskBlows))))
}

// endure deals a blow some times under load, and judges what was acknowledged, and what was seen of
// the hot blocks.
func (e *endurance) endure(t *testing.T, b *blow) {
	m, l := e.machine, e.ledger
	if err := m.awaitWhole(wholeWait); err != nil {
		t.Fatal(err)
	}
	clients, err := hot.Start(hot.Config{Most: historyMost}, e.writer, e.reader)
	if err != nil {
		t.Fatal(err)
	}
	l.writes.Store(0)
	l.longest.Store(0)
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- l.load(m.volume, processWorkers, 3, stop) }()
	time.Sleep(quietTime)
	quiet := time.Duration(l.longest.Load())
	pauses := e.strikes(t, b)
	close(stop)
	if err := <-ended; err != nil {
		t.Errorf("the client got an error: %v", err)
	}
	if err := l.check(m.volume); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if e.cold != nil {
		if err := e.cold.check(e.cold); err != nil {
			t.Errorf("afterwards, of what was written once: %v", err)
		}
	}
	judged, err := clients.Judge(judgeTime)
	if err != nil {
		t.Error(err)
	}
	if len(pauses) > 0 {
		e.record(t, b, pauses, quiet, judged)
	}
}

// strikes deals the blow in every round, until one cannot be dealt or the cluster is not whole
// after it, and gives the pauses.
func (e *endurance) strikes(t *testing.T, b *blow) (pauses []time.Duration) {
	for round := range e.rounds {
		p, leads, err := e.cluster.Busiest(t.Context())
		var pause time.Duration
		if err == nil {
			pause, err = e.strike(b, &struck{e.machine, p, rand.New(rand.NewPCG(uint64(round), 0))})
		}
		if err != nil {
			t.Errorf("round %d: %v", round, err)
			break
		}
		t.Logf("round %d, %s, which led %d copysets: %v", round, p.Name, leads, pause)
		pauses = append(pauses, pause)
	}
	return pauses
}

// record says what came of one kind of blow.
func (e *endurance) record(t *testing.T, b *blow, pauses []time.Duration, quiet time.Duration,
	judged int,
) {
	slices.Sort(pauses)
	worst, median := pauses[len(pauses)-1], pauses[len(pauses)/2]
	if worst > pauseBound {
		t.Errorf("an operation took %v", worst)
	}
	violations := int64(0)
	if t.Failed() {
		violations = 1
	}
	writes := e.ledger.writes.Load()
	fmt.Fprintf(e.rows, "%s\t%d\t%d ms\t%d ms\t%d ms\t%d\t%d\n", b.name, len(pauses),
		median.Milliseconds(), worst.Milliseconds(), quiet.Milliseconds(), writes, judged)
	evidence.Record(t, evidence.Item{Lane: "nemesis", Name: "a node is " + b.name,
		Promises: []string{"P1", "P2", "P7"}, Test: "perf/nemesis " + e.test,
		Counts: map[string]int64{"rounds": int64(len(pauses)), "violations": violations,
			"pause p50 in ms": median.Milliseconds(), "worst pause in ms": worst.Milliseconds(),
			"acknowledged writes": writes, "operations judged": int64(judged)}})
}
