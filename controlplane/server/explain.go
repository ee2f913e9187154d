package server

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// account is an explanation as it grows: why something is not as it should be, what it waits for,
// and what comes next. It is made of what the control plane knows, by the rules by which it acts.
type account struct{ *v1.ExplainResponse }

func newAccount(object string, id uint64, name, state string) *account {
	return &account{&v1.ExplainResponse{Object: object, ObjectId: id, Name: name, State: state}}
}

// add appends a sentence where it is not said yet and there is room.
func add(list *[]string, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	switch {
	case slices.Contains(*list, text) || len(*list) > maxProblems:
	case len(*list) == maxProblems:
		*list = append(*list, "and more of that")
	default:
		*list = append(*list, clip(text, maxTextBytes))
	}
}

func (a *account) because(format string, args ...any)  { add(&a.Why, format, args...) }
func (a *account) waitsFor(format string, args ...any) { add(&a.WaitsFor, format, args...) }
func (a *account) then(format string, args ...any)     { add(&a.Next, format, args...) }

func (a *account) says(format string, args ...any) { a.Summary = fmt.Sprintf(format, args...) }

// explain says why something is as it is.
func (c *cluster) explain(req *v1.ExplainRequest) (*v1.ExplainResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, err := c.explained(req, c.cfg.Now())
	if err != nil {
		return nil, err
	}
	if a == nil {
		return nil, admin.Errorf(admin.ErrNotFound, "control: %s %.256q does not exist", req.Object,
			req.Id)
	}
	if c.failed != nil {
		a.because("%v", c.failed)
		a.waitsFor("a restart of the control plane on a disk that works")
	}
	return a.ExplainResponse, nil
}

// explained finds what is asked for: nodes by name or number, volumes by path or, without a name
// any more, by number, the others by number. It returns nil where there is none.
func (c *cluster) explained(req *v1.ExplainRequest, now time.Time) (*account, error) {
	id, _ := strconv.ParseUint(req.Id, 10, 64) // nothing has the number 0
	switch req.Object {
	case aCopyset:
		if a := c.explainUnsettled(id, now); a != nil {
			return a, nil
		}
		if g := c.copysets[id]; g != nil {
			return c.explainCopyset(g, now), nil
		}
	case aStore:
		if s := c.stores[id]; s != nil {
			return c.explainStore(s, now), nil
		}
	case aNode:
		if named := c.nodeNames[req.Id]; named != 0 {
			id = named
		}
		if n := c.nodes[id]; n != nil {
			return c.explainNode(n, now), nil
		}
	case aVolume:
		return c.explainVolume(req.Id, now)
	default:
		return nil, admin.Errorf(admin.ErrInvalid, "control: object %.40q: use copyset, store, "+
			"node or volume", req.Object)
	}
	return nil, nil
}

// replicaName names a member and where it is.
func (c *cluster) replicaName(m *v1.Replica) string {
	node := "an unknown node"
	if n := c.nodes[m.NodeId]; n != nil {
		node = "node " + n.rec.Name
	}
	return fmt.Sprintf("replica %d on store %d of %s", m.ReplicaId, m.StoreId, node)
}

func (c *cluster) explainCopyset(g *copyset, now time.Time) *account {
	a := newAccount(aCopyset, g.rec.CopysetId, "", c.health(g, now))
	lead, up := c.explainMembers(a, g, now)
	total, quorum := len(g.rec.Replicas), len(g.rec.Replicas)/2+1
	switch {
	case lead == nil && up >= quorum:
		a.says("copyset %d has no leader, though %d of its %d replicas run", g.rec.CopysetId, up,
			total)
		a.waitsFor("the election of a leader, which takes a second, or the next heartbeat that " +
			"tells of one")
		a.then("its replicas look for a leader; requests wait in the clients meanwhile")
	case lead == nil:
		a.says("copyset %d has no leader: %d of its %d replicas run, and it needs %d",
			g.rec.CopysetId, up, total, quorum)
		a.waitsFor("%d more of its replicas; until then its blocks can be neither read nor "+
			"written", quorum-up)
		a.then("as soon as %d replicas run they elect a leader, and requests that still wait go on",
			quorum)
	case a.State == stateOK:
		a.says("copyset %d is well: replica %d leads and all %d replicas have everything",
			g.rec.CopysetId, lead.ReplicaId, total)
	default:
		a.says("copyset %d serves, led by replica %d, and lacks replicas", g.rec.CopysetId,
			lead.ReplicaId)
	}
	c.explainMove(a, g, lead, now)
	c.explainOperators(a, g, now)
	return a
}

// explainOperators says what the scheduler does with a copyset, and what it cannot do yet.
func (c *cluster) explainOperators(a *account, g *copyset, now time.Time) {
	if j := g.rec.Joining; j != nil {
		if isGivenUp(g.rec) {
			a.then("%s, whose %s was cancelled, is given up: %s", c.replicaName(j), whyOf(g.rec),
				c.undoing(g, now))
		} else {
			a.then("%s takes the place of replica %d (%s): %s", c.replicaName(j),
				g.rec.LeavingReplicaId, whyOf(g.rec), c.progress(g, now))
		}
	}
	for i := range c.waits {
		if w := &c.waits[i]; w.Copyset == g.rec.CopysetId {
			a.waitsFor("%s of replica %d: %s", w.Kind, w.From, w.Reason)
		}
	}
}

// explainMembers says what is wrong with the replicas of a copyset: who leads, and how many run.
func (c *cluster) explainMembers(a *account, g *copyset, now time.Time) (
	lead *v1.ReplicaReport, up int,
) {
	lead = c.leading(g, now)
	for _, m := range g.rec.Replicas {
		if c.explainReplica(a, g, m, lead, now) {
			up++
		}
	}
	return lead, up
}

// explainReplica says what is wrong with a member, and whether it runs, so that it could vote.
func (c *cluster) explainReplica(a *account, g *copyset, m *v1.Replica, lead *v1.ReplicaReport,
	now time.Time,
) (runs bool) {
	n, s, name := c.nodes[m.NodeId], c.stores[m.StoreId], c.replicaName(m)
	if n == nil || s == nil {
		a.because("%s is on a store that is not known", name)
		return false
	}
	if c.damaged(g, m, now) {
		c.explainLost(a, g, m, now)
		return false
	}
	if !c.up(n, now) {
		c.explainSilence(a, n, now)
		return false
	}
	if state, detail := c.storeUp(s, now); state != stateUp && state != stateFull {
		a.because("%s: its store is %s", name, withDetail(state, detail))
		c.explainStoreState(a, s, state)
		return false
	}
	r := c.reportOf(g, m, now)
	if r == nil {
		a.waitsFor("node %s to report %s: it may be starting it", n.rec.Name, name)
		return false
	}
	if lead != nil && !c.replicaFull(g, m, lead, now) {
		c.explainLag(a, m, r, lead)
	}
	return true
}

// explainLag says how far a replica is behind its leader.
func (c *cluster) explainLag(a *account, m *v1.Replica, r, lead *v1.ReplicaReport) {
	name, behind := c.replicaName(m), ""
	for _, p := range lead.Progress {
		if p.GetReplicaId() == m.ReplicaId && p.MatchIndex < lead.CommitIndex {
			behind = fmt.Sprintf(", %d log entries behind", lead.CommitIndex-p.MatchIndex)
		}
	}
	a.because("%s is %s%s", name, wordOf(r.State, "catching-up"), behind)
	a.waitsFor("%s to catch up with its leader", name)
	a.then("the leader sends what it lacks, chunks too where its log does not go back so far")
}

func withDetail(state, detail string) string {
	if detail == "" {
		return state
	}
	return state + ": " + detail
}

func wordOf(state, otherwise string) string {
	if state == "" || state == stateOK {
		return otherwise
	}
	return state
}

// explainSilence is about a node that nothing is heard of.
func (c *cluster) explainSilence(a *account, n *node, now time.Time) {
	if n.heard.IsZero() {
		a.because("node %s is offline: nothing heard since the control plane started %s ago",
			n.rec.Name, ago(now, c.started))
	} else {
		a.because("node %s is offline: last heartbeat %s ago", n.rec.Name, ago(now, n.heard))
	}
	a.waitsFor("node %s (%s) to come back: look at its process, its machine and the network",
		n.rec.Name, n.rec.Addr)
	a.then("when it comes back its replicas catch up by themselves, and it may lead again")
	a.then("once it is away for %s its replicas are made anew on other stores, where zones allow",
		c.tuned.LostAfter)
}

// explainStoreState is about a store whose node is up.
func (c *cluster) explainStoreState(a *account, s *store, state string) {
	id := s.rec.StoreId
	switch state {
	case stateFailed:
		a.waitsFor("somebody to replace the disk of store %d (%s), or to start its node again "+
			"once the disk is sound", id, s.rec.Path)
		a.then("with an empty disk in its place its replicas are made anew from the others")
	case stateReplaced:
		a.then("its replicas are made anew, on store %d in its place, one copyset after the other",
			c.placeOf(id))
	case "full":
		a.waitsFor("space on store %d (%s): give it more, or delete volumes", id, s.rec.Path)
		if n, bytes := c.inTrash(); n > 0 {
			a.then("`volume purge` gives up what the trash holds: %d volumes, %s", n,
				human(float64(bytes)))
		}
	case "stalled":
		a.waitsFor("the device of store %d (%s) to answer", id, s.rec.Path)
		a.then("its leaders went to other stores; when the device answers it takes part again")
	case stateOffline:
		a.waitsFor("node %s to be started with store %d (%s)", c.nodes[s.rec.NodeId].rec.Name, id,
			s.rec.Path)
	}
}

// explainLost is about a replica that its store has lost.
func (c *cluster) explainLost(a *account, g *copyset, m *v1.Replica, now time.Time) {
	a.because("%s", c.describeLost(g, m, now))
	j := g.rec.Joining
	if j != nil && m.ReplicaId == g.rec.LeavingReplicaId && !c.damaged(g, j, now) {
		if n := c.nodes[j.NodeId]; !c.up(n, now) && n != nil {
			c.explainSilence(a, n, now)
		}
		a.waitsFor("%s to be filled by the leader", c.replicaName(j))
		a.then("when it has everything it takes the place of replica %d", m.ReplicaId)
		return
	}
	lim := c.tuned
	place := c.stores[c.placeOf(m.StoreId)]
	state, _ := c.storeUp(place, now)
	filling := c.filling(place.rec.StoreId)
	switch {
	case c.leading(g, now) == nil:
		a.waitsFor("a leader: without one no member can be exchanged")
	case state != stateUp:
		a.waitsFor("store %d, where the new replica goes, which is %s", place.rec.StoreId, state)
	case filling >= lim.Rebuilds:
		a.waitsFor("its turn: store %d fills %d replicas already, at most %d at a time",
			place.rec.StoreId, filling, lim.Rebuilds)
	case !g.lastRepair.IsZero() && now.Sub(g.lastRepair) < lim.CoolDown:
		a.waitsFor("%s since its last replacement", lim.CoolDown)
	}
	a.then("a new replica is made on store %d once most of the others have everything",
		place.rec.StoreId)
}

// explainMove says why a copyset is not led where it should be.
func (c *cluster) explainMove(a *account, g *copyset, lead *v1.ReplicaReport, now time.Time) {
	preferred := g.rec.PreferredLeaderReplicaId
	if lead == nil || preferred == 0 || lead.ReplicaId == preferred {
		return
	}
	for _, m := range g.rec.Replicas {
		if m.ReplicaId != preferred {
			continue
		}
		name, lim := c.replicaName(m), c.tuned
		switch n := c.nodes[m.NodeId]; {
		case !c.replicaFull(g, m, lead, now):
			a.waitsFor("%s, which should lead, to have everything", name)
		case schedule.Slow(c.viewStores(now))[m.StoreId]:
			a.waitsFor("%s, which should lead, to be as quick as the others", name)
		case now.Sub(n.upSince) < lim.Settle:
			a.waitsFor("%s, which should lead, to be up for %s", name, lim.Settle)
		case !g.lastOperator.IsZero() && now.Sub(g.lastOperator) < lim.CoolDown:
			a.waitsFor("%s since its last change", lim.CoolDown)
		}
		a.then("leadership goes back to %s; no request fails by that", name)
	}
}

// explainShare says how the copysets of a node are, or of one of its stores, and how many of them
// it leads.
func (c *cluster) explainShare(a *account, what string, n *node, holds func(*v1.Replica) bool,
	now time.Time,
) {
	led := 0
	bad := map[string][]uint64{}
	all := slices.DeleteFunc(c.of(n.rec.NodeId), func(g *copyset) bool {
		return !slices.ContainsFunc(g.members, holds)
	})
	for _, g := range all {
		if health := c.health(g, now); health != stateOK {
			bad[health] = append(bad[health], g.rec.CopysetId)
		}
		lead := c.leading(g, now)
		if lead != nil && slices.ContainsFunc(g.rec.Replicas, func(m *v1.Replica) bool {
			return m.ReplicaId == lead.ReplicaId && holds(m)
		}) {
			led++
		}
	}
	a.says("%s is %s; it has replicas of %d copysets and leads %d of them", what, a.State, len(all),
		led)
	if ids := bad[healthUnavailable]; len(ids) > 0 {
		a.because("of its copysets these have no leader: %s", listIDs(ids))
	}
	if ids := bad[healthDegraded]; len(ids) > 0 {
		a.because("of its copysets these lack a replica: %s", listIDs(ids))
	}
}

func (c *cluster) explainStore(s *store, now time.Time) *account {
	id := s.rec.StoreId
	state, detail := c.storeUp(s, now)
	a := newAccount(aStore, id, s.rec.Path, state)
	n := c.nodes[s.rec.NodeId]
	switch {
	case state == stateUp:
	case !c.up(n, now) && !s.rec.Replaced:
		c.explainSilence(a, n, now)
	default:
		if detail != "" {
			a.because("%s", detail)
		}
		c.explainStoreState(a, s, state)
	}
	if schedule.Slow(c.viewStores(now))[id] {
		a.because("a write of its log takes %v, many times as long as on the other stores",
			time.Duration(s.report.GetLogWriteNs()).Round(time.Millisecond))
		a.then("other stores lead its copysets as long as it is slow")
	}
	c.explainScrub(a, s, now)
	c.explainShare(a, fmt.Sprintf("store %d (%s on node %s)", id, s.rec.Path, n.rec.Name), n,
		func(m *v1.Replica) bool { return m.StoreId == id }, now)
	return a
}

func (c *cluster) explainNode(n *node, now time.Time) *account {
	a := newAccount(aNode, n.rec.NodeId, n.rec.Name, stateOffline)
	if c.up(n, now) {
		a.State = stateUp
	} else {
		c.explainSilence(a, n, now)
	}
	for _, id := range sortedIDs(n.stores) {
		s := c.stores[id]
		if state, detail := c.storeUp(s, now); a.State == stateUp && state != stateUp {
			a.because("store %d (%s) is %s", id, s.rec.Path, withDetail(state, detail))
			c.explainStoreState(a, s, state)
		}
	}
	c.explainShare(a, fmt.Sprintf("node %s (%s)", n.rec.Name, n.rec.Addr), n,
		func(m *v1.Replica) bool { return m.NodeId == n.rec.NodeId }, now)
	if settle := c.tuned.Settle; a.State == stateUp && now.Sub(n.upSince) < settle {
		a.waitsFor("%s since it came up, before it is given leaders", settle)
	}
	return a
}

// explainVolume finds a volume by its path, or one without a name by its number.
func (c *cluster) explainVolume(word string, now time.Time) (*account, error) {
	id, ok := c.space.volume(word)
	if !ok {
		id, _ = strconv.ParseUint(word, 10, 64)
	}
	vol := c.volumes[id]
	if vol == nil || !ok && vol.State == stateOK {
		return nil, nil
	}
	a := newAccount(aVolume, id, vol.Name, vol.State)
	switch vol.State {
	case stateTrashed:
		until := time.Unix(0, vol.PurgeUnixNs)
		a.says("volume %d, which was %s, is in the trash and keeps %s of the pool", id, vol.Name,
			human(float64(c.reserved(vol))))
		a.then("its data is given up at %s; until then `volume restore` brings it back",
			until.UTC().Format(time.RFC3339))
		return a, nil
	case stateDeleting:
		c.explainDeletion(a, vol, now)
		return a, nil
	}
	return a, c.explainUse(a, vol, now)
}

// explainDeletion says which copysets have yet to drop a volume's chunks.
func (c *cluster) explainDeletion(a *account, vol *v1.Volume, now time.Time) {
	pending := c.deletions[vol.VolumeId].pending
	a.says("volume %d, which was %s, is being deleted: %d copysets have yet to drop its chunks",
		vol.VolumeId, vol.Name, len(pending))
	for _, id := range sortedIDs(pending) {
		g := c.copysets[id]
		if g == nil || c.leading(g, now) == nil {
			a.waitsFor("a leader of copyset %d: `explain copyset %d` says why it has none", id, id)
		} else {
			a.waitsFor("copyset %d, whose leader is told with each heartbeat", id)
		}
	}
	a.then("its space is free when all have dropped them")
}

// explainUse says who has a volume open, and which of its copysets are not well.
func (c *cluster) explainUse(a *account, vol *v1.Volume, now time.Time) error {
	var used map[uint64]bool
	err := c.kv.View(context.Background(), func(r meta.Reader) (err error) {
		used, err = copysetsOf(r, vol.VolumeId)
		return err
	})
	if err != nil {
		return fmt.Errorf("control: mapping of volume %s: %w", vol.Name, err)
	}
	bad := map[string][]uint64{}
	for _, id := range sortedIDs(used) {
		if g := c.copysets[id]; g != nil {
			health := c.health(g, now)
			bad[health] = append(bad[health], id)
		}
	}
	worst := stateOK
	for _, h := range []struct{ health, text string }{
		{healthDegraded, "lack a replica"}, {healthUnavailable, "have no leader"},
	} {
		if ids := bad[h.health]; len(ids) > 0 {
			worst = h.health
			a.because("%d of its copysets %s: %s", len(ids), h.text, listIDs(ids))
		}
		for _, id := range bad[h.health] {
			c.explainMembers(a, c.copysets[id], now)
		}
	}
	if worst == healthUnavailable {
		a.waitsFor("a majority of the replicas of each: `explain copyset` says more")
	}
	a.says("volume %s of %s lies in %d copysets; %s", vol.Name, human(float64(vol.SizeBytes)),
		len(used), map[string]string{stateOK: "all are well", healthDegraded: "all serve, and " +
			"some lack a replica", healthUnavailable: "some cannot serve"}[worst])
	a.State = worst
	c.explainSessions(a, vol, now)
	return nil
}

// explainSessions says what the sessions of a volume keep from happening.
func (c *cluster) explainSessions(a *account, vol *v1.Volume, now time.Time) {
	for _, s := range c.sessionsOf(vol) {
		who := fmt.Sprintf("%q (session %d)", s.rec.Client, s.rec.SessionID)
		switch {
		case superseded(s, vol):
		case s.lapsed(now):
			a.because("%s has it open and was not heard of for %s; it may come back while nobody "+
				"else opens it for writing", who, ago(now, s.expires.Add(-c.cfg.SessionLease)))
		case s.rec.ReadOnly:
			a.then("%s reads it: it cannot be deleted until that ends, or is detached", who)
		default:
			a.then("%s may write it: it cannot be deleted until that ends, or is detached, and "+
				"whoever else opens it for writing takes it over", who)
		}
	}
}
