package schedule

import (
	"cmp"
	"maps"
	"slices"
)

// Index is the copysets of a cluster as rounds ask for them: by the stores that hold them, and
// those apart of which something may be wanted. A round over it costs what the stores and those
// copysets cost, whatever else there is. It must have every copyset as it is now: Put after each
// change. The zero value has none.
//
// It takes some 400 bytes for a copyset of three.
type Index struct {
	sets     map[uint64]*Copyset
	shelves  map[uint64]*shelf
	replicas int

	astray  group // led, by another than the preferred one, with nothing under way
	joining group // with a replacement under way
	broken  group // with a damaged member that nothing is done about
	placed  group // with a member whose place another store has taken
	uneven  uneven
}

// shelf is what lies on a store.
type shelf struct {
	held   []*Copyset // that have a member here, by number
	led    int        // of them, led from here
	wanted int        // of them, with their preferred leader here
}

// group is a set of copysets.
type group map[*Copyset]struct{}

func (g group) set(c *Copyset, in bool) {
	if in {
		g[c] = struct{}{}
	} else {
		delete(g, c)
	}
}

// sorted are the copysets of a group by number.
func (g group) sorted() []*Copyset { return slices.SortedFunc(maps.Keys(g), byNumber) }

func byNumber(a, b *Copyset) int { return cmp.Compare(a.ID, b.ID) }

// NewIndex has the copysets given.
func NewIndex(copysets []Copyset) *Index {
	x := &Index{}
	for i := range copysets {
		x.Put(copysets[i])
	}
	return x
}

func (x *Index) init() {
	x.sets, x.shelves = map[uint64]*Copyset{}, map[uint64]*shelf{}
	x.astray, x.joining, x.broken, x.placed = group{}, group{}, group{}, group{}
	x.uneven.init()
}

// Put takes a copyset as it is now. Its replicas belong to the index from then on.
func (x *Index) Put(c Copyset) {
	if x.sets == nil {
		x.init()
	}
	p, moved := x.sets[c.ID], true
	if p == nil {
		p = &Copyset{ID: c.ID}
		x.sets[c.ID] = p
	} else {
		moved = !slices.EqualFunc(p.Replicas, c.Replicas, func(a, b Replica) bool {
			return a.ID == b.ID && a.Store == b.Store
		})
		x.count(p, -1)
	}
	if moved {
		x.place(p, false)
	}
	was := p.preferredStore()
	*p = c
	x.noteWish(p, was, moved)
	if moved {
		x.place(p, true)
	}
	x.count(p, 1)
}

// Copyset is one as it was put last; the zero value where there is none.
func (x *Index) Copyset(id uint64) Copyset {
	if c := x.sets[id]; c != nil {
		return *c
	}
	return Copyset{}
}

// Len is how many copysets there are.
func (x *Index) Len() int { return len(x.sets) }

func (x *Index) shelf(store uint64) *shelf {
	s := x.shelves[store]
	if s == nil {
		s = &shelf{}
		x.shelves[store] = s
	}
	return s
}

// on is what lies on a store; nothing where the store is not known.
func (x *Index) on(store uint64) shelf {
	if s := x.shelves[store]; s != nil {
		return *s
	}
	return shelf{}
}

// place lays a copyset on the stores of its members, or takes it away from there.
func (x *Index) place(c *Copyset, there bool) {
	for i := range c.Replicas {
		s := x.shelf(c.Replicas[i].Store)
		at, has := slices.BinarySearchFunc(s.held, c, byNumber)
		switch {
		case there && !has:
			s.held = slices.Insert(s.held, at, c)
		case !there && has:
			s.held = slices.Delete(s.held, at, at+1)
		}
	}
}

// count takes a copyset into the counters and groups, or, by -1, out of them.
func (x *Index) count(c *Copyset, by int) {
	x.replicas += by * len(c.Replicas)
	leader := c.replica(c.Leader)
	if leader != nil {
		x.shelf(leader.Store).led += by
	}
	if at := c.preferredStore(); at != 0 {
		x.shelf(at).wanted += by
	}
	in := by > 0
	x.astray.set(c, in && leader != nil && c.Leader != c.Preferred && c.Joining == nil)
	x.joining.set(c, in && c.Joining != nil)
	x.broken.set(c, in && c.broken() != nil)
	x.placed.set(c, in && slices.ContainsFunc(c.Replicas, func(m Replica) bool {
		return m.place() != m.Store
	}))
}

// ledFrom are the copysets that stores lead of which fn holds, by number.
func (x *Index) ledFrom(stores []Store, fn func(*Store) bool) (led []*Copyset) {
	for i := range stores {
		if !fn(&stores[i]) {
			continue
		}
		for _, c := range x.on(stores[i].ID).held {
			if at := c.replica(c.Leader); at != nil && at.Store == stores[i].ID {
				led = append(led, c)
			}
		}
	}
	slices.SortFunc(led, byNumber)
	return led
}
