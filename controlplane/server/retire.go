package server

import (
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// A replica whose place another store has taken lies where it was until its node is told to destroy
// it, which may be long after, when a lost node comes back. To destroy one that counts would lose
// data, so three must agree: the record, the order of the numbers (of a newcomer that was given up
// the record says so instead), and the copyset's own leader. A control plane whose metadata is
// older than the cluster (a restored copy) knows no member with a higher number than a real one
// that it has forgotten, and leaves it alone; one that knows that its metadata were restored asks
// nothing of a copyset before its leader has confirmed it (settle.go).

// retired are the replicas, of those that a node has reported, that it shall destroy. They are
// named again with each heartbeat until the node has them no more.
func (c *cluster) retired(n *node, now time.Time) (list []*v1.RetireReplica) {
	for _, id := range sortedIDs(n.outside) {
		r, g := n.outside[id], c.copysets[id]
		if g == nil || len(list) >= maxRetire || !c.serves(r.StoreId, now) ||
			!c.isOutside(g, r.ReplicaId, now) {
			continue
		}
		c.log.Info("replica retires", "copyset", r.CopysetId, "replica", r.ReplicaId, "node",
			n.rec.Name, "store", r.StoreId)
		list = append(list, &v1.RetireReplica{CopysetId: r.CopysetId, ReplicaId: r.ReplicaId})
	}
	return list
}

// serves says whether a store can do what it is told: one that has failed cannot.
func (c *cluster) serves(id uint64, now time.Time) bool {
	s := c.stores[id]
	if s == nil {
		return false
	}
	state, _ := c.storeUp(s, now)
	return state != stateFailed && state != stateOffline
}

// isOutside says whether a replica is certainly no member of a copyset any more.
func (c *cluster) isOutside(g *copyset, replica uint64, now time.Time) bool {
	if c.isUnsettled(g.rec.CopysetId) {
		return false
	}
	newest := g.rec.GivenUpReplicaId + 1
	for _, m := range admin.Members(g.rec) {
		newest = max(newest, m.ReplicaId)
		if m.ReplicaId == replica {
			return false
		}
	}
	lead := c.leading(g, now)
	return replica != 0 && replica < newest && lead != nil && !lead.Joint &&
		len(lead.Voters) > 0 && !slices.Contains(lead.Voters, replica) &&
		!slices.Contains(lead.Learners, replica)
}
