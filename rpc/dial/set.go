package dial

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/rdma"
	"github.com/ashlar-storage/ashlar/rpc/rdma/ibv"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/transport"
)

// Config is for Open.
type Config struct {
	Mode Mode // empty: Auto
	// Pool is that of every connection. Required unless the mode is TCP or Unix.
	Pool *buf.Pool
	// Card narrows which card is used, and how; the zero value: any.
	Card ibv.Options
	// Key is the pre-shared key that both ends of an RDMA connection must have; nil: none.
	Key []byte
	// ZeroCopy is for what goes over TCP.
	ZeroCopy transport.ZeroCopy
	// Sockets has nodes serve a local socket too, for clients of mode Unix.
	Sockets bool
	// Provider reaches the cards; nil means those of this machine.
	Provider verbs.Provider
	// RetryAfter is how long an address that failed over RDMA is not tried; 0 means the default.
	RetryAfter time.Duration
	// Logger; nil means slog.Default().
	Logger *slog.Logger
}

// Stats is a snapshot of a Set's counters.
type Stats struct {
	// Fallbacks counts connections made over TCP because RDMA failed, Remembered those of them that
	// did not try it because it had failed just before.
	Fallbacks, Remembered int64
	// Breaks counts queue pairs that broke.
	Breaks int64
}

// Set is the transports of a process.
type Set struct {
	cfg Config
	log *slog.Logger
	dev *rdma.Device // nil: none

	fallbacks, remembered, breaks atomic.Int64

	mu  sync.Mutex
	bad map[string]*trouble
}

// Open finds the card. Without one it fails in mode RDMA only.
func Open(cfg Config) (*Set, error) {
	mode, err := ParseMode(string(cfg.Mode))
	if err != nil {
		return nil, err
	}
	s := &Set{cfg: cfg, log: cfg.Logger, bad: map[string]*trouble{}}
	s.cfg.Mode = mode
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.cfg.RetryAfter == 0 {
		s.cfg.RetryAfter = RetryAfter
	}
	if mode == TCP || mode == Unix {
		return s, nil
	}
	err = s.openCard()
	switch {
	case err == nil:
		s.log.Info("transport", "rdma", s.dev.Name(), "mode", mode)
	case mode == RDMA:
		return nil, fmt.Errorf("dial: %w", err)
	case errors.Is(err, verbs.ErrUnsupported) || errors.Is(err, verbs.ErrNoDevice):
		s.log.Info("transport: TCP only", "why", err)
	default:
		s.log.Warn("transport: TCP only, the card is not usable", "err", err)
	}
	return s, nil
}

func (s *Set) openCard() (err error) {
	p := s.cfg.Provider
	if p == nil {
		opt := s.cfg.Card
		if opt == (ibv.Options{}) {
			opt.GIDIndex = ibv.AnyGID
		}
		if p, err = ibv.New(opt); err != nil {
			return err
		}
	}
	s.dev, err = rdma.Open(rdma.Config{Provider: p, Device: s.cfg.Card.Device, Pool: s.cfg.Pool,
		Key: s.cfg.Key, Logger: s.log})
	return err
}

// ZeroCopy is the setting, for the listener that is not the set's: that of TCP.
func (s *Set) ZeroCopy() transport.ZeroCopy { return s.cfg.ZeroCopy }

// Stats returns the counters.
func (s *Set) Stats() Stats {
	return Stats{Fallbacks: s.fallbacks.Load(), Remembered: s.remembered.Load(),
		Breaks: s.breaks.Load()}
}

// Device is the card in use; nil when there is none.
func (s *Set) Device() *rdma.Device { return s.dev }

// Listeners are what a node serves beside TCP.
func (s *Set) Listeners() (list []transport.ListenFunc) {
	if s.dev != nil {
		list = append(list, s.listenCard)
	}
	if s.cfg.Sockets {
		list = append(list, func(addr string, h transport.Handler, cfg transport.ServerConfig) (
			transport.Listener, error) {
			return transport.Listen(socketOf(addr), h, cfg)
		})
	}
	return list
}

// listenCard serves at the card. In mode Auto it is no error that the card does not have the
// address.
func (s *Set) listenCard(addr string, h transport.Handler, cfg transport.ServerConfig) (
	transport.Listener, error) {
	l, err := s.dev.Listen(addr, h, cfg)
	if err == nil {
		s.log.Info("serving", "protocol", "rdma", "addr", l.Addr(), "card", s.dev.Name())
		return l, nil
	}
	if s.cfg.Mode == RDMA {
		return nil, err
	}
	s.log.Warn("transport: not served over RDMA", "addr", addr, "err", err)
	return nil, nil
}

// Close lets the card go. Connections and listeners over it end.
func (s *Set) Close() error {
	if s.dev == nil {
		return nil
	}
	return s.dev.Close()
}
