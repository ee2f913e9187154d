package cli

import (
	"context"
	"errors"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/controlplane/meta"
)

// restoreCommand puts a backup where there is nothing.
func (a *app) restoreCommand() *cobra.Command {
	var to place
	var cluster string
	cmd := &cobra.Command{Use: "restore FILE",
		Short: "Make metadata from a backup, or for a cluster that has none",
		Long: "Put a backup into an empty directory (--data) or an empty prefix of etcd " +
			"(--config),\nand read it back. Without a FILE, --cluster ID makes metadata that " +
			"hold nothing but the id\nof a cluster that lost all of them: its nodes tell the " +
			"rest, and `ashlar control rebuild`\nfinds its volumes. Broken off, it is begun " +
			"again by the same command.",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			if len(args) > 1 || (len(args) == 1) == (cluster != "") {
				return usage("control restore: want FILE, or --cluster ID without one; see " +
					"`ashlar control restore --help`")
			}
			return a.restore(ctx, to, args, cluster)
		}}
	to.flags(cmd, "directory for the metadata, empty or absent")
	cmd.Flags().StringVar(&cluster, "cluster", "", "id of a cluster of which there is no backup; "+
		"the file STORE of every store has it as cluster_id")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) restore(ctx context.Context, to place, files []string, cluster string) error {
	if to.data == "" && to.settings == "" {
		return usage("control restore: it is not said where to: give --data DIR or --config FILE")
	}
	log, err := a.logger(a.stderr, config.Log{Level: "warn"})
	if err != nil {
		return err
	}
	if len(files) > 0 { // before anything is made
		if _, err := meta.CheckBackup(files[0]); err != nil {
			return err
		}
	}
	kv, where, err := to.open(ctx, "control restore", true, log)
	if err != nil {
		return err
	}
	var done meta.Restoration
	if len(files) > 0 {
		done, err = meta.Restore(ctx, files[0], kv, where, time.Now())
		cluster = done.Backup.ClusterID
	} else {
		done, err = meta.RestoreNothing(ctx, cluster, kv, where, time.Now())
	}
	if err = errors.Join(err, kv.Close()); err != nil {
		return err
	}
	return a.print(view.FromRestoration(done, cluster, where))
}
