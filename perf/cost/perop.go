package cost

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/perf/meter"
)

// PerOp is what one operation costs.
type PerOp struct {
	Operations int64              `json:"operations"`
	Shared     int                `json:"shared_by_jobs"` // that ran together
	CPU        map[string]float64 `json:"cpu_us"`         // by process
	TotalCPU   float64            `json:"total_cpu_us"`
	Others     float64            `json:"other_cores"` // used by everything else meanwhile
	Syscalls   map[string]float64 `json:"syscalls,omitempty"`
	Switches   map[string]float64 `json:"context_switches,omitempty"`
	// Of the nodes together; absent when they are not known.
	Allocations  *float64 `json:"allocations,omitempty"`
	WrittenBytes *float64 `json:"written_bytes_per_user_byte,omitempty"`
	// Copies is how often a byte of the data was copied in user space on its way through sockets
	// and cards and to the caller: by the client and, each replica's, by the nodes. Carried is how
	// often it passed a connection of the client, by transport. Absent when the client is none of
	// this program.
	Copies  map[string]float64 `json:"payload_copies,omitempty"`
	Carried map[string]float64 `json:"payload_carried,omitempty"`
	// Stages are where the operations' time went inside the nodes; absent unless asked for.
	Stages []Stage `json:"stages,omitempty"`
}

// settle is how long the nodes are given to write what they put off: blocks that wait in memory are
// flushed a second after the last commit.
const settle = 2500 * time.Millisecond

// Watch reads what is used from Start to Stop.
type Watch struct {
	processes []Process
	syscalls  bool
	before    *Reading
	counter   *meter.Counter
	counts    map[int]meter.Counts
}

// Start begins to watch. With syscalls the kernel counts those too.
func Start(ctx context.Context, processes []Process, syscalls bool) (w *Watch, err error) {
	w = &Watch{processes: processes, syscalls: syscalls}
	if syscalls {
		var pids []int
		for _, p := range processes {
			pids = append(pids, p.PID)
		}
		if w.counter, err = meter.NewCounter(pids); err != nil {
			return nil, err
		}
		if w.counts, err = w.counter.Read(); err != nil {
			w.counter.Close()
			return nil, err
		}
	}
	if w.before, err = Read(ctx, processes); err != nil && w.counter != nil {
		w.counter.Close()
	}
	return w, err
}

// Stop says what each of ops operations cost, which moved so many bytes and wrote some of them.
func (w *Watch) Stop(ctx context.Context, ops, moved, written int64) (*PerOp, error) {
	p := &PerOp{Operations: ops, CPU: map[string]float64{}}
	n := float64(max(ops, 1))
	after, err := Read(ctx, w.processes)
	if w.counter != nil {
		if err == nil {
			err = w.count(p, n)
		}
		w.counter.Close()
	}
	if err != nil {
		return nil, err
	}
	u := Between(w.before, after)
	for name, v := range u.CPU {
		p.CPU[name] = v * 1e6 / n
	}
	p.TotalCPU = u.Total() * 1e6 / n
	p.Others = max(u.Busy-u.Total(), 0) / u.Seconds
	p.countCopies(&u, moved)
	if len(u.Nodes) == 0 {
		return p, nil
	}
	allocations := u.Nodes["runtime.mallocs"] / n
	p.Allocations = &allocations
	if written == 0 {
		return p, nil
	}
	select {
	case <-ctx.Done():
		return p, nil
	case <-time.After(settle):
	}
	if after, err = Read(ctx, w.processes); err != nil {
		return nil, err
	}
	bytes := Between(w.before, after).Nodes["disk.write_bytes"] / float64(written)
	p.WrittenBytes = &bytes
	return p, nil
}

// countCopies divides what was copied by what was moved.
func (p *PerOp) countCopies(u *Usage, moved int64) {
	if len(u.Own) == 0 || moved == 0 {
		return
	}
	p.Copies = map[string]float64{"client": u.Own["copied"] / float64(moved)}
	p.Carried = map[string]float64{}
	for name, n := range u.Own {
		if t, ok := strings.CutPrefix(name, "moved."); ok && n > 0 {
			p.Carried[t] = n / float64(moved)
		}
	}
	for name, n := range u.Nodes {
		traffic := strings.HasPrefix(name, "traffic.") || strings.HasPrefix(name, "peers.")
		if traffic && strings.HasSuffix(name, ".copied") {
			p.Copies["nodes"] += n / float64(moved)
		}
	}
}

func (w *Watch) count(p *PerOp, n float64) error {
	now, err := w.counter.Read()
	if err != nil {
		return err
	}
	p.Syscalls, p.Switches = map[string]float64{}, map[string]float64{}
	for _, x := range w.processes {
		p.Syscalls[x.Name] += float64(now[x.PID].Syscalls-w.counts[x.PID].Syscalls) / n
		p.Switches[x.Name] += float64(now[x.PID].Switches-w.counts[x.PID].Switches) / n
	}
	return nil
}

// Self is this process, which is the client and the generator.
func Self() Process { return Process{Name: "client", PID: os.Getpid()} }

// String is the line of a report.
func (p *PerOp) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cpu=%.1fus (%s)", p.TotalCPU, perProcess(p.CPU, "us"))
	if len(p.Syscalls) > 0 {
		fmt.Fprintf(&b, ", system calls: %s, context switches: %s", perProcess(p.Syscalls, ""),
			perProcess(p.Switches, ""))
	}
	if p.Allocations != nil {
		fmt.Fprintf(&b, ", allocations of the nodes=%.1f", *p.Allocations)
	}
	if len(p.Copies) > 0 {
		fmt.Fprintf(&b, ", copies of each byte: %s, over %s", perProcess(p.Copies, ""),
			strings.Join(slices.Sorted(maps.Keys(p.Carried)), " and "))
	}
	if p.WrittenBytes != nil {
		fmt.Fprintf(&b, ", bytes written by the nodes for each=%.2f", *p.WrittenBytes)
	}
	if p.Shared > 1 {
		fmt.Fprintf(&b, ", of %d jobs together", p.Shared)
	}
	return b.String() + fmt.Sprintf(", other cores busy=%.2f", p.Others)
}

func perProcess(m map[string]float64, unit string) string {
	names := slices.Sorted(maps.Keys(m))
	for i, n := range names {
		names[i] = fmt.Sprintf("%s=%.1f%s", n, m[n], unit)
	}
	return strings.Join(names, " ")
}
