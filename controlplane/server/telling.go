package server

import (
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// A control plane that has just taken over knows of no replica, and each node has to tell of all of
// its own, which is milliseconds of work for a thousand. All at once they would wait for each other
// until they give up. So nodes ask first, and a few at a time are told that it is their turn; what
// the others say counts as a sign of life, and the state of their stores is taken.

// turnstile is whose turn it is to tell everything, since when. The zero value is ready.
type turnstile struct {
	since map[uint64]time.Time // by node, maxTelling at most
}

// ask says whether it is a node's turn. Who does not tell within tellWithin loses it to others.
func (q *turnstile) ask(node uint64, now time.Time) bool {
	for id, at := range q.since {
		if now.Sub(at) >= tellWithin {
			delete(q.since, id)
		}
	}
	if q.since[node].IsZero() && len(q.since) >= maxTelling {
		return false
	}
	if q.since == nil {
		q.since = map[uint64]time.Time{}
	}
	q.since[node] = now
	return true
}

// told ends a node's turn.
func (q *turnstile) told(node uint64) { delete(q.since, node) }

// mustWait says whether a node that asks has to ask again later. Nodes that do not ask are heard as
// they come, and so is one that has no desired state yet: it serves nothing until it has.
func (c *cluster) mustWait(n *node, req *v1.HeartbeatNodeRequest, known bool, now time.Time) bool {
	if !req.Partial {
		c.telling.told(n.rec.NodeId)
		return false
	}
	return !known && req.DesiredVersion != 0 && n.rec.Features&admin.FeatureTellLater != 0 &&
		!c.telling.ask(n.rec.NodeId, now)
}

// later is the answer to a node that has to.
func (c *cluster) later(n *node) *v1.HeartbeatNodeResponse {
	return &v1.HeartbeatNodeResponse{DesiredVersion: n.desired, TellLater: true,
		ScrubWindows: c.windows.Text(), ScrubZone: c.windows.Zone()}
}

// isAwaited says whether a node that is up has not told yet of a replica that it may have of a
// copyset.
func (c *cluster) isAwaited(g *copyset) bool {
	for _, m := range g.members {
		if n := c.nodes[m.NodeId]; n != nil && n.judgedUp && n.sums == nil {
			return true
		}
	}
	return false
}
