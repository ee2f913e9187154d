package dial

import "time"

// trouble is what is remembered of an address.
type trouble struct {
	until  time.Time // before which it is not dialled over RDMA; zero: it never failed
	breaks int       // queue pairs that broke early, one after the other
	seen   time.Time
}

// known reports whether RDMA failed for the address a short while ago.
func (s *Set) known(addr string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.bad[addr]
	return t != nil && time.Now().Before(t.until)
}

// remember has the address dialled over TCP for a while.
func (s *Set) remember(addr string, err error) {
	s.mu.Lock()
	t := s.of(addr)
	first := t.until.IsZero()
	t.until = time.Now().Add(s.cfg.RetryAfter)
	s.mu.Unlock()
	if first {
		s.log.Warn("transport: not over RDMA but over TCP", "addr", addr, "again_in",
			s.cfg.RetryAfter, "err", err)
	}
}

// broke counts an early break.
func (s *Set) broke(addr string, err error) {
	s.mu.Lock()
	t := s.of(addr)
	t.breaks++
	enough := t.breaks >= BreaksMax
	if enough {
		t.breaks = 0
	}
	s.mu.Unlock()
	if enough {
		s.remember(addr, err)
	}
}

// forgive forgets what happened with an address whose queue pair lasted.
func (s *Set) forgive(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.bad, addr)
}

// of is called with mu held. It makes room by forgetting the oldest.
func (s *Set) of(addr string) *trouble {
	t := s.bad[addr]
	if t == nil {
		if len(s.bad) >= rememberedMax {
			s.dropOldest()
		}
		t = &trouble{}
		s.bad[addr] = t
	}
	t.seen = time.Now()
	return t
}

func (s *Set) dropOldest() {
	oldest := ""
	for addr, t := range s.bad {
		if oldest == "" || t.seen.Before(s.bad[oldest].seen) {
			oldest = addr
		}
	}
	delete(s.bad, oldest)
}
