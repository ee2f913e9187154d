package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/daemon"
)

// lifelineFD is the descriptor that `up` hands to its processes: it ends when `up` does.
const (
	lifelineFD = 3
	// orphanStopWait bounds the orderly end of a process whose supervisor is gone.
	orphanStopWait = 3 * time.Second
)

// kind is what the three daemons have in common.
type kind[C any] struct {
	noun     string
	defaults func() C
	log      func(*C) config.Log
	run      func(ctx context.Context, cfg C, env daemon.Env) error
}

func (a *app) nodeCommand() *cobra.Command {
	cmd := daemonCommand(a, "The data plane: stores, replicas, block I/O", kind[config.Node]{
		noun: "node", defaults: config.DefaultNode, run: daemon.RunNode,
		log: func(c *config.Node) config.Log { return c.Log }})
	cmd.AddCommand(a.nodeListCommand())
	cmd.AddCommand(a.drainNodeCommands()...)
	return cmd
}

func (a *app) controlCommand() *cobra.Command {
	cmd := daemonCommand(a, "The control plane: topology, volumes, sessions",
		kind[config.Control]{noun: "control", defaults: config.DefaultControl,
			run: daemon.RunControl,
			log: func(c *config.Control) config.Log { return c.Log }})
	cmd.AddCommand(a.migrateCommand(), a.backupCommand(), a.restoreCommand(),
		a.rebuildCommand())
	return cmd
}

func (a *app) gatewayCommand() *cobra.Command {
	return daemonCommand(a, "The NBD gateway: volumes as NBD exports", kind[config.Gateway]{
		noun: "gateway", defaults: config.DefaultGateway, run: daemon.RunGateway,
		log: func(c *config.Gateway) config.Log { return c.Log }})
}

// daemonCommand makes `NOUN run|check-config|print-defaults`.
func daemonCommand[C any](a *app, short string, k kind[C]) *cobra.Command {
	cmd := &cobra.Command{Use: k.noun, Short: short}
	var path string
	var supervised bool
	load := func() (C, error) {
		cfg := k.defaults()
		if path == "" {
			return cfg, usage("%s: --config FILE is missing; `ashlar %[1]s print-defaults` "+
				"writes one to begin with", k.noun)
		}
		return cfg, config.Load(path, any(&cfg).(config.File))
	}
	run := &cobra.Command{Use: "run --config FILE", Short: "Serve until SIGTERM",
		Args: exactArgs(), RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load()
			if err != nil {
				return err
			}
			return serve(cmd.Context(), a, k, cfg, supervised)
		}}
	run.Flags().BoolVar(&supervised, "supervised", false, "")
	_ = run.Flags().MarkHidden("supervised")
	check := &cobra.Command{Use: "check-config --config FILE", Short: "Read settings and stop",
		Args: exactArgs(), RunE: func(*cobra.Command, []string) error {
			if _, err := load(); err != nil {
				return err
			}
			_, err := fmt.Fprintf(a.stdout, "%s: ok\n", path)
			return err
		}}
	for _, c := range []*cobra.Command{run, check} {
		c.Flags().StringVar(&path, "config", "", "YAML file")
	}
	cmd.AddCommand(run, check, &cobra.Command{Use: "print-defaults",
		Short: "Write the settings that hold when a key is absent", Args: exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			text, err := config.Render(k.defaults())
			if err == nil {
				_, err = a.stdout.Write(text)
			}
			return err
		}})
	return cmd
}

// serve runs a daemon until a signal, the end of its supervisor, or its own failure.
func serve[C any](ctx context.Context, a *app, k kind[C], cfg C, supervised bool) error {
	logger, err := a.logger(a.stderr, k.log(&cfg))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if supervised {
		var orphaned context.CancelCauseFunc
		ctx, orphaned = context.WithCancelCause(ctx)
		go watchLifeline(orphaned)
	}
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	logger.Info("starting", "role", k.noun, "version", a.version, "pid", os.Getpid())
	err = k.run(ctx, cfg, daemon.Env{Version: a.version, Logger: logger})
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	if err == nil {
		logger.Info("stopped", "role", k.noun)
	}
	return err
}

// watchLifeline ends the daemon when the supervisor is gone, in order when that is quick: nobody
// is left to restart or to stop it, and its data must be free for the next supervisor.
func watchLifeline(orphaned context.CancelCauseFunc) {
	line := os.NewFile(lifelineFD, "lifeline")
	if line == nil {
		return
	}
	_, err := line.Read(make([]byte, 1))
	if !errors.Is(err, io.EOF) {
		return
	}
	orphaned(errors.New("cli: the supervisor is gone"))
	time.AfterFunc(orphanStopWait, func() { os.Exit(exitFailed) })
}
