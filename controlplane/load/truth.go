package load

import (
	"math/rand/v2"
	"slices"
	"time"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// truth is how the copysets are, whatever the control plane knows of it. The fleet's lock guards
// it.
type truth struct {
	rng     *rand.Rand
	groups  []group        // by copyset, less one
	filling map[uint64]int // copysets with a new member -> steps until it is full
	lagging []lag          // in the order in which they end
	dead    uint64         // node; 0: none
}

// group is a raft group.
type group struct {
	voters  [members]peer
	joining peer // no replica: none
	leaving uint64
	leader  uint64 // replica
	term    uint64
	behind  uint64 // replica; 0: none
}

type peer struct{ replica, node uint64 }

type lag struct {
	copyset uint64
	until   time.Time
}

func newTruth(c config, recs []*v1.Copyset) *truth {
	t := &truth{rng: rand.New(rand.NewPCG(c.seed, 2)), filling: map[uint64]int{}}
	for _, rec := range recs {
		g := group{leader: rec.LeaderReplicaId, term: rec.LeaderTerm}
		for i, m := range rec.Replicas {
			g.voters[i] = peer{m.ReplicaId, m.NodeId}
		}
		t.groups = append(t.groups, g)
	}
	return t
}

func (t *truth) group(copyset uint64) *group { return &t.groups[copyset-1] }

// at is the replica of a group on a node; 0 when it has none there.
func (g *group) at(node uint64) uint64 {
	for _, p := range append(g.voters[:], g.joining) {
		if p.node == node {
			return p.replica
		}
	}
	return 0
}

func (g *group) nodes() (ids []uint64) {
	for _, p := range append(g.voters[:], g.joining) {
		if p.replica != 0 {
			ids = append(ids, p.node)
		}
	}
	return ids
}

// report is what a node says of its replica.
func (t *truth) report(copyset, replica, node uint64) *v1.ReplicaReport {
	g := t.group(copyset)
	r := &v1.ReplicaReport{CopysetId: copyset, ReplicaId: replica, StoreId: node, Term: g.term,
		LeaderReplicaId: g.leader, Leader: g.leader == replica, State: "ok", Recorded: true,
		CommitIndex: 1000, AppliedIndex: 1000}
	if g.behind == replica {
		r.State = "catching-up"
	}
	for _, p := range g.voters {
		r.Voters = append(r.Voters, p.replica)
		if r.Leader {
			progress := &v1.PeerProgress{ReplicaId: p.replica, MatchIndex: 1000, Active: true}
			if p.replica == g.behind || p.node == t.dead {
				progress.MatchIndex, progress.Active = 1, p.node != t.dead
			}
			r.Progress = append(r.Progress, progress)
		}
	}
	if g.joining.replica != 0 {
		r.Learners = append(r.Learners, g.joining.replica)
	}
	return r
}

// want takes over what the control plane wants of a copyset.
func (t *truth) want(rec *v1.Copyset) (changed bool) {
	g := t.group(rec.CopysetId)
	j := rec.Joining
	if j == nil || g.joining.replica == j.ReplicaId || g.at(j.NodeId) != 0 {
		return false
	}
	g.joining, g.leaving = peer{j.ReplicaId, j.NodeId}, rec.LeavingReplicaId
	t.filling[rec.CopysetId] = int(fill / step)
	return true
}

// elect has another replica lead, if it is a voter whose node lives.
func (t *truth) elect(copyset, replica uint64) (changed bool) {
	g := t.group(copyset)
	i := slices.IndexFunc(g.voters[:], func(p peer) bool { return p.replica == replica })
	if i < 0 || g.voters[i].node == t.dead || g.leader == replica {
		return false
	}
	g.leader = replica
	g.term++
	return true
}

// fill lets a step pass for the new members, and returns the copysets that have changed and where
// replicas are gone from.
func (t *truth) fill(each func(copyset, leftNode uint64)) {
	for copyset, left := range t.filling {
		if left--; left > 0 {
			t.filling[copyset] = left
			continue
		}
		delete(t.filling, copyset)
		g := t.group(copyset)
		i := slices.IndexFunc(g.voters[:], func(p peer) bool { return p.replica == g.leaving })
		if i < 0 || g.leader == g.leaving {
			g.joining, g.leaving = peer{}, 0
			continue
		}
		left := g.voters[i].node
		g.voters[i], g.joining, g.leaving = g.joining, peer{}, 0
		each(copyset, left)
	}
}

// lag lets some followers fall behind, and those catch up whose time is over; each is called for
// the copysets that have changed.
func (t *truth) lag(now time.Time, n int, each func(copyset uint64)) {
	for len(t.lagging) > 0 && !now.Before(t.lagging[0].until) {
		id := t.lagging[0].copyset
		t.lagging = t.lagging[1:]
		t.group(id).behind = 0
		each(id)
	}
	for range n {
		id := t.rng.Uint64N(uint64(len(t.groups))) + 1
		g := t.group(id)
		follower := g.voters[t.rng.IntN(members)].replica
		if g.behind != 0 || follower == g.leader {
			continue
		}
		g.behind = follower
		t.lagging = append(t.lagging, lag{id, now.Add(behind)})
		each(id)
	}
}

// die has a node fall silent for good; each is called for its copysets.
func (t *truth) die(node uint64, each func(copyset uint64)) {
	t.dead = node
	for i := range t.groups {
		if id := uint64(i + 1); t.groups[i].at(node) != 0 {
			each(id)
		}
	}
}

// succeed elects others in the place of leaders that are dead.
func (t *truth) succeed(each func(copyset uint64)) {
	for i := range t.groups {
		g, id := &t.groups[i], uint64(i+1)
		if g.at(t.dead) != g.leader || g.leader == 0 {
			continue
		}
		for _, p := range g.voters {
			if t.elect(id, p.replica) {
				each(id)
				break
			}
		}
	}
}
