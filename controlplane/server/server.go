package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/cloudwego/kitex/pkg/limiter"
	"github.com/cloudwego/kitex/pkg/remote/codec"
	"github.com/cloudwego/kitex/pkg/transmeta"
	kitex "github.com/cloudwego/kitex/server"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	"github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1/adminservice"
	"github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1/clientservice"
	"github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1/nodeservice"
	"github.com/ashlar-storage/ashlar/rpc/ops"
)

// Server is a control plane with its metadata open and its port bound.
type Server struct {
	cfg     Config
	kv      meta.KV
	cluster *cluster
	ln      *listener
	admin   *ops.Listener // nil: none

	once     sync.Once // guards closing
	closeErr error
}

// New opens the metadata, reads it, and binds the port. Serve must follow, or Close.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	kv, err := meta.OpenPebble(cfg.DataDir, meta.PebbleConfig{Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	s := &Server{cfg: cfg, kv: kv}
	if s.cluster, err = openCluster(cfg, kv); err != nil {
		return nil, errors.Join(err, kv.Close())
	}
	if s.ln, err = listen(cfg.Listen); err != nil {
		return nil, errors.Join(err, kv.Close())
	}
	s.cluster.addr = s.ln.Addr().String()
	if s.admin, err = s.listenAdmin(); err != nil {
		return nil, errors.Join(err, s.ln.release(), kv.Close())
	}
	cfg.Logger.Info("control plane open", "cluster", s.cluster.id, "data", cfg.DataDir,
		"listen", s.cluster.addr, "nodes", len(s.cluster.nodes),
		"copysets", len(s.cluster.copysets), "volumes", len(s.cluster.volumes))
	return s, nil
}

// Addr is where the server listens, also before Serve.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// ClusterID is the identity of the cluster whose metadata this is.
func (s *Server) ClusterID() string { return s.cluster.id }

// Serve answers calls until ctx ends, then gives those in flight a few seconds to finish and closes
// everything. It returns nil after such a stop. It may be called once.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	exit := make(chan error, 1)
	svr := s.kitex(exit)
	var shell sync.WaitGroup
	shell.Go(func() { s.tick(ctx) })
	shell.Go(func() {
		// Kitex cannot stop before it has started.
		settled := time.After(newKitexSettle)
		<-ctx.Done()
		<-settled
		exit <- nil
	})
	err := svr.Run()
	if ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		s.cfg.Logger.Warn("calls were still in flight when stopping; they were cut off",
			"waited", exitWait)
		err = nil
	}
	cancel()
	shell.Wait()
	if err != nil {
		err = fmt.Errorf("control: serve %s: %w", s.ln.Addr(), err)
	}
	return errors.Join(err, s.Close())
}

// Close gives the port and the metadata back. Serve calls it; call it only instead of Serve.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.closeErr = errors.Join(s.admin.Close(), s.cluster.flush(), s.ln.release(), s.kv.Close())
		s.cfg.Logger.Info("control plane closed", "cluster", s.cluster.id)
	})
	return s.closeErr
}

func (s *Server) tick(ctx context.Context) {
	t := time.NewTicker(s.cfg.TickInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.cluster.tick()
		}
	}
}

func (s *Server) kitex(exit <-chan error) kitex.Server {
	svr := kitex.NewServer(
		kitex.WithListener(s.ln),
		kitex.WithMetaHandler(transmeta.ServerTTHeaderHandler),
		kitex.WithCodec(codec.NewDefaultCodecWithSizeLimit(admin.MaxFrameBytes)),
		kitex.WithReadWriteTimeout(readTimeout),
		kitex.WithMaxConnIdleTime(idleTimeout),
		kitex.WithExitWaitTime(exitWait),
		kitex.WithExitSignal(func() <-chan error { return exit }),
		kitex.WithConnectionLimiter(limiter.NewConnectionLimiter(maxConnections)),
		kitex.WithEnableContextTimeout(true),
	)
	// Handlers must be pointers, and method names unique across the services: a request need
	// not name its service.
	err := errors.Join(
		adminservice.RegisterService(svr, &adminHandler{s.cluster}),
		nodeservice.RegisterService(svr, &nodeHandler{s.cluster}),
		clientservice.RegisterService(svr, &clientHandler{s.cluster}))
	if err != nil {
		panic("server: the generated services conflict: " + err.Error())
	}
	return svr
}
