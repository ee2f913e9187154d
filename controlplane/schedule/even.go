package schedule

import (
	"maps"
	"slices"
)

// Spread returns a preferred leader for every copyset, by copyset id, so that no store leads two
// more than a store it could give one to. It looks at membership alone.
func Spread(copysets []Copyset) map[uint64]uint64 {
	at := make(map[uint64]*Replica, len(copysets))
	led := map[uint64]int{}
	for i := range copysets {
		c := &copysets[i]
		for j := range c.Replicas {
			if m := &c.Replicas[j]; at[c.ID] == nil || led[m.Store] < led[at[c.ID].Store] {
				at[c.ID] = m
			}
		}
		if m := at[c.ID]; m != nil {
			led[m.Store]++
		}
	}
	for improve(copysets, at, led) {
		continue
	}
	out := make(map[uint64]uint64, len(at))
	for id, m := range at {
		out[id] = m.ID
	}
	return out
}

// improve moves leaders one step from fuller to emptier stores. Each move lowers the sum of
// squares of led, so that repeating it ends.
func improve(copysets []Copyset, at map[uint64]*Replica, led map[uint64]int) bool {
	changed := false
	for i := range copysets {
		c := &copysets[i]
		for j := range c.Replicas {
			m, now := &c.Replicas[j], at[c.ID]
			if led[m.Store]+1 < led[now.Store] {
				led[now.Store]--
				led[m.Store]++
				at[c.ID] = m
				changed = true
			}
		}
	}
	return changed
}

// uneven is where preferred leaders may have become uneven since Respread looked.
type uneven struct {
	copysets group           // that have other members, or another preferred one
	more     map[uint64]bool // stores that more copysets prefer
	fewer    map[uint64]bool // stores that fewer do
}

func (u *uneven) init() {
	u.copysets, u.more, u.fewer = group{}, map[uint64]bool{}, map[uint64]bool{}
}

// preferredStore is where a copyset's preferred leader is; 0 when it has none.
func (c *Copyset) preferredStore() uint64 {
	if at := c.replica(c.Preferred); at != nil {
		return at.Store
	}
	return 0
}

// noteWish notes that members of a copyset have changed, or its preferred one, that was on a store
// before.
func (x *Index) noteWish(c *Copyset, was uint64, moved bool) {
	now := c.preferredStore()
	if moved || now != was || now == 0 {
		x.uneven.copysets.set(c, true)
	}
	if now != was {
		x.uneven.fewer[was], x.uneven.more[now] = true, true
	}
}

// Wish is a preferred leader.
type Wish struct{ Copyset, Replica uint64 }

// Respread evens the preferred leaders out again after members have changed, as Spread does from
// nothing, and returns those that it changed, by copyset. It changes no more than it must, and
// looks at no more than the copysets on the stores that have come to be preferred by more or fewer
// copysets since it looked last; the first time it looks at all. The changes are in the index: who
// does not carry one out puts the copyset again.
func (x *Index) Respread() []Wish {
	u, changed := &x.uneven, map[uint64]uint64{}
	if len(u.copysets) == len(x.sets) { // and so are all that are on those stores
		clear(u.more)
		clear(u.fewer)
	}
	for len(u.copysets)+len(u.more)+len(u.fewer) > 0 {
		for _, c := range x.suspects() {
			if to := x.better(c); to != nil {
				x.prefer(c, to.ID)
				changed[c.ID] = to.ID
			}
		}
	}
	wishes := make([]Wish, 0, len(changed))
	for _, id := range slices.Sorted(maps.Keys(changed)) {
		wishes = append(wishes, Wish{Copyset: id, Replica: changed[id]})
	}
	return wishes
}

// suspects are the copysets whose preferred leader may be better elsewhere, by number: those that
// changed, those on stores that fewer prefer, which may come to be preferred, and those that prefer
// stores which more prefer.
func (x *Index) suspects() []*Copyset {
	u := &x.uneven
	list := slices.Collect(maps.Keys(u.copysets))
	for id := range u.fewer {
		list = append(list, x.on(id).held...)
	}
	for id := range u.more {
		for _, c := range x.on(id).held {
			if c.preferredStore() == id {
				list = append(list, c)
			}
		}
	}
	u.init()
	slices.SortFunc(list, byNumber)
	return slices.Compact(list)
}

// better is the member that should be preferred in the place of the one that is: on the store that
// the fewest prefer, where those are two less; nil when there is none.
func (x *Index) better(c *Copyset) (best *Replica) {
	now := c.preferredStore()
	for i := range c.Replicas {
		m := &c.Replicas[i]
		fits := now == 0 || x.on(m.Store).wanted+1 < x.on(now).wanted
		if fits && (best == nil || x.on(m.Store).wanted < x.on(best.Store).wanted) {
			best = m
		}
	}
	return best
}

// prefer changes a preferred leader.
func (x *Index) prefer(c *Copyset, replica uint64) {
	x.count(c, -1)
	was := c.preferredStore()
	c.Preferred = replica
	x.count(c, 1)
	now := c.preferredStore()
	if was != 0 {
		x.uneven.fewer[was] = true
	}
	x.uneven.more[now] = true
}
