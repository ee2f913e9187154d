package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/perf/echo"
	"github.com/ashlar-storage/ashlar/perf/job"
	"github.com/ashlar-storage/ashlar/perf/meter"
	"github.com/ashlar-storage/ashlar/perf/output"
	"github.com/ashlar-storage/ashlar/perf/suite"
	"github.com/ashlar-storage/ashlar/rpc/dial"
	"github.com/ashlar-storage/ashlar/rpc/transport"
)

// benchForms are the values of --output-format.
var benchForms = []string{"normal", "json", "json+", "terse"}

// benchRun is one run of `ashlar bench`.
type benchRun struct {
	app      *app
	settings []job.Setting // in the order of the command line
	file     string
	forms    []string
	runs     int
	eta      string

	floor, dir string
	pids       []int
	cluster    string
	syscalls   bool
	stages     bool

	transport, key string
	zeroCopy       string

	depths []int // of a sweep
}

// recorder is a flag that is kept in the order in which it was given.
type recorder struct {
	name string
	to   *[]job.Setting
}

func (r recorder) String() string { return "" }
func (r recorder) Type() string   { return "value" }
func (r recorder) Set(v string) error {
	*r.to = append(*r.to, job.Setting{Name: r.name, Value: v, Where: "command line"})
	return nil
}

func (a *app) benchCommand() *cobra.Command {
	r := &benchRun{app: a}
	cmd := &cobra.Command{Use: "bench [JOBFILE...]", Args: cobra.ArbitraryArgs,
		Short: "Measure a volume, an NBD export, a file or the network, as fio does",
		Long: "Runs the jobs of fio's job files, or one that the options describe, and reports " +
			"as fio does. Options beside job files are set in every job of them; a further " +
			"--name begins a further job.\n\n" +
			"  ashlar bench --ioengine=ashlar --data=DIR --volume=vol --rw=randwrite --bs=4k \\\n" +
			"      --iodepth=32 --size=1g --runtime=10 --time_based\n" +
			"  ashlar bench job.fio --output-format=json+ --output=out.json",
		RunE: r.command}
	r.flags(cmd)
	cmd.AddCommand(a.benchSweepCommand(), a.benchFloorCommand(), a.benchCompareCommand(),
		a.benchReportCommand(), a.benchEchoCommand())
	return cmd
}

// command runs with what flags has put into r.
func (r *benchRun) command(cmd *cobra.Command, args []string) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, unix.SIGTERM)
	defer stop()
	return r.run(ctx, args)
}

// flags gives a command those of a run, and every option of a job.
func (r *benchRun) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&r.file, "output", "", "write the report to this file")
	f.StringSliceVar(&r.forms, "output-format", []string{"normal"}, strings.Join(benchForms, ", "))
	f.IntVar(&r.runs, "runs", 1, "run everything so often, into one report: for bench compare")
	f.StringVar(&r.eta, "eta", "auto", "auto, always or never: a line on how it goes")
	f.StringVar(&r.floor, "floor", "", "say how near the machine's floor the jobs came: =FILE of "+
		"bench floor, or alone to measure it")
	f.Lookup("floor").NoOptDefVal = measureHere
	f.StringVar(&r.dir, "dir", ".", "the disk that --floor measures")
	f.IntSliceVar(&r.pids, "pids", nil, "processes whose CPU time is a cost of the jobs")
	f.StringVar(&r.cluster, "cluster", "", "directory of a cluster run by ashlar up, whose "+
		"processes are a cost of the jobs; default: that of --data")
	f.StringVar(&r.transport, "transport", "auto", "of engine ashlar: auto (RDMA where both ends "+
		"have it, else TCP), rdma, tcp, or unix (nodes of this machine that have a local socket)")
	f.StringVar(&r.key, "transport-key", "", "file with the key that nodes want over RDMA")
	f.StringVar(&r.zeroCopy, "tcp-zerocopy", "off", "of engine ashlar over TCP: off, auto, or the "+
		"payload in bytes from which sends do not copy")
	f.BoolVar(&r.syscalls, "syscalls", false, "count system calls too, which makes them dearer; "+
		"needs root")
	f.BoolVar(&r.stages, "stages", false, "say where operations spent their time inside the "+
		"nodes: of a cluster of ashlar up on this machine")
	for _, o := range job.Options() {
		p := f.VarPF(recorder{o.Name, &r.settings}, o.Name, "", o.Help)
		if o.Flag {
			p.NoOptDefVal = "1"
		}
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		var missing interface{ GetSpecifiedName() string } // of pflag, for a flag that is none
		if errors.As(err, &missing) && strings.Contains(err.Error(), "unknown flag: --") {
			return job.Unknown(missing.GetSpecifiedName())
		}
		return usage("%v; see `ashlar bench --help`", err)
	})
}

// benchEchoCommand is the other end of engine net.
func (a *app) benchEchoCommand() *cobra.Command {
	var addr string
	cmd := &cobra.Command{Use: "echo", Args: exactArgs(),
		Short: "Send frames back, for engine net; ends with its input",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, unix.SIGTERM)
			defer stop()
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			go func() {
				_, _ = io.Copy(io.Discard, os.Stdin)
				cancel()
			}()
			return echo.Serve(ctx, addr, func(at string) { fmt.Fprintln(a.stdout, at) })
		}}
	cmd.Flags().StringVar(&addr, "listen", "127.0.0.1:0", "HOST:PORT to serve at")
	return cmd
}

func (r *benchRun) valid() error {
	for _, f := range r.forms {
		if !slices.Contains(benchForms, f) {
			return usage("bench: --output-format %.20q: use one of %s", f,
				strings.Join(benchForms, ", "))
		}
	}
	if r.runs < 1 || r.runs > 1000 {
		return usage("bench: --runs %d: use 1 to 1000", r.runs)
	}
	if r.eta != "auto" && r.eta != "always" && r.eta != "never" {
		return usage("bench: --eta %.20q: use auto, always or never", r.eta)
	}
	return nil
}

// jobs are those of the files, with the options set in each, or that of the options alone.
func (r *benchRun) jobs(files []string) (jobs []*job.Job, err error) {
	if len(files) == 0 {
		if len(r.settings) == 0 {
			return nil, usage("bench: no job: name a job file, or describe one with options such " +
				"as --ioengine=null --size=1g --rw=randread; see `ashlar bench --help`")
		}
		return job.FromOptions(r.settings)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, usage("bench: job file: %v", err)
		}
		more, err := job.Parse(job.Source{Name: name, Text: string(text)},
			job.Env{Lookup: os.LookupEnv}, r.settings...)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, more...)
	}
	return jobs, nil
}

func (r *benchRun) run(ctx context.Context, files []string) error {
	if err := r.valid(); err != nil {
		return err
	}
	jobs, err := r.jobs(files)
	if err == nil && len(r.depths) > 0 {
		jobs, err = job.Sweep(jobs, r.depths)
	}
	if err != nil {
		return err
	}
	rep, err := r.measure(ctx, jobs)
	if rep == nil || len(rep.Entries) == 0 {
		return err
	}
	return errors.Join(err, r.write(rep), rep.WriteLogs())
}

// measure runs the jobs as often as was asked for.
func (r *benchRun) measure(ctx context.Context, jobs []*job.Job) (*output.Report, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	var dirs []string
	for _, j := range jobs {
		dirs = append(dirs, j.Data)
	}
	data, err := r.dataOf(dirs)
	if err != nil {
		return nil, err
	}
	costs, err := r.newCosts(ctx, data)
	if err != nil {
		return nil, err
	}
	rep := &output.Report{Version: r.app.version, At: time.Now(), Machine: meter.Describe(r.dir)}
	cfg := suite.Config{Find: r.app.findFor, Echo: []string{self, "bench", "echo"},
		Around: costs.around}
	if cfg.Ways, err = r.ways(); err != nil {
		return nil, err
	}
	if rep.Floor, err = r.theFloor(ctx); err != nil {
		return nil, err
	}
	for n := range r.runs {
		err := r.once(ctx, jobs, cfg, rep, n)
		costs.give(rep.Entries)
		if err != nil {
			return rep, err
		}
	}
	return rep, nil
}

// ways are the transports of engine ashlar.
func (r *benchRun) ways() (w dial.Config, err error) {
	if w.Mode, err = dial.ParseMode(r.transport); err != nil {
		return w, usage("bench: --transport: %v", err)
	}
	if w.Key, err = dial.ReadKey(r.key); err != nil {
		return w, usage("bench: --transport-key: %v", err)
	}
	if w.ZeroCopy, err = transport.ParseZeroCopy(r.zeroCopy); err != nil {
		return w, usage("bench: --tcp-zerocopy: %v", err)
	}
	return w, nil
}

// once runs the jobs one time, and adds what they did to the report.
func (r *benchRun) once(ctx context.Context, jobs []*job.Job, cfg suite.Config,
	rep *output.Report, n int) error {
	live := r.liveLine()
	if live != nil {
		cfg.Live = live.show
	}
	out, err := suite.Run(ctx, jobs, cfg)
	if live != nil {
		live.clear()
	}
	if out == nil {
		return err
	}
	for _, e := range output.Collect(out, os.Getpid()) {
		e.Run = n
		if rep.Floor != nil {
			e.Beside(rep.Floor)
		}
		rep.Entries = append(rep.Entries, e)
	}
	return err
}

// findFor is the control plane for a job: what it names, else the environment.
func (a *app) findFor(j *job.Job) (string, error) {
	b := *a
	b.endpoint, b.data = j.Endpoint, j.Data
	return b.find()
}

func (r *benchRun) write(rep *output.Report) (err error) {
	to := r.app.stdout
	if r.file != "" {
		f, err := os.Create(r.file)
		if err != nil {
			return fmt.Errorf("bench: --output: %w", err)
		}
		defer f.Close()
		to = f
	}
	for _, form := range r.forms {
		text := ""
		switch form {
		case "normal":
			text = rep.Normal()
		case "terse":
			text = rep.Terse()
		default:
			var doc []byte
			if doc, err = rep.JSON(form == "json+"); err != nil {
				return err
			}
			text = string(doc)
		}
		if _, err := io.WriteString(to, text); err != nil {
			return fmt.Errorf("bench: --output: %w", err)
		}
	}
	return nil
}
