package client

import (
	"errors"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// drive feeds an event to a request's machine and carries out what it decides. The caller owns x
// and owns it no more afterwards. direct allows writing to a socket here; without it drive does
// not block.
func (c *Client) drive(x *piece, ev event, direct bool) {
	for {
		if err := x.vol.failed(); err != nil && !ev.success() {
			x.vol.pieceDone(x, err)
			return
		}
		a, to := c.decide(x, ev)
		switch a.kind {
		case doFinish:
			x.vol.pieceDone(x, a.err)
			return
		case doPark:
			return
		case doWait:
			c.timers.add(alarm{at: c.now() + int64(a.wait), piece: x})
			return
		}
		if to.send(x, direct) {
			return
		}
		x.peer = to
		ev = event{kind: evLost, now: ev.now}
	}
}

// decide steps the machine and carries out what concerns the copyset. A request that is to be
// parked is so when decide returns, and no longer the caller's.
func (c *Client) decide(x *piece, ev event) (a action, to *peer) {
	r := x.route
	r.mu.Lock()
	ev.from = r.indexOf(x.peer)
	v := r.view()
	a = x.m.step(ev, v)
	if errors.Is(a.err, ErrTimeout) && v.replicas > 0 && v.after(0) == none {
		a.err = r.outOfReach(a.err)
	}
	freed := r.learn(&a, ev.from)
	arming, polls := uint64(0), r.polls
	switch a.kind {
	case doSend:
		to = r.members[a.to].peer
	case doPark:
		arming = r.park(x)
	}
	refresh := a.refresh && r.mayRefresh(ev.now)
	r.mu.Unlock()
	if refresh {
		c.mapper.wantRoute(r)
	}
	if arming != 0 {
		c.arm(r, arming, polls)
	}
	c.resume(freed, ev.now)
	return a, to
}

func (ev *event) success() bool { return ev.kind == evReply && ev.status == wire.StatusOK }

// mayRefresh limits the rate of mapping requests; the caller holds mu.
func (r *route) mayRefresh(now int64) bool {
	if r.refreshedAt != 0 && now-r.refreshedAt < int64(refreshEvery) {
		return false
	}
	r.refreshedAt = max(now, 1)
	return true
}

// resume lets parked requests go, in the order in which they parked.
func (c *Client) resume(list pieceList, now int64) {
	for x := list.pop(); x != nil; x = list.pop() {
		c.drive(x, event{kind: evGo, now: now}, false)
	}
}

func (c *Client) arm(r *route, arming uint64, polls int) {
	at := c.now() + int64(scoutDelay(polls, c.random()))
	c.timers.add(alarm{at: at, route: r, arming: arming})
}

// pollNow looks for the leader at once, instead of later, if requests wait for it.
func (c *Client) pollNow(r *route) {
	arming := uint64(0)
	r.mu.Lock()
	if r.parked.first != nil {
		arming = r.arm()
	}
	r.mu.Unlock()
	if arming != 0 {
		c.timers.add(alarm{at: c.now(), route: r, arming: arming})
	}
}

// fire is what the timers call.
func (c *Client) fire(a alarm) {
	now := c.now()
	if a.piece != nil {
		c.drive(a.piece, event{kind: evGo, now: now, rand: c.random()}, false)
		return
	}
	x, again := a.route.scout(a.arming)
	if again != 0 {
		c.arm(a.route, again, a.route.pollCount())
	}
	if x != nil {
		c.drive(x, event{kind: evScout, now: now, rand: c.random()}, false)
	}
}

func (r *route) pollCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.polls
}

// peerUp polls the copysets that wait for a leader and have a member on the node.
func (c *Client) peerUp(p *peer) {
	for _, r := range c.allRoutes() {
		r.mu.Lock()
		member := r.indexOf(p) != none
		r.mu.Unlock()
		if member {
			c.pollNow(r)
		}
	}
}

// answered handles an answer of a node. The payload stays the caller's.
func (c *Client) answered(x *piece, m *transport.Message, resp *wire.IOResponse) {
	ev := event{kind: evReply, now: c.coarse.Load(), status: m.Header.Status, hint: none}
	if ev.status == wire.StatusOK {
		if x.kind == wire.OpRead {
			if err := x.land(m, resp); err != nil {
				ev.kind, ev.text = evBadData, err.Error()
				x.vol.count.badData.Add(1)
			}
		}
		c.drive(x, ev, false)
		return
	}
	ev.now, ev.rand, ev.text = c.now(), c.random(), resp.Message
	count := &x.vol.count
	switch ev.status {
	case wire.StatusNotLeader, wire.StatusUnavailable, wire.StatusWrongCopyset:
		ev.hint, ev.strange = c.hinted(x.route, resp)
		count.redirects.Add(1)
	case wire.StatusOverloaded:
		ev.retryAfter = time.Duration(resp.RetryAfterMS) * time.Millisecond
		count.overloaded.Add(1)
	case wire.StatusChecksum:
		count.badData.Add(1)
	}
	c.drive(x, ev, false)
}

// land checks what a read brought. A fetch keeps the buffer; else it is copied into the user's
// memory.
func (x *piece) land(m *transport.Message, resp *wire.IOResponse) error {
	if m.Payload == nil || len(m.Payload.Bytes()) != int(x.length) {
		return errShortRead
	}
	data := m.Payload.Bytes()
	if err := wire.VerifyPieces(resp.CRCs, x.offset, data); err != nil {
		return err
	}
	if x.data == nil {
		x.got = m.Payload.Retain()
		return nil
	}
	x.vol.count.copied.Add(int64(copy(x.data, data)))
	return nil
}

var errShortRead = errors.New("answer has another length than the request")

// hinted finds the leader that an answer names among the members of the copyset, and adds it to
// them when the mapping did not have it.
func (c *Client) hinted(r *route, resp *wire.IOResponse) (hint int, strange bool) {
	if resp.LeaderReplica == 0 && resp.LeaderNode == 0 {
		return none, false
	}
	var p *peer
	if resp.LeaderNode != 0 && resp.LeaderAddr != "" {
		p = c.hintedPeer(resp.LeaderNode, resp.LeaderAddr)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := r.replicaIndex(resp.LeaderReplica, resp.LeaderNode); i != none {
		return i, false
	}
	if p == nil {
		return none, true
	}
	return r.adopt(resp.LeaderReplica, p), true
}

// tick is called by the timers every tickEvery: it looks for what is overdue.
func (c *Client) tick(now int64) {
	last := c.coarse.Swap(now)
	stalled := now-last > 4*int64(tickEvery)
	for _, p := range c.allPeers() {
		l := p.link.Load()
		if l == nil {
			continue
		}
		overdue := l.tick(now, stalled)
		for x := overdue.pop(); x != nil; x = overdue.pop() {
			if now < x.m.deadline {
				x.vol.count.silent.Add(1)
			}
			c.drive(x, event{kind: evSilent, now: now, rand: c.random()}, false)
		}
	}
	expired := func(x *piece) bool { return now >= x.m.deadline || x.vol.failed() != nil }
	for _, r := range c.allRoutes() {
		r.mu.Lock()
		late := r.parked.takeIf(expired)
		r.mu.Unlock()
		c.resume(late, now)
	}
	for _, x := range c.timers.takeIf(func(x *piece) bool { return x.vol.failed() != nil }) {
		c.drive(x, event{kind: evGo, now: now}, false)
	}
	for _, v := range c.allVolumes() {
		v.expireUnmapped(now)
	}
}
