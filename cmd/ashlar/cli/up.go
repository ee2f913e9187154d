package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/datadir"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/supervise"
	"github.com/ashlar-storage/ashlar/rpc/admin"
)

type upFlags struct {
	nodes        int
	volume       string
	size         config.Size
	nbd, socket  string
	volatile     bool
	sockets      bool
	noRestart    bool
	restartDelay time.Duration
	wait         time.Duration
}

func (a *app) upCommand() *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up --data DIR [--volume NAME --size SIZE]",
		Short: "A whole cluster on this machine, under one supervisor",
		Long: "Starts a control plane, nodes and an NBD gateway as processes of their own, makes " +
			"the volume\nwhen it is absent, and prints one line to standard output when all is " +
			"serving:\n\n  ready nbd://ADDR/NAME\n\nSIGTERM and Ctrl-C stop everything in order; " +
			"a second one stops it at once. SIGHUP starts\nat once what is down. Started again " +
			"on the same directory, it keeps data and addresses.",
		Args: exactArgs(),
		RunE: func(*cobra.Command, []string) error { return a.up(f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&a.data, "data", "", "directory of the cluster; made when absent")
	flags.IntVar(&f.nodes, "nodes", 0, "data-plane nodes, each its own zone (default 3)")
	flags.StringVar(&f.volume, "volume", "", "volume to export; made with --size when absent")
	flags.Var(&f.size, "size", "size of a volume to make, such as 4GiB")
	flags.StringVar(&f.nbd, "nbd", "",
		"NBD address (default "+config.DefaultNBDAddr+"; port 0: a free one, kept)")
	flags.StringVar(&f.socket, "nbd-socket", "", "NBD on this unix socket as well")
	flags.BoolVar(&f.volatile, "allow-volatile-cache", false,
		"start although a power cut may take acknowledged writes: data in memory, no barriers")
	flags.BoolVar(&f.sockets, "local-sockets", false,
		"serve clients of this machine over unix sockets too (bench --transport=unix)")
	flags.BoolVar(&f.noRestart, "no-restart", false,
		"leave a process that died down until SIGHUP")
	flags.DurationVar(&f.restartDelay, "restart-delay", supervise.DefaultRestartDelay,
		"before a process that died is started again; doubles with each early death")
	flags.DurationVar(&f.wait, "wait", supervise.DefaultStartWait, "bound of the way to ready")
	return cmd
}

func (f upFlags) check(data string) error {
	switch {
	case data == "":
		return usage("up: --data DIR is missing: name a directory for the cluster")
	case f.size != 0 && f.volume == "":
		return usage("up: --size without --volume: name the volume to make")
	case f.nodes < 0 || f.restartDelay <= 0 || f.wait <= 0:
		return usage("up: --nodes, --restart-delay and --wait must be above zero")
	}
	if f.nbd == "" {
		return nil
	}
	probe := config.DefaultGateway()
	probe.Listen = f.nbd
	if err := probe.Check(); err != nil {
		return usage("up: --nbd %q is not an address: write it as 127.0.0.1:10809", f.nbd)
	}
	return nil
}

func (a *app) up(f upFlags) error {
	if err := f.check(a.data); err != nil {
		return err
	}
	dir, err := datadir.Open(a.data, datadir.Want{Nodes: f.nodes, NBD: f.nbd, Socket: f.socket,
		Volume: f.volume, AllowVolatileCache: f.volatile})
	if err != nil {
		return err
	}
	defer dir.Close()
	u := &upRun{app: a, flags: f, dir: dir}
	if err := u.prepare(); err != nil {
		return err
	}
	defer u.close()
	return u.run()
}

// upRun is one life of a cluster on this machine.
type upRun struct {
	*app
	flags    upFlags
	dir      *datadir.Dir
	self     string   // this program
	lifeline *os.File // read by the processes; ends with this one
	held     *os.File // its other end
	logFile  *os.File
	clients  *admin.Clients
	volume   string // exported; empty: none

	volumeErr error // why it could not be made
}

// prepare writes the settings of every process and sees that their addresses are free.
func (u *upRun) prepare() (err error) {
	if u.self, err = os.Executable(); err != nil {
		return fmt.Errorf("up: %w", err)
	}
	dirs := []string{"conf", "log"}
	for _, n := range u.dir.Layout.Nodes {
		dirs = append(dirs, filepath.Join("nodes", n.Name, storeDir))
	}
	for _, d := range dirs {
		if err := os.MkdirAll(filepath.Join(u.dir.Path, d), 0o755); err != nil {
			return fmt.Errorf("up: %w", err)
		}
	}
	if err := u.checkAddresses(); err != nil {
		return err
	}
	if err := u.writeSettings(); err != nil {
		return err
	}
	if u.clients, err = admin.Dial(u.dir.Layout.Control); err != nil {
		return err
	}
	if u.lifeline, u.held, err = os.Pipe(); err != nil {
		return fmt.Errorf("up: %w", err)
	}
	u.logFile, err = openLog(u.logName("up"))
	return err
}

func (u *upRun) close() {
	u.clients.Close()
	u.lifeline.Close()
	u.held.Close()
	u.logFile.Close()
}

func (u *upRun) checkAddresses() error {
	l := u.dir.Layout
	if err := datadir.CheckFree("NBD", l.Gateway.Listen, "choose another with --nbd"); err != nil {
		return err
	}
	addrs := []string{l.Control, l.Admin}
	for _, n := range l.Nodes {
		addrs = append(addrs, n.Listen, n.Admin)
	}
	fix := fmt.Sprintf("stop what listens there, or change it in %s/cluster.yaml", u.dir.Path)
	for _, addr := range addrs {
		if err := datadir.CheckFree("cluster", addr, fix); err != nil {
			return err
		}
	}
	return nil
}

func (u *upRun) run() error {
	logger, err := u.logger(io.MultiWriter(u.stderr, u.logFile), config.Log{})
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	stop, revive := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go relay(ctx, signals, stop, revive)
	go u.announce(ctx)
	logger.Info("starting", "version", u.version, "pid", os.Getpid(), "data", u.dir.Path,
		"nodes", len(u.dir.Layout.Nodes))
	err = supervise.Run(supervise.Options{
		Config: supervise.Config{RestartDelay: u.flags.restartDelay, StartWait: u.flags.wait,
			NoRestart: u.flags.noRestart},
		Children: u.children(),
		Launch:   u.launch,
		Probe:    u.probe,
		Volume:   u.ensureVolume,
		Explain:  u.lastWords,
		OnReady: func() {
			logger.Info("ready")
			fmt.Fprintf(u.stdout, "ready nbd://%s/%s\n", u.dir.Layout.Gateway.Listen, u.volume)
		},
		Stop: stop, Revive: revive, Logger: logger,
	})
	if err == nil {
		logger.Info("stopped")
	}
	if err != nil && u.volumeErr != nil {
		return fmt.Errorf("up: %w", u.volumeErr)
	}
	return err
}

// relay turns signals into what the supervisor understands.
func relay(ctx context.Context, signals <-chan os.Signal, stop, revive chan<- struct{}) {
	for {
		var to chan<- struct{}
		select {
		case s := <-signals:
			to = stop
			if s == syscall.SIGHUP {
				to = revive
			}
		case <-ctx.Done():
			return
		}
		select {
		case to <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
}
