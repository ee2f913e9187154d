package client

import (
	"fmt"
	"sync"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// route is what the client knows of one copyset, shared by its volumes: who the members are, which
// of them leads, and the requests that wait until that is known.
type route struct {
	id uint64

	mu          sync.Mutex
	epoch       uint64
	members     []member // replaced, never changed in place
	leader      int      // index in members, or none
	rotor       int      // whose turn it is in a poll
	polls       int      // since a leader was last known
	armed       bool     // the timers hold an alarm for this route
	arming      uint64   // number of the alarm that counts; those set before are void
	parked      pieceList
	refreshedAt int64
}

type member struct {
	replica uint64
	peer    *peer
}

func (r *route) view() view {
	v := view{replicas: len(r.members), leader: r.leader, next: r.rotor}
	for i := range r.members {
		if !r.members[i].peer.reachable() {
			v.down |= 1 << i
		}
	}
	return v
}

// outOfReach adds to an error why the members, which all are down, cannot be reached.
func (r *route) outOfReach(err error) error {
	p := r.members[0].peer
	return fmt.Errorf("%w: none of its %d nodes can be reached: node %d: %w", err, len(r.members),
		p.node, *p.why.Load())
}

func (r *route) indexOf(p *peer) int {
	for i := range r.members {
		if p != nil && r.members[i].peer == p {
			return i
		}
	}
	return none
}

// replicaIndex finds a member by its replica id, or by its node when the id is 0.
func (r *route) replicaIndex(replica, node uint64) int {
	for i := range r.members {
		m := &r.members[i]
		if replica != 0 && m.replica == replica || replica == 0 && m.peer.node == node {
			return i
		}
	}
	return none
}

// learn takes over what an action says of the leader and returns the requests that may go now.
func (r *route) learn(a *action, from int) pieceList {
	switch {
	case a.served && from != none:
		// Whoever parks after this is to be polled for at once, whatever alarm is still set.
		r.leader, r.polls, r.armed = from, 0, false
		return r.parked.takeAll()
	case a.leads && from != none && r.leader == none:
		r.leader = from // nobody knows better
	case a.deposed && from != none && r.leader == from:
		r.leader = a.heir
		r.rotor = from + 1
	}
	return pieceList{}
}

// park adds a request and returns the number of the alarm to set for the route, 0 for none.
func (r *route) park(x *piece) uint64 {
	r.parked.push(x)
	if r.armed {
		return 0
	}
	return r.arm()
}

// arm gives the number of an alarm that takes the place of the one that is set, if any: each alarm
// sets the next, and two that count would poll side by side from then on. The caller holds mu.
func (r *route) arm() uint64 {
	r.armed = true
	r.arming++
	return r.arming
}

// scout takes out the request that polls next when the alarm of that number went off; again is the
// number of the alarm to set then, 0 for none.
func (r *route) scout(arming uint64) (x *piece, again uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if arming != r.arming {
		return nil, 0
	}
	x = r.parked.pop()
	r.armed = false
	if x == nil {
		return nil, 0
	}
	r.polls++
	r.rotor++
	if r.parked.first != nil {
		again = r.arm()
	}
	return x, again
}

// set takes over the members that the control plane knows. What was learnt from the copyset itself
// about its leader is kept, being newer.
func (r *route) set(cs *v1.Copyset, dial func(node uint64, addr string) *peer) {
	members := make([]member, 0, len(cs.Replicas))
	for _, m := range cs.Replicas {
		if len(members) < maxReplicas && m.Addr != "" {
			members = append(members, member{m.ReplicaId, dial(m.NodeId, m.Addr)})
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if cs.Epoch < r.epoch {
		return
	}
	var leader uint64
	switch {
	case r.leader != none:
		leader = r.members[r.leader].replica
	case len(r.members) == 0 && cs.LeaderReplicaId != 0:
		leader = cs.LeaderReplicaId
	case len(r.members) == 0:
		leader = cs.PreferredLeaderReplicaId
	}
	r.epoch, r.members, r.leader = cs.Epoch, members, none
	if leader != 0 {
		r.leader = r.replicaIndex(leader, 0)
	}
}

// adopt adds a leader that an answer named and the mapping does not have. The next refresh puts
// the truth in its place.
func (r *route) adopt(replica uint64, p *peer) int {
	if i := r.indexOf(p); i != none {
		return i
	}
	if len(r.members) >= maxReplicas {
		return none
	}
	members := make([]member, 0, len(r.members)+1)
	members = append(append(members, r.members...), member{replica, p})
	r.members = members
	return len(members) - 1
}
