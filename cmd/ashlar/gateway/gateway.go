package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/client"
	"github.com/ashlar-storage/ashlar/rpc/dial"
	"github.com/ashlar-storage/ashlar/rpc/nbd"
	"github.com/ashlar-storage/ashlar/rpc/ops"
)

// Config of a gateway.
type Config struct {
	Name     string        // unique in the cluster
	Control  string        // control plane, host:port
	Listen   []string      // host:port or unix:/path, at least one
	Timeout  time.Duration // of one operation; 0: the client's default
	ReadOnly bool          // every export refuses writes
	Version  string        // of the program
	Admin    ops.Config    // where metrics and profiles are served; its Logger is this one
	// Transport is the way to the nodes; its Pool is the gateway's.
	Transport dial.Config
	Logger    *slog.Logger // nil: slog.Default()
	Ready     func()       // if not nil, called when it serves
}

// Run serves until ctx ends, then lets requests under way finish, breaks off what takes longer than
// stopTimeout, and returns nil. An error means that it could not serve.
func Run(ctx context.Context, cfg Config) (err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if len(cfg.Listen) == 0 {
		return errors.New("gateway: Config.Listen is empty: name an address")
	}
	clients, err := admin.Dial(cfg.Control)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	defer func() { err = errors.Join(err, clients.Close()) }()
	blocks, closeBlocks, err := connect(ctx, cfg)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	defer func() { err = errors.Join(err, closeBlocks()) }()
	// The exports outlive ctx: requests under way are finished first.
	back := &backend{ctx: context.WithoutCancel(ctx), dir: clients.Admin, readOnly: cfg.ReadOnly,
		log: cfg.Logger, opened: map[uint64]*shared{},
		open: func(ctx context.Context, name string) (volume, error) {
			v, err := blocks.OpenVolume(ctx, name)
			if err != nil {
				return nil, err
			}
			return v, nil
		}}
	return serve(ctx, cfg, back, clients, blocks)
}

// connect makes the client, with the pool that its transports' card knows, and what ends all three.
func connect(ctx context.Context, cfg Config) (*client.Client, func() error, error) {
	pool, err := buf.NewPool(buf.Config{Bytes: poolBytes})
	if err != nil {
		return nil, nil, err
	}
	cfg.Transport.Pool = pool
	ways, err := dial.Open(cfg.Transport)
	if err != nil {
		return nil, nil, errors.Join(err, pool.Close())
	}
	c, err := client.Connect(ctx, client.Config{Endpoint: cfg.Control, Timeout: cfg.Timeout,
		Name: "nbd gateway " + cfg.Name, ReadOnly: cfg.ReadOnly, Logger: cfg.Logger,
		Pool: pool, Dial: ways.Dial})
	if err != nil {
		return nil, nil, errors.Join(err, ways.Close(), pool.Close())
	}
	end := func() error {
		err := errors.Join(c.Close(), ways.Close())
		if left := pool.Close(); left != nil { // of requests that were broken off
			cfg.Logger.Warn("memory is still in use at the end", "err", left)
		}
		return err
	}
	return c, end, nil
}

// serve has the NBD server take its memory from the client's pool, so that what comes in over NBD
// leaves for the nodes from where it is, and what nodes answer leaves over NBD from where it came.
func serve(ctx context.Context, cfg Config, back *backend, clients *admin.Clients,
	blocks *client.Client,
) (err error) {
	server, err := nbd.NewServer(nbd.Config{Backend: back, Logger: cfg.Logger,
		Pool: blocks.Pool()})
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	for _, addr := range cfg.Listen {
		at, err := server.Listen(addr)
		if err != nil {
			return errors.Join(fmt.Errorf("gateway: %w", err), server.Close())
		}
		cfg.Logger.Info("serving", "protocol", "nbd", "addr", at.String())
	}
	tools, err := listenAdmin(counters{cfg: &cfg, server: server, net: blocks.NetStats,
		back: back})
	if err != nil {
		return errors.Join(err, server.Close())
	}
	defer func() { err = errors.Join(err, tools.Close()) }()
	if cfg.Ready != nil {
		cfg.Ready()
	}
	registering, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { register(registering, cfg, clients) })
	<-ctx.Done()
	cancel()
	wg.Wait()
	bound, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	stop := context.AfterFunc(bound, back.breakOff)
	defer stop()
	if err := server.Shutdown(bound); err != nil {
		cfg.Logger.Warn("requests were broken off", "err", err)
	}
	return nil
}

// register keeps the gateway listed at the control plane, which may come and go.
func register(ctx context.Context, cfg Config, clients *admin.Clients) {
	known := true
	for {
		call, cancel := context.WithTimeout(ctx, registerTimeout)
		r, err := clients.Node.RegisterProcess(call, &ashlar.RegisterProcessRequest{
			Role: "gateway", Id: cfg.Name, Pid: uint64(os.Getpid()), Addr: cfg.Listen[0]})
		cancel()
		pause := registerRetry
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			pause = min(max(time.Duration(r.GetHeartbeatIntervalMs())*time.Millisecond,
				intervalMin), intervalMax)
		case known:
			cfg.Logger.Warn("not registered; trying again", "err", err)
		}
		known = err == nil
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
