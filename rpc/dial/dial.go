package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/rpc/rdma"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Dial implements transport.Dialer.
func (s *Set) Dial(ctx context.Context, addr string, cfg transport.Config) (transport.Conn, error) {
	cfg.ZeroCopy = s.cfg.ZeroCopy
	switch s.cfg.Mode {
	case TCP:
		return transport.Dial(ctx, addr, cfg)
	case Unix:
		conn, err := transport.Dial(ctx, socketOf(addr), cfg)
		if err != nil {
			return nil, fmt.Errorf("dial: local socket of %s (the node must be on this machine, "+
				"with local_socket: true): %w", addr, err)
		}
		return conn, nil
	case RDMA:
		conn, err := s.overCard(ctx, addr, cfg)
		if errors.Is(err, verbs.ErrRefused) && !errors.Is(err, rdma.ErrKey) {
			err = fmt.Errorf("%w: %w", unix.ECONNREFUSED, err)
		}
		return conn, err
	}
	if s.dev == nil {
		return transport.Dial(ctx, addr, cfg)
	}
	return s.either(ctx, addr, cfg)
}

// either dials over RDMA and, should that fail, over TCP. What fails over both is no trouble of
// RDMA: a node that is down is not remembered, or it would be dialled over TCP when it comes back.
func (s *Set) either(ctx context.Context, addr string, cfg transport.Config) (conn transport.Conn,
	err error) {
	known := s.known(addr)
	var why error
	if !known {
		if conn, why = s.try(ctx, addr, cfg); why == nil || final(why) || ctx.Err() != nil {
			return conn, why
		}
	}
	if conn, err = transport.Dial(ctx, addr, cfg); err != nil {
		return nil, err
	}
	s.fallbacks.Add(1)
	cfg.Meter.Of(transport.NameTCP).Fallbacks.Add(1)
	if known {
		s.remembered.Add(1)
	} else {
		s.remember(addr, why)
	}
	return conn, nil
}

// final reports whether TCP would fail alike.
func final(err error) bool {
	return errors.Is(err, wire.ErrWrongCluster) || errors.Is(err, transport.ErrConfig) ||
		errors.Is(err, wire.ErrVersion) && !errors.Is(err, verbs.ErrRefused)
}

// try dials over RDMA, and leaves time for TCP.
func (s *Set) try(ctx context.Context, addr string, cfg transport.Config) (transport.Conn, error) {
	limit := tryTime
	if end, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(end)/tryShare)
	}
	cfg.DialTimeout = max(limit, time.Millisecond)
	return s.overCard(ctx, addr, cfg)
}

func (s *Set) overCard(ctx context.Context, addr string, cfg transport.Config) (transport.Conn,
	error) {
	at, err := resolve(ctx, addr)
	if err != nil {
		return nil, err
	}
	conn, err := s.dev.Dial(ctx, at, cfg)
	if err != nil {
		return nil, err
	}
	return &watched{Conn: conn, set: s, addr: addr, made: time.Now(),
		counts: cfg.Meter.Of(transport.NameRDMA)}, nil
}

// resolve makes an address of one with a name: cards know no names.
func resolve(ctx context.Context, addr string) (string, error) {
	if _, err := netip.ParseAddrPort(addr); err == nil {
		return addr, nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("%w: address %q: want host:port: %w", transport.ErrConfig, addr, err)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", fmt.Errorf("dial: %s: %w", addr, err)
	}
	return net.JoinHostPort(ips[0].Unmap().String(), port), nil
}

// watched is a connection over a card whose end is looked at.
type watched struct {
	transport.Conn
	set    *Set
	addr   string
	made   time.Time
	counts *transport.Counts
	over   atomic.Bool
}

// Recv implements transport.Conn.
func (w *watched) Recv() (transport.Message, error) {
	m, err := w.Conn.Recv()
	if err != nil && !w.over.Swap(true) {
		w.set.ended(w, err)
	}
	return m, err
}

// Transport implements transport.Named.
func (w *watched) Transport() string { return transport.NameOf(w.Conn) }

// ended counts queue pairs that broke soon after they were made.
func (s *Set) ended(w *watched, err error) {
	broke, soon := errors.Is(err, rdma.ErrBroken), time.Since(w.made) < breakSoon
	if broke {
		s.breaks.Add(1)
		w.counts.Broken.Add(1)
	}
	switch {
	case broke && soon:
		s.broke(w.addr, err)
	case !soon:
		s.forgive(w.addr)
	}
}
