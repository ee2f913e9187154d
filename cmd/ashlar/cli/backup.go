package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/daemon"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// place is where metadata lie, as flags name it.
type place struct {
	data, settings string
}

func (p *place) flags(cmd *cobra.Command, data string) {
	cmd.Flags().StringVar(&p.data, "data", "", data)
	cmd.Flags().StringVar(&p.settings, "config", "", "settings of the control plane, which say "+
		"where its metadata are: etcd, or its directory")
}

// open opens the metadata there, which nobody else may have open if they lie in a directory. With
// fresh it makes what is absent.
func (p *place) open(ctx context.Context, verb string, fresh bool, log *slog.Logger) (
	kv meta.KV, where string, err error,
) {
	cfg := config.DefaultControl()
	switch {
	case p.data != "" && p.settings != "":
		return nil, "", usage("%s: --data and --config both say where: keep one", verb)
	case p.settings != "":
		if err := config.Load(p.settings, &cfg); err != nil {
			return nil, "", err
		}
	default:
		cfg.Data = p.data
	}
	if len(cfg.Etcd.Endpoints) > 0 {
		etcd, err := daemon.Etcd(cfg.Etcd)
		if err != nil {
			return nil, "", err
		}
		etcd.Logger = log
		kv, err := meta.OpenEtcd(ctx, etcd)
		return kv, "etcd " + strings.Join(etcd.Endpoints, ",") + " " + etcd.Prefix, err
	}
	if !fresh {
		if err := meta.CheckDir(cfg.Data); err != nil {
			return nil, "", err
		}
	}
	kv, err = meta.OpenPebble(cfg.Data, meta.PebbleConfig{Logger: log})
	return kv, cfg.Data, err
}

// backupCommand writes the metadata of a control plane to a file.
func (a *app) backupCommand() *cobra.Command {
	var from place
	cmd := &cobra.Command{Use: "backup FILE",
		Short: "Write a snapshot of the control plane's metadata to a file",
		Long: "Write one consistent snapshot of the metadata to a new file: from a control plane " +
			"that runs\n(--endpoint), from etcd (--config), or from the directory of one that is " +
			"stopped (--data,\n--config). Under its name the file is whole and read back, or not " +
			"there.",
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return a.backUp(ctx, from, args[0])
		}}
	from.flags(cmd, "directory of the metadata of a control plane that is stopped")
	cmd.Flags().StringVar(&a.endpoint, "endpoint", "", "control plane that runs, host:port, "+
		"several with commas (environment: "+envEndpoint+")")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) backUp(ctx context.Context, from place, path string) (err error) {
	log, err := a.logger(a.stderr, config.Log{Level: "warn"})
	if err != nil {
		return err
	}
	var made meta.Backup
	switch offline := from.data != "" || from.settings != ""; {
	case offline && a.endpoint != "":
		return usage("control backup: --endpoint and %s both say from where: keep one", "--data "+
			"or --config")
	case offline:
		kv, _, err := from.open(ctx, "control backup", false, log)
		if errors.Is(err, meta.ErrLocked) {
			return fmt.Errorf("%w; a control plane that runs is backed up with --endpoint", err)
		}
		if err != nil {
			return err
		}
		made, err = meta.BackUp(ctx, kv, path, time.Now())
		if err = errors.Join(err, kv.Close()); err != nil {
			return err
		}
	default:
		if made, err = a.backUpOnline(ctx, path); err != nil {
			return err
		}
	}
	return a.print(view.FromBackup(made, path))
}

// backUpOnline reads the metadata from the active control plane, page by page.
func (a *app) backUpOnline(ctx context.Context, path string) (made meta.Backup, err error) {
	endpoint, err := a.find()
	if err != nil {
		return made, err
	}
	clients, err := admin.Dial(endpoint, admin.WithCallTimeout(callTimeout))
	if err != nil {
		return made, err
	}
	defer clients.Close()
	now := time.Now()
	page, err := clients.Admin.ReadMetadata(ctx, &ashlar.ReadMetadataRequest{})
	if err != nil {
		return made, err
	}
	info := meta.Backup{ClusterID: page.ClusterId, Revision: page.Revision, Taken: now}
	return meta.CreateBackup(path, info, func(add func(k, v []byte) error) error {
		for {
			var last []byte
			for _, r := range page.GetRecords() {
				last = r.GetKey()
				if err := add(last, r.GetValue()); err != nil {
					return err
				}
			}
			if !page.GetMore() {
				return nil
			}
			page, err = clients.Admin.ReadMetadata(ctx, &ashlar.ReadMetadataRequest{
				Token: page.GetToken(), AfterKey: last})
			if err != nil {
				return err
			}
		}
	})
}
