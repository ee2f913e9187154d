package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
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
	cfg   Config
	kv    meta.KV
	id    string // of the cluster
	addr  string // of this process, as others are told
	ln    *listener
	admin *ops.Listener // nil: none

	term  atomic.Pointer[term]   // nil: not active
	terms atomic.Uint64          // begun
	other atomic.Pointer[string] // the active one's address; empty: none

	readings *readings

	once     sync.Once // guards closing
	closeErr error
}

// New opens the metadata and binds the port; with metadata in a directory it reads them too, and
// is active. Serve must follow, or Close.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	kv, err := openMeta(cfg)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	s := &Server{cfg: cfg, kv: kv, readings: newReadings()}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, kv.Close())
	}
	cfg.Logger.Info("control plane open", "cluster", s.id, "metadata", cfg.where(),
		"listen", s.addr)
	return s, nil
}

func openMeta(cfg Config) (meta.KV, error) {
	if !shared(cfg.Etcd) {
		return meta.OpenPebble(cfg.DataDir, meta.PebbleConfig{Logger: cfg.Logger})
	}
	cfg.Etcd.Logger = cfg.Logger
	return meta.OpenEtcd(context.Background(), cfg.Etcd)
}

func (s *Server) open() error {
	ident, err := meta.Init(context.Background(), s.kv)
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	s.id = ident.ClusterID
	if s.ln, err = listen(s.cfg.Listen); err != nil {
		return err
	}
	if s.addr = s.cfg.Advertise; s.addr == "" {
		s.addr = s.ln.Addr().String()
	}
	if !shared(s.cfg.Etcd) {
		if _, err := s.stand(context.Background()); err != nil {
			return errors.Join(err, s.ln.release())
		}
	}
	if s.admin, err = s.listenAdmin(); err != nil {
		return errors.Join(err, s.ln.release())
	}
	return nil
}

// Addr is where the server listens, also before Serve.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// ClusterID is the identity of the cluster whose metadata this is.
func (s *Server) ClusterID() string { return s.id }

// Serve answers calls until ctx ends, then gives those in flight a few seconds to finish, lets
// another be active, and closes everything. It returns nil after such a stop. It may be called
// once.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	exit := make(chan error, 1)
	svr := s.kitex(exit)
	var shell sync.WaitGroup
	var fatal error
	shell.Go(func() {
		if fatal = s.rule(ctx); fatal != nil {
			cancel()
		}
	})
	if shared(s.cfg.Etcd) {
		shell.Go(func() { s.follow(ctx) })
	}
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
	return errors.Join(fatal, err, s.Close())
}

// Close gives the port and the metadata back. Serve calls it; call it only instead of Serve.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.readings.close()
		s.closeErr = errors.Join(s.admin.Close(), s.resign(), s.ln.release(), s.kv.Close())
		s.cfg.Logger.Info("control plane closed", "cluster", s.id)
	})
	return s.closeErr
}

// Alive reports that the control plane answers. While a change of its metadata hangs it does not,
// and neither does this. One that is not active has nothing to hang on.
func (s *Server) Alive() bool {
	if t := s.current(); t != nil {
		t.cluster.mu.Lock()
		defer t.cluster.mu.Unlock()
	}
	return true
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
		kitex.WithGRPCUnknownServiceHandler(unimplemented),
	)
	// Handlers must be pointers, and method names unique across the services: a request need
	// not name its service.
	err := errors.Join(
		adminservice.RegisterService(svr, &adminHandler{s}),
		nodeservice.RegisterService(svr, &nodeHandler{s}),
		clientservice.RegisterService(svr, &clientHandler{s}))
	if err != nil {
		panic("server: the generated services conflict: " + err.Error())
	}
	return svr
}
