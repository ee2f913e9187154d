package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
)

// Of several control planes with the same metadata one is active. A term is its time: it begins
// with winning the election and reading everything anew, and what is in memory ends with it. With
// metadata in a directory there is one term, from New to Close.

// election is the name under which control planes lead.
const election = "control"

// term is one time of being active.
type term struct {
	lead    meta.Leadership
	cluster *cluster
}

// rule does what an active control plane does, and stands for election when it is not active, until
// ctx ends. An error means that it can never be active with this metadata.
func (s *Server) rule(ctx context.Context) error {
	for ctx.Err() == nil {
		t := s.term.Load()
		if t == nil {
			var err error
			if t, err = s.stand(ctx); err != nil {
				if ctx.Err() == nil && hopeless(err) {
					return err
				}
				wait(ctx, electionPause)
				continue
			}
		}
		s.reign(ctx, t)
	}
	return nil
}

// hopeless says that trying again cannot help.
func hopeless(err error) bool {
	for _, class := range []error{meta.ErrForeign, meta.ErrVersion, meta.ErrCorrupt,
		meta.ErrClosed} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// stand waits to be elected, and reads the state.
func (s *Server) stand(ctx context.Context) (*term, error) {
	lead, err := s.kv.Campaign(ctx, election, s.addr)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	begun := time.Now()
	c, err := openCluster(s.cfg, lead)
	if err != nil {
		s.cfg.Logger.Error("cannot become active", "error", err)
		return nil, errors.Join(err, lead.Resign(ctx))
	}
	c.addr = s.addr
	t := &term{lead: lead, cluster: c}
	s.cfg.Logger.Info("active", "cluster", c.id, "nodes", len(c.nodes), "copysets",
		len(c.copysets), "volumes", len(c.volumes), "read in", time.Since(begun))
	s.terms.Add(1)
	s.term.Store(t)
	return t, nil
}

// reign lets time work until the term is over. At the end of ctx it goes on: Close ends it, after
// the last call.
func (s *Server) reign(ctx context.Context, t *term) {
	tick := time.NewTicker(s.cfg.TickInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.lead.Lost():
			s.term.Store(nil)
			s.cfg.Logger.Warn("not active any more", "cluster", t.cluster.id)
			return
		case <-tick.C:
			if t.lead.Held() {
				t.cluster.tick()
			}
		}
	}
}

// resign writes down what is late and lets another be active at once.
func (s *Server) resign() error {
	t := s.term.Swap(nil)
	if t == nil {
		return nil
	}
	var err error
	if t.lead.Held() {
		err = t.cluster.flush()
	}
	ctx, cancel := context.WithTimeout(context.Background(), exitWait)
	defer cancel()
	return errors.Join(err, t.lead.Resign(ctx))
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// current returns the term, if it lasts.
func (s *Server) current() *term {
	if t := s.term.Load(); t != nil && t.lead.Held() {
		return t
	}
	return nil
}

// notActive tells a caller where to go.
func (s *Server) notActive() error {
	e := &admin.Error{Class: admin.ErrNotActive}
	if addr := s.other.Load(); addr != nil {
		e.Active = *addr
	}
	if e.Active == "" {
		e.Text = fmt.Sprintf("control: %s (%s) is not active, and no other control plane is",
			s.cfg.Name, s.addr)
	} else {
		e.Text = fmt.Sprintf("control: %s (%s) is not active, %s is", s.cfg.Name, s.addr, e.Active)
	}
	return e
}

// serve runs one call.
func serve[Q, R any](s *Server, req *Q, fn func(*cluster, *Q) (*R, error)) (*R, error) {
	t := s.current()
	if t == nil {
		return nil, admin.WireError(s.notActive())
	}
	if req == nil {
		req = new(Q)
	}
	before := t.cluster.commits.Load()
	resp, err := fn(t.cluster, req)
	switch {
	case errors.Is(err, errLost) && t.cluster.commits.Load() == before:
		err = s.notActive() // this call has changed nothing: it may be sent to the other
	case err == nil && !t.lead.Held():
		// Another may have changed meanwhile what this answer says. It is not ErrNotActive: a
		// change may have been carried out.
		err = admin.Errorf(admin.ErrUnavailable, "control: %s stopped being active during the "+
			"call; look before repeating it", s.cfg.Name)
	}
	if err != nil {
		return nil, admin.WireError(err)
	}
	return resp, nil
}
