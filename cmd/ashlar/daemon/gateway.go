package daemon

import (
	"context"
	"time"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/gateway"
)

// RunGateway serves volumes over NBD.
func RunGateway(ctx context.Context, cfg config.Gateway, env Env) error {
	t, err := transportOf(cfg.Transport, env.Logger)
	if err != nil {
		return err
	}
	g := gateway.Config{Transport: t, Name: cfg.Name, Control: cfg.Control, ReadOnly: cfg.ReadOnly,
		Timeout: time.Duration(cfg.Timeout), Logger: env.Logger, Version: env.Version,
		Admin: adminOf(cfg.Admin)}
	if cfg.Listen != "" {
		g.Listen = append(g.Listen, cfg.Listen)
	}
	if cfg.Socket != "" {
		g.Listen = append(g.Listen, "unix:"+cfg.Socket)
	}
	g.Ready = func() { announce(ctx, env.Logger, func() bool { return true }) }
	return gateway.Run(ctx, g)
}
