package server

import (
	"context"
	"os"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// roleStandby is what a control plane that is not active is listed as.
const roleStandby = "standby"

// follow does what a control plane does that is not active: it keeps the address of the active one
// at hand, for those who ask the wrong one, and tells that one that it is there, so that an
// operator sees whether there is anybody to take over.
func (s *Server) follow(ctx context.Context) {
	var told time.Time
	for ctx.Err() == nil {
		if s.term.Load() == nil {
			s.look(ctx)
			if time.Since(told) >= announceInterval {
				told = time.Now()
				s.announce(ctx, *s.other.Load())
			}
		}
		wait(ctx, lookInterval)
	}
}

func (s *Server) look(ctx context.Context) {
	addr, err := s.kv.Leader(ctx, election)
	if err != nil || addr == s.addr {
		addr = ""
	}
	s.other.Store(&addr)
}

// announce is without consequence where it fails: it is done again.
func (s *Server) announce(ctx context.Context, active string) {
	if active == "" {
		return
	}
	clients, err := admin.Dial(active, admin.WithCallTimeout(announceTimeout))
	if err == nil {
		_, err = clients.Node.RegisterProcess(ctx, &v1.RegisterProcessRequest{Role: roleStandby,
			Id: s.cfg.Name, Pid: uint64(os.Getpid()), Addr: s.addr})
		_ = clients.Close()
	}
	if err != nil {
		s.cfg.Logger.Debug("cannot announce this control plane", "active", active, "error", err)
	}
}

// shared says that other control planes may have the same metadata.
func shared(etcd meta.EtcdConfig) bool { return len(etcd.Endpoints) > 0 }
