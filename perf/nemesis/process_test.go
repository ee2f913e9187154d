package nemesis

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/ashlar-storage/ashlar/internal/evidence"
	"github.com/ashlar-storage/ashlar/perf/faultfs"
	"github.com/ashlar-storage/ashlar/perf/hot"
	"github.com/ashlar-storage/ashlar/perf/netlab"
	"github.com/ashlar-storage/ashlar/perf/rig"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/client"
)

const (
	processBlocks  = 65536 // 256 MiB: chunks of most copysets
	processWorkers = 8
	processTimeout = 30 * time.Second // of an operation of the client
	processRounds  = 5
	blowTime       = 3 * time.Second
	sufferTime     = 4 * time.Second // how long a round is looked at
	wholeWait      = 60 * time.Second
	hotVolume      = "hot"
	judgeTime      = time.Minute // for each block
	// pauseBound is what no operation may take, on a machine as busy as it may be; how long they
	// do take is what the table is for.
	pauseBound = 10 * time.Second
)

// blow is what happens to the node that leads the most copysets.
type blow struct {
	name string
	deal func(m *machine, p *rig.Process) error
}

var blows = []blow{
	{"killed (SIGKILL)", func(_ *machine, p *rig.Process) error {
		return syscall.Kill(p.PID, syscall.SIGKILL)
	}},
	{"frozen for 3 s (SIGSTOP)", func(_ *machine, p *rig.Process) error {
		if err := syscall.Kill(p.PID, syscall.SIGSTOP); err != nil {
			return err
		}
		time.Sleep(blowTime)
		return syscall.Kill(p.PID, syscall.SIGCONT)
	}},
	{"stopped (SIGTERM)", func(_ *machine, p *rig.Process) error {
		return syscall.Kill(p.PID, syscall.SIGTERM)
	}},
	{"unheard by the others for 3 s", func(m *machine, p *rig.Process) error {
		return m.cutOff(p, true, false)
	}},
	{"deaf to the others for 3 s", func(m *machine, p *rig.Process) error {
		return m.cutOff(p, false, true)
	}},
	{"cut off from the others for 3 s", func(m *machine, p *rig.Process) error {
		return m.cutOff(p, true, true)
	}},
}

// cutOff drops for a time what a node sends to the other nodes, or they to it, or both. The client
// and the control plane reach it all the time.
func (m *machine) cutOff(p *rig.Process, from, to bool) error {
	for _, other := range m.cluster.Nodes() {
		if other == p {
			continue
		}
		var err error
		if from {
			err = m.lab.Cut(p.Name, other.Name)
		}
		if to && err == nil {
			err = m.lab.Cut(other.Name, p.Name)
		}
		if err != nil {
			return err
		}
	}
	time.Sleep(blowTime)
	return m.lab.Mend()
}

// awaitWhole starts what has ended and waits until every replica has everything, and the leaders
// are where they are wanted.
func (m *machine) awaitWhole() error {
	return m.await(wholeWait, func(st *v1.ClusterStatusResponse) bool {
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
func (m *machine) strike(b *blow, p *rig.Process, l *ledger) (time.Duration, error) {
	l.longest.Store(0)
	began := time.Now()
	if err := b.deal(m, p); err != nil {
		return 0, err
	}
	time.Sleep(max(0, sufferTime-time.Since(began)))
	pause := time.Duration(l.longest.Load())
	return pause, m.awaitWhole()
}

func TestClientsGoOnWhenANodesProcessIsStruck(t *testing.T) {
	binary := prepared(t)
	if os.Getenv(environment) != "required" {
		t.Skip("takes four minutes: runs in `make nemesis`")
	}
	rounds := number(t, "ROUNDS", processRounds)
	lab, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	m := newMachine(t, rig.Config{Binary: binary, NodeSettings: powerSettings, Net: lab},
		faultfs.Config{})
	m.lab = lab
	m.timeout = processTimeout
	if err := m.cluster.CreateVolume(t.Context(), volumeName,
		processBlocks*blockSize); err != nil {
		t.Fatal(err)
	}
	if err := m.attach(); err != nil {
		t.Fatal(err)
	}
	if err := m.cluster.CreateVolume(t.Context(), hotVolume, hot.Config{}.Bytes()); err != nil {
		t.Fatal(err)
	}
	e := &endurance{machine: m, rounds: rounds, ledger: newLedger(processBlocks)}
	if e.writer, e.reader, m.closeHot, err = hot.Attach(t.Context(), client.Config{
		Endpoint: m.cluster.Endpoint, Name: "hot", Timeout: m.timeout,
		Logger: slog.New(slog.DiscardHandler)}, hotVolume); err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "A NODE IS\tROUNDS\tPAUSE P50\tWORST\tBEFORE\tWRITES\tJUDGED")
	for i := range blows {
		b := &blows[i]
		t.Run(b.name, func(t *testing.T) { e.endure(t, b, w) })
	}
	w.Flush()
	fmt.Print(table.String())
}

// endurance is a machine with what is asked of it all the time.
type endurance struct {
	*machine
	rounds         int
	ledger         *ledger
	writer, reader *client.Volume // of the hot blocks
}

// endure deals a blow some times under load, and judges what was acknowledged, and what was seen of
// the hot blocks.
func (e *endurance) endure(t *testing.T, b *blow, w *tabwriter.Writer) {
	m, l, rounds := e.machine, e.ledger, e.rounds
	if err := m.awaitWhole(); err != nil {
		t.Fatal(err)
	}
	clients, err := hot.Start(hot.Config{}, e.writer, e.reader)
	if err != nil {
		t.Fatal(err)
	}
	l.writes.Store(0)
	l.longest.Store(0)
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- l.load(m.volume, processWorkers, 3, stop) }()
	time.Sleep(quietTime)
	quiet := time.Duration(l.longest.Load())
	var pauses []time.Duration
	for round := range rounds {
		p, leads, err := m.cluster.Busiest(t.Context())
		var pause time.Duration
		if err == nil {
			pause, err = m.strike(b, p, l)
		}
		if err != nil {
			t.Errorf("round %d: %v", round, err)
			break
		}
		t.Logf("round %d, %s, which led %d copysets: %v", round, p.Name, leads, pause)
		pauses = append(pauses, pause)
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Errorf("the client got an error: %v", err)
	}
	if err := l.check(m.volume); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	judged, err := clients.Judge(judgeTime)
	if err != nil {
		t.Error(err)
	}
	if len(pauses) == 0 {
		return
	}
	slices.Sort(pauses)
	worst, median := pauses[len(pauses)-1], pauses[len(pauses)/2]
	if worst > pauseBound {
		t.Errorf("an operation took %v", worst)
	}
	violations := int64(0)
	if t.Failed() {
		violations = 1
	}
	fmt.Fprintf(w, "%s\t%d\t%d ms\t%d ms\t%d ms\t%d\t%d\n", b.name, len(pauses),
		median.Milliseconds(), worst.Milliseconds(), quiet.Milliseconds(), l.writes.Load(), judged)
	evidence.Record(t, evidence.Item{Lane: "nemesis", Name: "a node is " + b.name,
		Promises: []string{"P1", "P2", "P7"},
		Test:     "perf/nemesis TestClientsGoOnWhenANodesProcessIsStruck",
		Counts: map[string]int64{"rounds": int64(len(pauses)), "violations": violations,
			"pause p50 in ms": median.Milliseconds(), "worst pause in ms": worst.Milliseconds(),
			"acknowledged writes": l.writes.Load(), "operations judged": int64(judged)}})
}
