package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/placement"
	"github.com/ashlar-storage/ashlar/controlplane/schedule"
)

// epoch is when a run begins; any time will do.
var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// world is the cluster: the view that the schedulers get, and what it cannot say.
type world struct {
	cfg     config
	rng     *rand.Rand
	now     time.Duration
	view    schedule.View
	index   *schedule.Index // of the copysets, as of the last round
	changed map[int]bool    // copysets that are otherwise since
	nodes   []node
	zones   []int   // how many reasons each zone has to be down
	disks   []disk  // beside view.Stores
	groups  []group // beside view.Copysets
	fills   []*fill // in the order in which they began
	events  events
	last    uint64        // number of a replica
	dirty   bool          // something has happened since the last round that cannot wait
	stale   bool          // or that can
	looked  time.Duration // at the last round
	short   bool          // at the last round something waited
	retries bool          // there will be a round for its sake
	tally   tally
}

type node struct {
	zone   int
	down   int // how many reasons it has to be down
	stores []int
}

type disk struct {
	node int
	dead bool
	died time.Duration
	held map[int]bool // copysets with a member here
}

type group struct {
	good int // members on stores that are up
	gone int // members on stores that are dead
}

// fill is a new member on its way.
type fill struct {
	copyset int
	left    float64 // bytes
}

func newWorld(cfg config) (*world, error) {
	w := &world{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.seed, 1)), zones: make([]int, cfg.zones),
		dirty: true, index: new(schedule.Index), changed: map[int]bool{}}
	w.view.Now = epoch
	for i := range cfg.nodes {
		w.addNode(i % cfg.zones)
	}
	var places []placement.Store
	for _, s := range w.view.Stores {
		places = append(places, placement.Store{ID: s.ID, Zone: s.Zone})
	}
	sets, err := placement.Generate(places, placement.Params{Replicas: replicas,
		Copysets: cfg.copysets, Seed: cfg.seed})
	if err != nil {
		return nil, err
	}
	for i, set := range sets {
		c := schedule.Copyset{ID: uint64(i + 1)}
		for _, id := range set {
			w.last++
			c.Replicas = append(c.Replicas, schedule.Replica{ID: w.last, Store: id, CaughtUp: true})
			w.disks[id-1].held[i] = true
			w.view.Stores[id-1].Used += w.size()
		}
		w.view.Copysets = append(w.view.Copysets, c)
		w.groups = append(w.groups, group{good: replicas})
		w.changed[i] = true
	}
	w.tally.begin(w)
	for id, preferred := range schedule.Spread(w.view.Copysets) {
		c := &w.view.Copysets[id-1]
		c.Preferred, c.Leader = preferred, preferred
	}
	w.foresee()
	return w, nil
}

// size is what a replica holds: the stores are as full as the settings say.
func (w *world) size() uint64 {
	all := float64(w.cfg.capacity) * w.cfg.full * float64(w.cfg.nodes*w.cfg.stores)
	return uint64(all / float64(w.cfg.copysets*replicas))
}

func (w *world) addNode(zone int) {
	i := len(w.nodes)
	w.nodes = append(w.nodes, node{zone: zone})
	for range w.cfg.stores {
		w.addStore(i)
	}
	w.foreseeNode(i)
}

// addStore puts an empty disk into a node.
func (w *world) addStore(n int) {
	s := len(w.view.Stores)
	w.disks = append(w.disks, disk{node: n, held: map[int]bool{}})
	w.nodes[n].stores = append(w.nodes[n].stores, s)
	w.view.Stores = append(w.view.Stores, schedule.Store{ID: uint64(s + 1), Up: true,
		UpSince: w.time(), Zone: fmt.Sprint("z", w.nodes[n].zone), Node: fmt.Sprint("n", n),
		Capacity: w.cfg.capacity})
	w.foreseeStore(s)
	w.refresh(s)
}

func (w *world) time() time.Time { return epoch.Add(w.now) }

// refresh takes the state of a store over from its node and zone into the view.
func (w *world) refresh(s int) {
	d, n := &w.disks[s], &w.nodes[w.disks[s].node]
	up := !d.dead && n.down == 0 && w.zones[n.zone] == 0
	v := &w.view.Stores[s]
	if v.Up == up {
		return
	}
	v.Up, w.dirty = up, true
	v.DownSince = w.time()
	if up {
		v.DownSince, v.UpSince = time.Time{}, w.time()
	}
	for _, i := range sorted(d.held) {
		r := w.member(i, v.ID)
		r.CaughtUp = up
		if up {
			w.setGood(i, w.groups[i].good+1)
		} else {
			w.setGood(i, w.groups[i].good-1)
		}
	}
}

// sorted makes the order of a set the same in every run.
func sorted(set map[int]bool) []int {
	list := make([]int, 0, len(set))
	for i := range set {
		list = append(list, i)
	}
	slices.Sort(list)
	return list
}

func (w *world) member(i int, store uint64) *schedule.Replica {
	c := &w.view.Copysets[i]
	for j := range c.Replicas {
		if c.Replicas[j].Store == store {
			return &c.Replicas[j]
		}
	}
	panic(fmt.Sprintf("sim: copyset %d has no member on store %d", i+1, store))
}

// setGood notes how many members of a copyset are up, and has the rest elect a leader.
func (w *world) setGood(i, good int) {
	w.tally.byGood[w.groups[i].good]--
	w.tally.byGood[good]++
	w.groups[i].good = good
	w.changed[i] = true
	c := &w.view.Copysets[i]
	if good <= replicas/2 {
		c.Leader = 0
		return
	}
	for j := range c.Replicas {
		if r := &c.Replicas[j]; r.ID == c.Leader && r.CaughtUp {
			return
		}
	}
	for j := range c.Replicas {
		if r := &c.Replicas[j]; r.CaughtUp {
			c.Leader = r.ID
			return
		}
	}
}

// kill has a store die for good.
func (w *world) kill(s int) {
	d := &w.disks[s]
	if d.dead {
		return
	}
	d.dead, d.died = true, w.now
	w.tally.deadStores++
	for _, i := range sorted(d.held) {
		w.groups[i].gone++
		switch w.groups[i].gone {
		case replicas/2 + 1:
			w.tally.noMajority++
		case replicas:
			w.tally.lost++
		}
	}
	w.refresh(s)
	w.checkEmptied(s)
}

// checkEmptied notes when everything of a dead store is whole again elsewhere.
func (w *world) checkEmptied(s int) {
	if d := &w.disks[s]; d.dead && len(d.held) == 0 {
		w.tally.recovered = append(w.tally.recovered, w.now-d.died)
	}
}
