package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/controlplane/server"
)

// RunControl serves the control plane.
func RunControl(ctx context.Context, cfg config.Control, env Env) error {
	limits := schedule.DefaultLimits()
	limits.LostAfter = time.Duration(cfg.LostAfter)
	keep := time.Duration(cfg.TrashKeep)
	if keep == 0 {
		keep = -1
	}
	etcd, err := Etcd(cfg.Etcd)
	if err != nil {
		return err
	}
	s, err := server.New(server.Config{Listen: cfg.Listen, DataDir: cfg.Data, Name: cfg.Name,
		Etcd: etcd, Advertise: cfg.Advertise, Version: env.Version, Replicas: cfg.Replicas,
		Copysets: cfg.Copysets, MinNodes: cfg.MinNodes, Admin: adminOf(cfg.Admin),
		Schedule: limits, TrashKeep: keep, Logger: env.Logger})
	if refused(err) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err != nil {
		return err
	}
	env.Logger.Info("serving", "protocol", "control", "addr", s.Addr().String())
	defer announce(ctx, env.Logger, s.Alive)()
	if err = s.Serve(ctx); refused(err) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// refused tells metadata that cannot be used, however often it is tried.
func refused(err error) bool {
	return errors.Is(err, meta.ErrForeign) || errors.Is(err, meta.ErrVersion) ||
		errors.Is(err, meta.ErrCorrupt) || errors.Is(err, meta.ErrMoved)
}

// Etcd turns settings into what opens etcd: files are read, the password is the first line of its.
func Etcd(cfg config.Etcd) (meta.EtcdConfig, error) {
	e := meta.EtcdConfig{Endpoints: cfg.Endpoints, Prefix: cfg.Prefix, Username: cfg.Username,
		Lease: time.Duration(cfg.Lease)}
	var err error
	if e.TLS, err = meta.EtcdTLS(cfg.CAFile, cfg.CertFile, cfg.KeyFile); err != nil {
		return e, err
	}
	if cfg.PasswordFile == "" {
		return e, nil
	}
	text, err := os.ReadFile(cfg.PasswordFile)
	if err != nil {
		return e, fmt.Errorf("daemon: etcd.password_file: %w", err)
	}
	e.Password, _, _ = strings.Cut(string(text), "\n")
	return e, nil
}
