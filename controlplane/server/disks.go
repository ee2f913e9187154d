package server

import (
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// What a disk has lost without knowing shows only to somebody who remembers what was on it. The
// control plane remembers of each store up to where its log was once durable, as the heartbeats
// say, and which place it had in its node.
//
// A store whose log ends, at its start, before that was put back to an earlier state. The answer to
// its registration says so. What is remembered stays as it is until the first heartbeat of that
// opening: by then the store has written down that its replicas are lost, and until then every
// further start is told the same.
//
// A store that is not there any more while its node comes with a new one in its place was replaced:
// its replicas are as good as lost, and are made anew on the one that took the place.

// reached is, for each store, the position that it reported before, where its log ends before that
// now; else 0.
func (c *cluster) reached(idents []*v1.StoreIdentity) []uint64 {
	out := make([]uint64, len(idents))
	for i, ident := range idents {
		s := c.stores[c.uuids[ident.Uuid]]
		if s == nil || ident.Life == 0 || ident.Life == s.rec.Life ||
			ident.LogEnd >= s.rec.LogEnd {
			continue
		}
		out[i] = s.rec.LogEnd
		c.log.Error("a disk holds an earlier state of its store; its replicas will be made anew",
			"store", s.rec.StoreId, "path", s.rec.Path, "log_end", ident.LogEnd,
			"reported_before", s.rec.LogEnd)
	}
	return out
}

// carryMark gives a store's new record what is remembered of its log.
func (c *cluster) carryMark(rec *v1.Store, ident *v1.StoreIdentity) {
	if s := c.stores[rec.StoreId]; s != nil {
		rec.Life, rec.LogEnd = s.rec.Life, s.rec.LogEnd
	}
	if ident.Life != 0 && ident.LogEnd >= rec.LogEnd {
		rec.Life, rec.LogEnd = ident.Life, ident.LogEnd
	}
}

// takeMark remembers how far a store's log goes. A life that is not the one on record was told that
// its disk is older than that, and has taken note.
func (c *cluster) takeMark(s *store, r *v1.StoreReport) {
	if r.Life == 0 || r.Life == s.rec.Life && r.LogEnd <= s.rec.LogEnd {
		return
	}
	rec := *s.rec
	rec.Life, rec.LogEnd = r.Life, r.LogEnd
	s.rec, s.dirty = &rec, true
}

// displaced are the records, changed, of a node's stores whose place new ones have taken.
func (c *cluster) displaced(n *node, idents []*v1.StoreIdentity) (gone []*v1.Store) {
	if n == nil {
		return nil
	}
	known, empty := map[uint64]bool{}, map[string]bool{}
	for _, ident := range idents {
		if id := c.uuids[ident.Uuid]; id != 0 {
			known[id] = true
		} else {
			empty[clip(ident.Path, maxTextBytes)] = true
		}
	}
	for _, id := range sortedIDs(n.stores) {
		s := c.stores[id]
		if known[id] || s.rec.Replaced || !empty[s.rec.Path] {
			continue
		}
		rec := *s.rec
		rec.Replaced = true
		gone = append(gone, &rec)
		c.log.Warn("a store has another in its place; its replicas will be made anew there",
			"store", id, "path", rec.Path)
	}
	return gone
}

// placeOf is the store for a new member in the place of one on s: s itself, or the one that took
// its place.
func (c *cluster) placeOf(id uint64) uint64 {
	s := c.stores[id]
	if s == nil || !s.rec.Replaced {
		return id
	}
	for other := range c.nodes[s.rec.NodeId].stores {
		if o := c.stores[other].rec; !o.Replaced && o.Path == s.rec.Path {
			return other
		}
	}
	return id
}

// isReplaced says whether another store has the place of this one.
func (c *cluster) isReplaced(id uint64) bool {
	s := c.stores[id]
	return s != nil && s.rec.Replaced
}
