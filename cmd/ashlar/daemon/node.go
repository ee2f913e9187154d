package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/dataplane/node"
	"github.com/ashlar-storage/ashlar/dataplane/store"
	"github.com/ashlar-storage/ashlar/ebpf/remote"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	"github.com/ashlar-storage/ashlar/rpc/dial"
	"github.com/ashlar-storage/ashlar/rpc/ops"
	"github.com/ashlar-storage/ashlar/rpc/transport"
)

// gcPercent is how much a node's heap grows before it is collected. Payloads lie outside the heap,
// so what lives on it is small, and the default would collect many times a second to keep it so.
const gcPercent = 400

// A goroutine in a system call keeps its processor of the Go runtime until a watchdog takes it
// away, tens of microseconds later. Event loops sit in epoll_wait, and of each store two goroutines
// wait for the device: they have processors of their own, so that nobody waits for the watchdog.
const (
	blockedShare    = transport.MaxLoops
	blockedPerStore = 2
)

// rate is one as the data plane has it, where 0 is the default and a negative one none.
func rate(s config.Size) int64 {
	if s == 0 {
		return -1
	}
	return int64(s)
}

func mark(m config.Mark) store.Watermark {
	return store.Watermark{Percent: m.Percent, Left: int64(m.Left)}
}

// openTransports makes the pool and finds the card that it is registered with.
func openTransports(cfg config.Node, env Env) (*dial.Set, *buf.Pool, error) {
	t, err := transportOf(cfg.Transport, env.Logger)
	if err != nil {
		return nil, nil, err
	}
	pool, err := buf.NewPool(buf.Config{Bytes: int64(cfg.Memory)})
	if err != nil {
		return nil, nil, fmt.Errorf("node: %w", err)
	}
	t.Pool, t.Sockets = pool, cfg.LocalSocket
	set, err := dial.Open(t)
	return set, pool, err
}

// RunNode serves block I/O.
func RunNode(ctx context.Context, cfg config.Node, env Env) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.NumCPU() + blockedShare + blockedPerStore*len(cfg.Stores))
	}
	transports, pool, err := openTransports(cfg, env)
	if err != nil {
		return err
	}
	err = node.Run(ctx, node.Config{Name: cfg.Name, Zone: cfg.Zone, Listen: cfg.Listen,
		Control: cfg.Control, Stores: cfg.Stores, Pool: pool,
		Dial: transports.Dial, Further: transports.Listeners(), ZeroCopy: transports.ZeroCopy(),
		LogBytes: int64(cfg.LogLimit), PlaceBytes: int64(cfg.WriteOnceFrom),
		StoreBytes: int64(cfg.StoreLimit), NoURing: cfg.NoURing,
		Admin: adminOf(cfg.Admin), StallBound: time.Duration(cfg.StallAfter),
		High: mark(cfg.StoreHigh), Full: mark(cfg.StoreFull),
		AllowVolatileCache: cfg.AllowVolatileCache,
		ScrubBytes:         rate(cfg.ScrubRate),
		FillBytes:          rate(cfg.FillRate),
		ReadIndex:          cfg.ReadMode == config.ReadIndex,
		Ready:              func(n *node.Node) { announce(ctx, env.Logger, n.Alive) },
		Version:            env.Version, Logger: env.Logger,
		Trace: remote.Handler(remote.Config{Node: cfg.Name, Stores: cfg.Stores,
			Who: func(r *http.Request) string { return ops.OwnerOf(r).Name }, Logger: env.Logger})})
	err = errors.Join(err, transports.Close())
	for _, class := range []error{node.ErrForeign, node.ErrVolatile, admin.ErrForeign,
		wal.ErrForeign, wal.ErrVersion, chunkfile.ErrForeign, chunkfile.ErrVersion,
		disk.ErrForeign, disk.ErrVersion} {
		if errors.Is(err, class) {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	return err
}
