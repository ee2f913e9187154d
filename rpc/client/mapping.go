package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// mapping is a volume's cache of segments. A segment's copysets never change; the members of a
// copyset do, and live in its route.
type mapping struct {
	segments atomic.Pointer[[]segment] // the slice is replaced when the volume grows

	mu       sync.Mutex // held for changes
	unmapped pieceList  // requests whose segment is not known yet
}

// segment is the copysets of one, nil when they are not known.
type segment = atomic.Pointer[[]*route]

func (m *mapping) grow(segments int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := make([]segment, segments)
	for i, old := 0, m.all(); i < len(old); i++ {
		next[i].Store(old[i].Load())
	}
	m.segments.Store(&next)
}

func (m *mapping) all() []segment {
	if p := m.segments.Load(); p != nil {
		return *p
	}
	return nil
}

func (v *Volume) segmentOf(x *piece) int64 { return int64(x.chunk) * v.chunkBytes / v.segBytes }

// lookup returns the route of a request, or nil.
func (v *Volume) lookup(x *piece) *route {
	seg := v.segmentOf(x)
	routes := v.mapping.all()[seg].Load()
	if routes == nil {
		return nil
	}
	inside := int64(x.chunk) - seg*(v.segBytes/v.chunkBytes)
	return (*routes)[inside%int64(len(*routes))]
}

// routeOf is lookup for a request that is about to go. When the mapping is not known it keeps the
// request until it is, and returns nil.
func (v *Volume) routeOf(x *piece) *route {
	if r := v.lookup(x); r != nil {
		return r
	}
	m := &v.mapping
	m.mu.Lock()
	if r := v.lookup(x); r != nil {
		m.mu.Unlock()
		return r
	}
	x.m.cause = errNoMapping
	m.unmapped.push(x)
	m.mu.Unlock()
	v.c.mapper.wantVolume(v)
	return nil
}

// install takes over what the control plane answered and sends off what waited for it.
func (v *Volume) install(resp *v1.LookupSegmentsResponse) {
	v.c.learnCopysets(resp.Copysets)
	v.mapping.mu.Lock()
	segments := v.mapping.all()
	for _, s := range resp.Segments {
		if s.Index >= uint64(len(segments)) || len(s.CopysetIds) == 0 {
			continue
		}
		routes := make([]*route, len(s.CopysetIds))
		for i, id := range s.CopysetIds {
			routes[i] = v.c.route(id)
		}
		segments[s.Index].Store(&routes)
	}
	ready := v.mapping.unmapped.takeIf(func(x *piece) bool { return v.lookup(x) != nil })
	v.mapping.mu.Unlock()
	for x := ready.pop(); x != nil; x = ready.pop() {
		x.route = v.lookup(x)
		v.c.drive(x, event{kind: evStart, now: v.c.now()}, false)
	}
}

// missing returns the segments that requests wait for, as the start of their lookup.
func (v *Volume) missing() map[uint64]struct{} {
	v.mapping.mu.Lock()
	defer v.mapping.mu.Unlock()
	firsts := map[uint64]struct{}{}
	for x := v.mapping.unmapped.first; x != nil; x = x.next {
		seg := uint64(v.segmentOf(x))
		firsts[seg-seg%segmentsPerLookup] = struct{}{}
	}
	return firsts
}

// fetch asks the control plane for up to segmentsPerLookup segments.
func (v *Volume) fetch(ctx context.Context, first uint64) error {
	total := uint64(len(v.mapping.all()))
	if first >= total {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	resp, err := v.c.control.LookupSegments(ctx, &v1.LookupSegmentsRequest{
		VolumeId: v.id, First: first, Count: min(segmentsPerLookup, total-first),
	})
	if err != nil {
		return err
	}
	v.install(resp)
	return nil
}

func (v *Volume) expireUnmapped(now int64) {
	m := &v.mapping
	m.mu.Lock()
	late := m.unmapped.takeIf(func(x *piece) bool {
		return now >= x.m.deadline || v.failed() != nil
	})
	m.mu.Unlock()
	for x := late.pop(); x != nil; x = late.pop() {
		err := v.failed()
		if err == nil {
			err = x.m.timeout().err
		}
		v.pieceDone(x, err)
	}
}

// mapper is the goroutine that asks the control plane about mappings, so that no request's
// goroutine ever does.
type mapper struct {
	c    *Client
	wake chan struct{}

	mu      sync.Mutex
	routes  map[*route]struct{}
	volumes map[*Volume]struct{}
}

func newMapper(c *Client) *mapper {
	return &mapper{
		c: c, wake: make(chan struct{}, 1),
		routes: map[*route]struct{}{}, volumes: map[*Volume]struct{}{},
	}
}

func (m *mapper) wantRoute(r *route) {
	m.mu.Lock()
	m.routes[r] = struct{}{}
	m.mu.Unlock()
	m.poke()
}

func (m *mapper) wantVolume(v *Volume) {
	m.mu.Lock()
	m.volumes[v] = struct{}{}
	m.mu.Unlock()
	m.poke()
}

func (m *mapper) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *mapper) run(ctx context.Context) {
	defer m.c.wg.Done()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		}
		err := m.serve(ctx)
		if err == nil {
			failures = 0
			continue
		}
		if failures++; failures == 1 && ctx.Err() == nil {
			m.c.log.Warn("client: mapping not fetched, will retry", "err", err)
		}
		timer := time.NewTimer(doubled(lookupRetryMin, lookupRetryMax, failures-1))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// serve fetches what is wanted now. Segments that requests wait for stay wanted until they are
// there; a copyset is asked for again by the next request that is in doubt about it.
func (m *mapper) serve(ctx context.Context) error {
	m.mu.Lock()
	routes, volumes := m.routes, m.volumes
	m.routes, m.volumes = map[*route]struct{}{}, map[*Volume]struct{}{}
	m.mu.Unlock()
	var errs []error
	for v := range volumes {
		for first := range v.missing() {
			if err := v.fetch(ctx, first); err != nil {
				errs = append(errs, err)
			}
		}
		if v.failed() == nil && len(v.missing()) > 0 {
			if len(errs) == 0 {
				errs = append(errs, errNoMapping)
			}
			m.wantVolume(v)
		}
	}
	if err := m.serveRoutes(ctx, routes); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (m *mapper) serveRoutes(ctx context.Context, routes map[*route]struct{}) error {
	ids := make([]uint64, 0, len(routes))
	for r := range routes {
		ids = append(ids, r.id)
	}
	for len(ids) > 0 {
		n := min(len(ids), copysetsPerLookup)
		short, cancel := context.WithTimeout(ctx, controlTimeout)
		resp, err := m.c.control.LookupCopysets(short,
			&v1.LookupCopysetsRequest{CopysetIds: ids[:n]})
		cancel()
		if err != nil {
			return err
		}
		m.c.learnCopysets(resp.Copysets)
		ids = ids[n:]
	}
	return nil
}
