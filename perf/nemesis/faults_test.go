package nemesis

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/ashlar-storage/ashlar/internal/evidence"
	"github.com/ashlar-storage/ashlar/perf/faultfs"
	"github.com/ashlar-storage/ashlar/perf/rig"
	"github.com/ashlar-storage/ashlar/rpc/client"
)

const (
	faultBlocks  = 16384 // 64 MiB, four chunks of the volume
	faultWorkers = 8
	faultVolume  = 1 << 30
	faultTimeout = 30 * time.Second
	victim       = "n1"
	// pauseMax is how long an operation may take while the leaders leave a bad disk: a second for
	// the store to notice, and the time of an election.
	pauseMax   = 2500 * time.Millisecond
	noticeMax  = 10 * time.Second // until the operator is told
	quietTime  = 2 * time.Second
	flushTime  = 3 * time.Second // overlays are flushed a second after the last write
	stallTime  = 10 * time.Second
	fullSpare  = 1 << 20 // less than a chunk
	badSectors = 16      // of each chunk file
)

// fault is a way in which the disk of one node goes wrong under a running cluster.
type fault struct {
	name string
	// idle faults are met by reads of what has left memory; the others under a load of writes.
	idle bool
	// inject lets it happen.
	inject func(f *faultfs.FS) error
	// meet asks for something that meets the fault, beside the load; may be nil.
	meet func(m *machine, l *ledger) error
	// words must be among what the operator sees, beside the store's path and its node.
	words *regexp.Regexp
	lasts time.Duration // at least so long it is looked at
}

var faults = []fault{
	{name: "a bad sector under a read", idle: true, inject: spoilChunks,
		meet:  func(m *machine, l *ledger) error { return l.check(m.volume) },
		words: regexp.MustCompile(`(?i)bad block|bad sector|corrupt|unreadable|repaired`)},
	{name: "a full disk", meet: writeNewChunks, lasts: 3 * time.Second,
		inject: func(f *faultfs.FS) error { f.Full(fullSpare); return nil },
		words:  regexp.MustCompile(`(?i)full|no space`)},
	{name: "EIO on a write of the log", lasts: 3 * time.Second,
		inject: func(f *faultfs.FS) error {
			return f.Fail(&faultfs.Rule{Pattern: "log/*", Kinds: faultfs.Write | faultfs.Sync,
				Errno: syscall.EIO})
		},
		words: regexp.MustCompile(`(?i)failed|input/output`)},
	{name: "a disk 50 ms late", lasts: 8 * time.Second,
		inject: func(f *faultfs.FS) error {
			return f.Fail(&faultfs.Rule{Kinds: faultfs.Write | faultfs.Sync, Delay: lateTime})
		},
		words: regexp.MustCompile(`(?i)is slow`)},
	{name: "a disk that stalls for 10 s", lasts: stallTime + 2*time.Second,
		inject: func(f *faultfs.FS) error { _, err := f.Stall("", stallTime); return err },
		words:  regexp.MustCompile(`(?i)stall|slow|not answer|stuck`)},
}

// advice is what a message to the operator tells him to do.
var advice = regexp.MustCompile(`(?i)replace|free|add |check|delete|remove|look at`)

// finding is one line of the table.
type finding struct {
	fault        string
	quiet, pause time.Duration
	client, told string
	seen         time.Duration // after which the operator was told
	problems     []string      // what is not good enough
}

// spoilChunks makes sectors in the middle of every chunk file unreadable.
func spoilChunks(f *faultfs.FS) error {
	_, err := spoil(f)
	return err
}

// spoil makes sectors in the middle of every chunk file unreadable, and says which.
func spoil(f *faultfs.FS) (spoilt []*faultfs.Rule, err error) {
	err = filepath.WalkDir(f.Root(), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(f.Root(), p) // p is below it
		st, err := d.Info()
		if err != nil || !strings.HasPrefix(name, "chunks/") {
			return err
		}
		for i := range int64(badSectors) {
			r, err := f.BadSector(name, st.Size()/4+i*st.Size()/32)
			if err != nil {
				return err
			}
			spoilt = append(spoilt, r)
		}
		return nil
	})
	if err == nil && len(spoilt) == 0 {
		err = errors.New("nemesis: no chunk file to spoil")
	}
	return spoilt, err
}

// writeNewChunks writes where the volume has no chunks yet. A full store may refuse that with the
// error that says so, and with no other.
func writeNewChunks(m *machine, _ *ledger) error {
	const chunk = 16 << 20
	data := make([]byte, blockSize)
	for off := int64(faultBlocks * blockSize); off < faultVolume; off += chunk {
		_, err := m.volume.WriteAt(data, off)
		if err != nil && !errors.Is(err, client.ErrNoSpace) {
			return fmt.Errorf("a write to a new chunk: %w", err)
		}
	}
	return nil
}

// operator is what somebody sees who looks at the cluster.
func (m *machine) operator(binary string) string {
	var seen strings.Builder
	for _, args := range [][]string{{"cluster", "status"}, {"node", "list", "-o", "json"}} {
		ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Second)
		out, err := exec.CommandContext(ctx, binary, append(args, "--endpoint",
			m.cluster.Endpoint)...).CombinedOutput()
		cancel()
		if err != nil {
			return fmt.Sprintf("ashlar %v: %v: %s", args, err, out)
		}
		seen.Write(out)
	}
	return seen.String()
}

// told looks for the line that names store and fault. A full answer also says what to do.
func (m *machine) told(binary string, f *fault) (line string, full bool) {
	for _, line := range strings.Split(m.operator(binary), "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "problem") && f.words.MatchString(line) {
			return line, strings.Contains(line, m.place(victim)) &&
				strings.Contains(line, victim) && advice.MatchString(line)
		}
		if strings.HasPrefix(line, `"detail"`) && f.words.MatchString(line) {
			return line, false
		}
	}
	return "", false
}

// suffer runs one fault and says what came of it.
func (m *machine) suffer(binary string, f *fault, l *ledger) (r finding, err error) {
	r.fault = f.name
	stop, ended := make(chan struct{}), make(chan error, 1)
	if f.idle {
		time.Sleep(flushTime)
		ended <- nil
	} else {
		go func() { ended <- l.load(m.volume, faultWorkers, 2, stop) }()
	}
	time.Sleep(quietTime)
	r.quiet = time.Duration(l.longest.Swap(0))
	began := time.Now()
	if err := f.inject(m.disks[victim]); err != nil {
		close(stop)
		return r, errors.Join(err, <-ended)
	}
	met := make(chan error, 1)
	go func() {
		if f.meet != nil {
			met <- f.meet(m, l)
			return
		}
		met <- nil
	}()
	m.watch(binary, f, &r, began)
	close(stop)
	if err := errors.Join(<-met, <-ended); err != nil {
		r.client = err.Error()
		r.problems = append(r.problems, "the client got an error")
	}
	r.pause = time.Duration(l.longest.Load())
	if r.pause > pauseMax {
		r.problems = append(r.problems, fmt.Sprintf("an operation took more than %v", pauseMax))
	}
	return r, nil
}

// watch looks at the cluster as an operator, until he has been told and the fault has lasted.
func (m *machine) watch(binary string, f *fault, r *finding, began time.Time) {
	full := false
	for time.Since(began) < f.lasts || !full && time.Since(began) < noticeMax {
		if !full {
			var line string
			if line, full = m.told(binary, f); full || line != "" && r.told == "" {
				r.told, r.seen = line, time.Since(began)
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
	switch {
	case r.told == "":
		m.t.Logf("the operator sees:\n%.3000s", m.operator(binary))
		r.problems = append(r.problems, "the operator is told nothing")
	case !full:
		r.problems = append(r.problems, "`ashlar cluster status` has no problem that names node "+
			"and path of the store and says what to do")
	}
}

func (m *machine) prepareLoad(l *ledger) error {
	m.timeout = faultTimeout
	err := m.cluster.CreateVolume(m.t.Context(), volumeName, faultVolume)
	if err == nil {
		err = m.attach()
	}
	if err != nil {
		return err
	}
	for first := 0; first < faultBlocks; first += 64 {
		if err := l.writeOne(m.volume, first, make([]byte, 64*blockSize)); err != nil {
			return err
		}
	}
	l.writes.Store(0)
	return nil
}

func TestARunningClusterLivesWithEachFaultOfADisk(t *testing.T) {
	binary := prepared(t)
	if os.Getenv(environment) != "required" {
		t.Skip("takes two minutes: runs in `make faults`")
	}
	var table []finding
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			m := newMachine(t, rig.Config{Binary: binary}, faultfs.Config{}, victim)
			l := newLedger(faultBlocks)
			if err := m.prepareLoad(l); err != nil {
				t.Fatal(err)
			}
			r, err := m.suffer(binary, &f, l)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range r.problems {
				t.Error(p)
			}
			m.disks[victim].Clear()
			if err := l.check(m.volume); err != nil {
				t.Errorf("after the fault: %v", err)
			}
			table = append(table, r)
			evidence.Record(t, evidence.Item{Lane: "faults", Name: f.name,
				Promises: []string{"P4", "P7", "P8"},
				Test:     "perf/nemesis TestARunningClusterLivesWithEachFaultOfADisk",
				Counts: map[string]int64{"longest pause in ms": r.pause.Milliseconds(),
					"operator told after ms": r.seen.Milliseconds(),
					"acknowledged writes":    l.writes.Load(),
					"violations":             int64(len(r.problems))}})
		})
	}
	printFindings(table)
}

func printFindings(table []finding) {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FAULT\tLONGEST PAUSE\tBEFORE\tCLIENT\tTOLD AFTER\tTHE OPERATOR SEES")
	for _, r := range table {
		answer, told := "goes on", r.told
		if r.client != "" {
			answer = "error"
		}
		if told == "" {
			told = "nothing"
		}
		fmt.Fprintf(w, "%s\t%d ms\t%d ms\t%s\t%.1f s\t%s\n", r.fault, r.pause.Milliseconds(),
			r.quiet.Milliseconds(), answer, r.seen.Seconds(), told)
	}
	w.Flush()
	fmt.Print(out.String())
	for _, r := range table {
		for _, p := range r.problems {
			fmt.Printf("faults: %s: %s\n", r.fault, p)
		}
		if r.client != "" {
			fmt.Printf("faults: %s: the client got: %.300s\n", r.fault, r.client)
		}
	}
}
