package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/dataplane/node"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/admin"
)

// RunNode serves block I/O.
func RunNode(ctx context.Context, cfg config.Node, env Env) error {
	err := node.Run(ctx, node.Config{Name: cfg.Name, Zone: cfg.Zone, Listen: cfg.Listen,
		Control: cfg.Control, Stores: cfg.Stores, PoolBytes: int64(cfg.Memory),
		LogBytes: int64(cfg.LogLimit), StoreBytes: int64(cfg.StoreLimit), NoURing: cfg.NoURing,
		Admin:   cfg.Admin,
		Version: env.Version, Logger: env.Logger})
	for _, class := range []error{node.ErrForeign, admin.ErrForeign, wal.ErrForeign,
		wal.ErrVersion, chunkfile.ErrForeign, chunkfile.ErrVersion} {
		if errors.Is(err, class) {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	return err
}
