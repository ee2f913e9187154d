package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
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

// tracePoll is how often events are fetched. Their ring holds those of more than a second.
const tracePoll = 50 * time.Millisecond

// traceRun is one run of `ashlar trace`.
type traceRun struct {
	app       *app
	pids      []int
	json      bool
	stamps    bool
	interval  time.Duration // 0: one report, at the end
	count     int           // reports; 0: until it is interrupted
	processes []int
	cfg       trace.Config
	volumes   map[uint64]string
	probes    *probe.Probes
	began     time.Time
	uptime    int64 // of the machine at began, in ns: the clock of all events
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
}

func (a *app) traceCommand() *cobra.Command {
	r := &traceRun{app: a}
	cmd := &cobra.Command{Use: "trace", Short: "See where the time of requests goes (eBPF)",
		Long: "Attaches probes to the nodes that run on this machine, without a restart, and " +
			"takes them away at the end. It needs root, and a kernel with BTF; docs/tracing.md " +
			"says which probe needs what.\n\n" +
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
				MinBio: bio}, make)
		}}
	r.app.findFlags(cmd)
	f := cmd.Flags()
	f.IntSliceVarP(&r.pids, "pid", "p", nil, "processes of nodes, in place of a cluster's")
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
	if err := r.find(ctx); err != nil {
		return err
	}
	cfg.Processes = r.processes
	r.began, r.uptime = time.Now(), mark.Now()
	if r.probes, err = probe.Attach(cfg); err != nil {
		return err
	}
	defer r.probes.Close()
	for _, why := range r.probes.Missing() {
		fmt.Fprintf(r.app.stderr, "ashlar: goes on without: %s\n", oneLine(why))
	}
	var names []string
	for _, t := range r.cfg.Targets {
		names = append(names, t.Name)
	}
	fmt.Fprintf(r.app.stderr, "Tracing %s... Hit Ctrl-C to end.\n", strings.Join(names, ", "))
	return errors.Join(r.follow(ctx, make()), r.lost())
}

// follow fetches events until the last report.
func (r *traceRun) follow(ctx context.Context, t tracer) error {
	poll := time.NewTicker(tracePoll)
	defer poll.Stop()
	next := r.began.Add(r.interval)
	for reports := 0; ; {
		select {
		case <-ctx.Done():
		case <-poll.C:
		}
		if err := errors.Join(r.probes.Poll(t), t.polled()); err != nil {
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
		c, err := r.probes.Counts(i)
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
	r.processes = r.pids
	for _, pid := range r.pids {
		r.cfg.Targets = append(r.cfg.Targets, trace.Target{Name: fmt.Sprintf("pid %d", pid)})
	}
	return nil
}

// findNodes takes in the cluster's nodes that run here, and the names of its volumes.
func (r *traceRun) findNodes(ctx context.Context, c *admin.Clients) error {
	list, err := c.Admin.ListNodes(ctx, &ashlar.ListNodesRequest{})
	if err != nil {
		return err
	}
	for _, n := range list.GetNodes() {
		r.add(n)
	}
	if len(r.processes) == 0 {
		return fmt.Errorf("trace: none of the cluster's %d nodes runs on this machine: run it on "+
			"a node's machine, or give --pid", len(list.GetNodes()))
	}
	volumes, err := c.Admin.ListVolumes(ctx, &ashlar.ListVolumesRequest{})
	if err != nil {
		return err
	}
	r.volumes = map[uint64]string{}
	for _, v := range volumes.GetVolumes() {
		r.volumes[v.GetVolumeId()] = v.GetName()
	}
	return nil
}

// add takes a node in, if it runs here: what has its number here has to be a node of its name, or
// of the cluster in the directory.
func (r *traceRun) add(n *ashlar.Node) {
	if len(r.processes) == probe.MaxTargets || !isNode(int(n.GetPid()), n.GetName(), r.app.data) {
		return
	}
	var devices []string
	for _, s := range n.GetStores() {
		devices = append(devices, deviceOf(s.GetPath()))
	}
	r.processes = append(r.processes, int(n.GetPid()))
	r.cfg.Targets = append(r.cfg.Targets, trace.Target{Name: n.GetName(),
		Device: strings.Join(devices, ", ")})
}

func isNode(pid int, name, data string) bool {
	if data != "" {
		return isOf(pid, data)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	args := strings.Split(string(text), "\x00")
	return err == nil && len(args) > 2 && args[1] == "node" && strings.Contains(string(text), name)
}

// deviceOf names the device of a store: its own, or that of the file system that it is on.
func deviceOf(path string) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return path
	}
	dev := st.Dev
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		dev = st.Rdev
	}
	return fmt.Sprintf("%s of %s", blockName(unix.Major(dev), unix.Minor(dev)), path)
}

// blockName is a block device's name, or its numbers where it has none, as a FUSE file system.
func blockName(major, minor uint32) string {
	link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", major, minor))
	if err != nil {
		return fmt.Sprintf("device %d:%d", major, minor)
	}
	return filepath.Base(link)
}
