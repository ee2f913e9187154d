package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/ebpf/mark"
	"github.com/ashlar-storage/ashlar/ebpf/probe"
	"github.com/ashlar-storage/ashlar/ebpf/trace"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// tracePoll is how often events are fetched by verbs that tell of each. Their ring holds those of
// more than a second.
const tracePoll = 50 * time.Millisecond

// traceRun is one run of `ashlar trace`.
type traceRun struct {
	app      *app
	pids     []int
	far      farFlags
	json     bool
	stamps   bool
	interval time.Duration // 0: one report, at the end
	count    int           // reports; 0: until it is interrupted
	cfg      trace.Config
	volumes  map[uint64]string
	sources  *traceSources
	began    time.Time
	uptime   int64 // of the machine at began, in ns: the clock of all events
}

// since is how long after the beginning an event was.
func (r *traceRun) since(at int64) time.Duration { return time.Duration(at - r.uptime) }

func (r *traceRun) kindName(kind uint8) string {
	if int(kind) < len(r.cfg.Kinds) {
		return r.cfg.Kinds[kind]
	}
	return fmt.Sprint(kind)
}

func (r *traceRun) volumeName(id uint64) string {
	if name := r.volumes[id]; name != "" {
		return name
	}
	return fmt.Sprint(id)
}

// tracer is what a verb of trace does with events.
type tracer interface {
	probe.Sink
	// report is called at the end of each interval, and at the end.
	report() error
	// polled is called when the events that had waited are told.
	polled() error
	// pace is how often that should be, at least.
	pace() time.Duration
}

func (a *app) traceCommand() *cobra.Command {
	r := &traceRun{app: a}
	cmd := &cobra.Command{Use: "trace", Short: "See where the time of requests goes (eBPF)",
		Long: "Attaches probes to the nodes of a cluster, without a restart, and takes them away " +
			"at the end. Nodes on this machine need root here, and a kernel with BTF; " +
			"docs/tracing.md says which probe needs what. Nodes elsewhere attach their probes " +
			"themselves, for a token of the role tracer.\n\n" +
			"INTERVAL is the time between two reports, in seconds or as 500ms, and COUNT how " +
			"many reports there are. Without them there is one report, at Ctrl-C."}
	cmd.AddCommand(r.stagesCommand(), r.latencyCommand(), r.snoopCommand(), r.slowCommand(),
		r.topCommand())
	return cmd
}

// verb makes a command that attaches features, some if it can, and lets a tracer have what they
// tell.
func (r *traceRun) verb(use, short string, needs, likes []probe.Feature,
	limits func() (delay, bio time.Duration), make func() tracer) *cobra.Command {
	cmd := &cobra.Command{Use: use + " [INTERVAL [COUNT]]", Short: short,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := r.parse(args); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, unix.SIGTERM)
			defer stop()
			delay, bio := limits()
			return r.run(ctx, probe.Config{Features: needs, Optional: likes, MinDelay: delay,
				MinBio: bio, Untimed: needs[0] == probe.Marks}, make)
		}}
	r.app.findFlags(cmd)
	f := cmd.Flags()
	f.IntSliceVarP(&r.pids, "pid", "p", nil, "processes of nodes, in place of a cluster's")
	r.far.add(f)
	f.BoolVarP(&r.json, "json", "j", false, "JSON, one document in a line")
	f.BoolVarP(&r.stamps, "timestamp", "T", false, "the time before each report")
	return cmd
}

// untold are limits above which no delay and no device operation is told one by one.
func untold() (delay, bio time.Duration) { return time.Hour, time.Hour }

// parse reads INTERVAL and COUNT.
func (r *traceRun) parse(args []string) (err error) {
	if len(args) > 0 {
		if s, bad := strconv.ParseFloat(args[0], 64); bad == nil {
			r.interval = time.Duration(s * float64(time.Second))
		} else if r.interval, err = time.ParseDuration(args[0]); err != nil {
			return usage("trace: interval %.20q: write it as 5 or 500ms", args[0])
		}
		if r.interval < tracePoll {
			return usage("trace: interval %.20q: %v is the shortest", args[0], tracePoll)
		}
	}
	if len(args) > 1 {
		if r.count, err = strconv.Atoi(args[1]); err != nil || r.count < 1 {
			return usage("trace: count %.20q: want a number above 0", args[1])
		}
	}
	return nil
}

func (r *traceRun) run(ctx context.Context, cfg probe.Config, make func() tracer) (err error) {
	r.sources = &traceSources{warn: r.warn}
	defer r.sources.close()
	if err := r.find(ctx); err != nil {
		return err
	}
	r.uptime = mark.Now()
	if err := r.sources.open(ctx, cfg, &r.far); err != nil {
		return err
	}
	r.began = time.Now()
	r.cfg.Targets = r.sources.targets()
	var names []string
	for _, t := range r.cfg.Targets {
		names = append(names, t.Name)
	}
	fmt.Fprintf(r.app.stderr, "Tracing %s... Hit Ctrl-C to end.\n", strings.Join(names, ", "))
	return errors.Join(r.follow(ctx, make()), r.lost())
}

// follow fetches events until the last report.
func (r *traceRun) follow(ctx context.Context, t tracer) error {
	next := r.began.Add(r.interval)
	poll := time.NewTimer(0)
	defer poll.Stop()
	for reports := 0; ; {
		wait := t.pace()
		if r.interval > 0 {
			wait = min(wait, time.Until(next))
		}
		poll.Reset(wait)
		select {
		case <-ctx.Done():
		case <-poll.C:
		}
		if err := errors.Join(r.sources.poll(t), t.polled()); err != nil {
			return err
		}
		over := ctx.Err() != nil
		if !over && (r.interval == 0 || time.Now().Before(next)) {
			continue
		}
		next = next.Add(r.interval)
		if r.stamps && !r.json {
			fmt.Fprintln(r.app.stdout, time.Now().Format(time.TimeOnly))
		}
		if err := t.report(); err != nil {
			return err
		}
		if reports++; over || reports == r.count {
			return nil
		}
	}
}

// lost says what the reports could not know.
func (r *traceRun) lost() error {
	for i, t := range r.cfg.Targets {
		c, err := r.sources.counts(i)
		if err != nil {
			return err
		}
		if c.Lost > 0 {
			fmt.Fprintf(r.app.stderr, "ashlar: %s: %d events were lost, as they came faster than "+
				"they were read\n", t.Name, c.Lost)
		}
		if c.Foreign > 0 {
			fmt.Fprintf(r.app.stderr, "ashlar: %s: %d records of another version were left out: "+
				"trace with the program that the node runs\n", t.Name, c.Foreign)
		}
	}
	return nil
}

// find settles which processes are traced and what they are called.
func (r *traceRun) find(ctx context.Context) error {
	r.cfg = trace.Config{Commit: int(copyset.StageCommit), Read: int(copyset.StageRead)}
	for s := range copyset.Stages {
		r.cfg.Stages = append(r.cfg.Stages, s.String())
	}
	r.cfg.Kinds = make([]string, copyset.KindFence+1)
	for _, k := range copyset.Kinds {
		r.cfg.Kinds[k] = k.String()
	}
	if len(r.pids) == 0 {
		return r.app.ask(ctx, r.findNodes)
	}
	for _, pid := range r.pids {
		r.sources.addHere(trace.Target{Name: fmt.Sprintf("pid %d", pid)}, pid)
	}
	return nil
}

// findNodes takes in the cluster's nodes, and the names of its volumes.
func (r *traceRun) findNodes(ctx context.Context, c *admin.Clients) error {
	list, err := c.Admin.ListNodes(ctx, &ashlar.ListNodesRequest{})
	if err != nil {
		return err
	}
	for _, n := range list.GetNodes() {
		r.add(n)
	}
	if r.sources.none() {
		return fmt.Errorf("trace: none of the cluster's %d nodes runs on this machine: give "+
			"--token-file to trace them where they are, or --pid", len(list.GetNodes()))
	}
	volumes, err := admin.Volumes(ctx, c.Admin, &ashlar.ListVolumesRequest{Recursive: true})
	if err != nil {
		return err
	}
	r.volumes = map[uint64]string{}
	for _, v := range volumes {
		r.volumes[v.GetVolumeId()] = v.GetName()
	}
	return nil
}

// add takes a node in where it is: here, if what has its number here is a node of its name, or of
// the cluster in the directory; else behind its admin listener.
func (r *traceRun) add(n *ashlar.Node) {
	name := n.GetName()
	switch {
	case !r.far.remote && isNode(int(n.GetPid()), name, r.app.data):
		var devices []string
		for _, s := range n.GetStores() {
			devices = append(devices, probe.DeviceOf(s.GetPath()))
		}
		r.sources.addHere(trace.Target{Name: name, Device: strings.Join(devices, ", ")},
			int(n.GetPid()))
	case r.far.tokenFile == "":
		r.warn("not traced: %s: it is not on this machine: give --token-file", name)
	case n.GetAdminUrl() == "":
		r.warn("not traced: %s: it has no admin listener: set admin in its settings", name)
	default:
		r.sources.addFar(name, n.GetAdminUrl())
	}
}

// warn says what the reports are without.
func (r *traceRun) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(r.app.stderr, "ashlar: %s\n", oneLine(errors.New(text)))
}

func isNode(pid int, name, data string) bool {
	if data != "" {
		return isOf(pid, data)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	args := strings.Split(string(text), "\x00")
	return err == nil && len(args) > 2 && args[1] == "node" && strings.Contains(string(text), name)
}
