package store

import (
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// fillPace decides when the store answers those who fill a replica from it. While no client is
// there it answers at once: a replica that is missing is a risk, and the sooner it is back the
// better. While one is, the answers amount to so many bytes in a second. The store that is read
// keeps the pace, because it has the clients: who fills gets nothing of them yet.
type fillPace struct {
	mu   sync.Mutex
	rate int64 // bytes in a second; negative: no limit
	next int64 // ns; what comes before it waits until then
	presence
}

// turn tells how long a request waits that is to be answered with so many bytes; ok is false when
// so much waits already that it had better come again. ops is how many requests of clients there
// have been.
func (p *fillPace) turn(now, bytes int64, ops uint64) (wait time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(now, ops, fillCalm)
	if now >= p.client || p.rate < 0 {
		p.next = 0
		return 0, true
	}
	p.next = max(p.next, now)
	if wait = time.Duration(p.next - now); wait > fillQueue {
		return 0, false
	}
	p.next += bytes * int64(time.Second) / p.rate
	return wait, true
}

// Fill hands over the request of another replica that is being filled, when it is its turn.
func (o *Owner) Fill(copysetID uint64, r *copyset.PeerRead) {
	s := o.store
	if r.Urgent {
		o.PeerRead(copysetID, r)
		return
	}
	wait, ok := s.fill.turn(s.clock(), int64(r.Count)*copyset.BlockSize, s.clientOps.Load())
	switch {
	case !ok:
		r.Done(wire.StatusOverloaded, nil, nil, nil)
	case wait == 0:
		o.PeerRead(copysetID, r)
	default:
		time.AfterFunc(wait, func() { o.PeerRead(copysetID, r) })
	}
}
