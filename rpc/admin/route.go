package admin

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/cloudwego/kitex/pkg/kerrors"
)

// route finds the one of several control planes that serves. Where it is wrong it costs a round
// trip: a control plane that does not serve names the one that does.
type route struct {
	known []string // as given to Dial

	mu  sync.Mutex
	now string // where the last call was answered, or the next should go
}

// splitEndpoints reads a list with commas.
func splitEndpoints(list string) ([]string, error) {
	endpoints := strings.Split(list, ",")
	if len(endpoints) > maxEndpoints {
		return nil, Errorf(ErrInvalid, "admin: %d endpoints, at most %d", len(endpoints),
			maxEndpoints)
	}
	for i, e := range endpoints {
		endpoints[i] = strings.TrimSpace(e)
		if err := checkEndpoint(endpoints[i]); err != nil {
			return nil, err
		}
	}
	return endpoints, nil
}

func (r *route) current() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// leave moves on from an endpoint, to another where one is named, unless somebody else did.
func (r *route) leave(from, to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now != from {
		return
	}
	if to != "" {
		r.now = to
		return
	}
	r.now = r.known[0]
	for i, e := range r.known {
		if e == from {
			r.now = r.known[(i+1)%len(r.known)]
		}
	}
}

// search is one call's way to the control plane that serves. It repeats only what was certainly
// not carried out: a call that could not be sent, or that was answered with ErrNotActive.
type search struct {
	route     *route
	tries     int  // since the last pause
	unstarted bool // one of them answered that none serves yet: it may be elected now
}

// again decides after a failed call to an endpoint whether another try may help, and waits before
// it where all endpoints have been tried. ctx bounds the whole.
func (s *search) again(ctx context.Context, at string, err error) bool {
	var classed *Error
	switch {
	case errors.As(err, &classed) && errors.Is(err, ErrNotActive):
		to := classed.Active
		if to == at {
			to = ""
		}
		s.route.leave(at, to)
		s.unstarted = true
	case errors.Is(err, kerrors.ErrGetConnection):
		s.route.leave(at, "")
	case errors.Is(err, ErrUnavailable):
		// It may have been carried out. The next call goes elsewhere: this one may hang.
		s.route.leave(at, "")
		return false
	default:
		return false
	}
	if s.tries++; s.tries <= len(s.route.known) {
		return ctx.Err() == nil
	}
	if !s.unstarted {
		return false // nobody is there
	}
	s.tries, s.unstarted = 0, false
	t := time.NewTimer(searchPause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
