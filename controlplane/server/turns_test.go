package server

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// slowStore is metadata on a slow disk.
type slowStore struct {
	meta.Store
	clock *clock
	each  time.Duration
}

func (s slowStore) Update(ctx context.Context, fn func(meta.Tx) error) error {
	defer s.clock.pass(s.each)
	return s.Store.Update(ctx, fn)
}

// A slow disk must not keep the schedulers from the next lost replicas: commits are no work of a
// processor.
func TestCommitsOfReplacementsGiveTheSchedulersNoRest(t *testing.T) {
	w := newWorld(t, 3, nil)
	const id = 1
	w.lose(w.follower(id), id)
	w.beat()
	c := w.srv.cluster()
	c.judgeAll()
	c.mu.Lock()
	kept := c.kv
	c.kv = slowStore{kept, w.clock, 10 * time.Second}
	c.mu.Unlock()
	before := w.clock.now()
	c.turn()
	c.mu.Lock()
	rest, began := c.resting.Sub(w.clock.now()), c.copysets[id].rec.Joining != nil
	c.kv = kept
	c.mu.Unlock()
	if !began || w.clock.now().Sub(before) < 10*time.Second {
		t.Fatal("no replacement was begun: the test tests nothing")
	}
	if rest > 0 {
		t.Errorf("the schedulers rest for %v after a commit of 10 s", rest)
	}
}

// wantIndex compares what the schedulers have of each copyset, and what is counted of where its
// members are, with what a look at all copysets finds: nobody has forgotten to touch one.
func (w *world) wantIndex(step string) {
	w.t.Helper()
	c := w.srv.cluster()
	c.judgeAll()
	c.catchUp()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	if c.turns.index.Len() != len(c.copysets) {
		w.t.Fatalf("%s: the schedulers know %d of %d copysets", step, c.turns.index.Len(),
			len(c.copysets))
	}
	fresh, given := newMembers(), map[uint64]uint64{}
	c.refilled()
	for id, g := range c.copysets {
		if want, have := c.viewOf(g, now), c.turns.index.Copyset(id); !reflect.DeepEqual(have,
			want) {
			w.t.Fatalf("%s: the schedulers take copyset %d for\n%+v\nand it is\n%+v", step, id,
				have, want)
		}
		for _, m := range admin.Members(g.rec) {
			fresh.byStore[m.StoreId]++
			if fresh.byNode[m.NodeId] == nil {
				fresh.byNode[m.NodeId] = map[uint64]bool{}
			}
			fresh.byNode[m.NodeId][id] = true
		}
		for _, store := range c.setOf(g) {
			given[store] += c.mapped.bytes[id]
		}
		mark(fresh.joining, id, g.rec.Joining != nil)
		mark(fresh.unsure, id, c.isUnsettled(id))
	}
	maps.DeleteFunc(c.members.byStore, func(_, n uint64) bool { return n == 0 })
	maps.DeleteFunc(c.members.byNode, func(_ uint64, in map[uint64]bool) bool {
		return len(in) == 0
	})
	for id, g := range c.copysets {
		if want, have := c.setOf(g), c.mapped.sets[id]; !slices.Equal(want, have) {
			w.t.Fatalf("%s: chunks of copyset %d would go to %v, should to %v", step, id, have,
				want)
		}
	}
	for id := range c.stores {
		if given[id] != c.mapped.given[id] {
			w.t.Fatalf("%s: store %d was given %d, counted are %d", step, id, given[id],
				c.mapped.given[id])
		}
	}
	if !reflect.DeepEqual(c.members, fresh) {
		w.t.Fatalf("%s: members are counted as\n%+v\nand are\n%+v", step, c.members, fresh)
	}
}

// wantSameTurn compares what the schedulers would do with what they would do who look at every
// copyset anew.
func (w *world) wantSameTurn(step string) (operators int) {
	w.t.Helper()
	c := w.srv.cluster()
	scene, lim := c.scene()
	v := schedule.View{Scene: scene}
	c.mu.Lock()
	for _, id := range c.order {
		v.Copysets = append(v.Copysets, c.viewOf(c.copysets[id], scene.Now))
	}
	c.mu.Unlock()
	leaders, moves := c.turns.index.Leaders(scene, lim), c.turns.index.Moves(scene, lim)
	if want := schedule.Leaders(v, lim); !reflect.DeepEqual(leaders, want) {
		w.t.Fatalf("%s: leaders %v, and by a full look %v", step, leaders, want)
	}
	if want := schedule.Moves(v, lim); !reflect.DeepEqual(moves, want) {
		w.t.Fatalf("%s: moves %+v, and by a full look %+v", step, moves, want)
	}
	return len(leaders) + len(moves.Operators)
}

// shake does something that makes replicas move.
func (w *world) shake(rng *rand.Rand, away map[*fakeNode]bool) string {
	n := w.nodes[rng.IntN(len(w.nodes))]
	switch rng.IntN(14) {
	case 0:
		_, err := w.Admin.DrainNode(ctx, &v1.DrainNodeRequest{Name: n.name})
		w.ok(err)
		return "a drained node"
	case 1, 2:
		_, err := w.Admin.UndrainNode(ctx, &v1.UndrainNodeRequest{Name: n.name})
		w.ok(err)
		return "a node that is drained no more"
	case 3:
		away[n] = len(away) == 0
		if !away[n] {
			delete(away, n)
		}
		return "a node that goes or comes back"
	case 4:
		n.logWrite = []time.Duration{time.Millisecond, time.Second}[rng.IntN(2)]
		return "a slow disk"
	case 5: // a new disk in the place of the old one
		s := *n.stores[0]
		s.StoreId = 0
		s.Uuid = fmt.Sprintf("00000000-0000-0000-%04d-%012d", rng.IntN(10_000), 1)
		n.stores[0] = &s
		w.ok(n.register())
		n.told, n.version = admin.Told{}, 0
		return "a replaced disk"
	case 6, 7:
		return w.cancelSome(rng)
	case 8, 12:
		w.raft.learner, w.raft.stubborn = 0, false
		return "leaders that go on"
	case 9:
		w.tune("hold", []string{"0s", "5s", "20s", "10m"}[rng.IntN(4)], "")
		return "another hold"
	case 10:
		w.tune("lost-after", []string{"2s", "30s", "1h"}[rng.IntN(3)], "")
		return "another patience"
	case 11:
		w.pause(schedule.Kinds[rng.IntN(len(schedule.Kinds))], rng.IntN(4) == 0, "")
		return "a scheduler that rests or goes on"
	}
	return "time"
}

// cancelSome cancels an operator, whose new member does not vote before its leader goes on; the
// leader may keep it all the same.
func (w *world) cancelSome(rng *rand.Rand) string {
	all := w.operators().Operators
	if len(all) == 0 {
		return "nothing to cancel"
	}
	op := all[rng.IntN(len(all))]
	if op.State == operatorRunning && op.Kind != string(schedule.TransferLeader) {
		w.raft.learner, w.raft.stubborn = op.ToReplicaId, rng.IntN(2) == 0
	}
	if _, err := w.cancel(op.CopysetId, op.Kind); err != nil {
		return "an operator that cannot be cancelled"
	}
	return "a cancelled operator"
}

// overdue counts the replacements that are cancelled and go on for longer than their hold.
func (w *world) overdue() (n int) {
	c := w.srv.cluster()
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.givingUp {
		if c.isGivenUpFor(c.copysets[id].rec, c.cfg.Now()) {
			n++
		}
	}
	return n
}

func TestTheSchedulersHaveEveryChange(t *testing.T) {
	operators, seeds, overdue := 0, uint64(4), 0
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 21))
		w := newWideWorld(t, 6)
		w.create("v", 8<<30)
		away := map[*fakeNode]bool{}
		for range 120 {
			step := w.shake(rng, away)
			w.wantIndex(step)
			var alive []*fakeNode
			for _, n := range w.nodes {
				if !away[n] {
					alive = append(alive, n)
				}
			}
			for range 1 + rng.IntN(30) {
				for g, leader := range w.raft.leader {
					w.electAmong(g, leader, alive)
				}
				w.beat(alive...)
				w.clock.pass(time.Second)
				w.wantIndex(step)
				operators += w.wantSameTurn(step)
				overdue += w.overdue()
				w.tick(0)
			}
		}
		w.stop()
	}
	if operators < 25*int(seeds) {
		t.Errorf("only %d operators were compared", operators)
	}
	if overdue < 25*int(seeds) {
		t.Errorf("only %d times was a cancelled replacement over its hold", overdue)
	}
}
