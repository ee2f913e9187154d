package daemon

import (
	"context"
	"errors"
	"fmt"
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
	s, err := server.New(server.Config{Listen: cfg.Listen, DataDir: cfg.Data, Name: cfg.Name,
		Version: env.Version, Replicas: cfg.Replicas, Copysets: cfg.Copysets,
		MinNodes: cfg.MinNodes, Admin: adminOf(cfg.Admin), Schedule: limits, TrashKeep: keep,
		Logger: env.Logger})
	if errors.Is(err, meta.ErrForeign) || errors.Is(err, meta.ErrVersion) ||
		errors.Is(err, meta.ErrCorrupt) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err != nil {
		return err
	}
	env.Logger.Info("serving", "protocol", "control", "addr", s.Addr().String())
	return s.Serve(ctx)
}
