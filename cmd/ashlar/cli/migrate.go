package cli

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/daemon"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/controlplane/meta"
)

// move is what `control migrate` was told.
type move struct {
	data, endpoints, prefix, settings string
	undo                              bool
}

// migrateCommand moves the metadata of a stopped control plane from its directory to etcd.
func (a *app) migrateCommand() *cobra.Command {
	var m move
	cmd := &cobra.Command{Use: "migrate --data DIR --etcd HOST:PORT,...",
		Short: "Move the metadata of a stopped control plane to etcd",
		Long: "Copy the metadata of a stopped control plane to etcd, read them back and compare, " +
			"and mark\nthe directory so that no control plane starts with it any more. Broken " +
			"off, it is begun\nagain by the same command. --undo takes the mark away.",
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return a.migrate(ctx, m)
		}}
	flags := cmd.Flags()
	flags.StringVar(&m.data, "data", "", "directory that the control plane's settings name")
	flags.StringVar(&m.endpoints, "etcd", "", "members of etcd, host:port, several with commas")
	flags.StringVar(&m.prefix, "etcd-prefix", meta.DefaultEtcdPrefix, "of all keys in etcd")
	flags.StringVar(&m.settings, "config", "", "settings of a control plane whose etcd section "+
		"says where to, with certificates and password")
	flags.BoolVar(&m.undo, "undo", false, "let control planes start with the directory again")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) migrate(ctx context.Context, m move) error {
	switch {
	case m.data == "":
		return usage("control migrate: --data DIR is missing: the directory of the metadata")
	case m.undo && (m.endpoints != "" || m.settings != ""):
		return usage("control migrate: --undo changes the directory alone: leave etcd out")
	case m.undo:
		if err := meta.Unmove(m.data); err != nil {
			return err
		}
		_, err := fmt.Fprintf(a.stdout, "%s can be used again; what was copied to etcd stays "+
			"there: let no control plane use it\n", m.data)
		return err
	}
	to, err := m.target()
	if err != nil {
		return err
	}
	if to.Logger, err = a.logger(a.stderr, config.Log{Level: "warn"}); err != nil {
		return err
	}
	kv, err := meta.OpenEtcd(ctx, to)
	if err != nil {
		return err
	}
	where := "etcd " + strings.Join(to.Endpoints, ",") + " " + to.Prefix
	moved, err := meta.Migrate(ctx, m.data, kv, where, to.Logger)
	if err = errors.Join(err, kv.Close()); err != nil {
		return err
	}
	return a.print(view.FromMoved(moved, where))
}

// target is where the metadata go.
func (m move) target() (meta.EtcdConfig, error) {
	cfg := config.DefaultControl()
	switch {
	case m.settings != "" && m.endpoints != "":
		return meta.EtcdConfig{}, usage("control migrate: --etcd and --config both name etcd: " +
			"keep one")
	case m.settings != "":
		if err := config.Load(m.settings, &cfg); err != nil {
			return meta.EtcdConfig{}, err
		}
	default:
		cfg.Etcd.Prefix = m.prefix
		if m.endpoints != "" {
			cfg.Etcd.Endpoints = strings.Split(m.endpoints, ",")
		}
		if err := cfg.Check(); err != nil {
			return meta.EtcdConfig{}, err
		}
	}
	if len(cfg.Etcd.Endpoints) == 0 {
		return meta.EtcdConfig{}, usage("control migrate: no etcd is named: give --etcd " +
			"HOST:PORT, or --config FILE with etcd.endpoints")
	}
	return daemon.Etcd(cfg.Etcd)
}
