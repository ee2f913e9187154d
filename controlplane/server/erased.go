package server

import (
	"cmp"
	"slices"
	"sort"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Copysets remember volumes that were deleted, so that a late write of one makes nothing of it
// again, and would remember each for ever. Which ids are gone is written down here, as runs, and
// told to nodes that ask, a few at a time: copysets with many of them remember the runs in their
// place. Only what was erased is in a run, never what is merely not known here: after a loss
// of the metadata that may be a volume which is yet to be found. Ids of directories, which come
// from the same counter, are in them so that they part no runs.

// erase writes down that an id is gone, as part of a change; tookErased follows once that is made.
func (c *cluster) erase(tx meta.Tx, id uint64) error {
	run, within := c.erased.around(id)
	for _, old := range within {
		if err := meta.Erased.Delete(tx, meta.ID(old.First)); err != nil {
			return err
		}
	}
	return meta.Erased.Put(tx, meta.ID(run.First), run)
}

// tookErased takes over what erase has written.
func (c *cluster) tookErased(id uint64) {
	run, within := c.erased.around(id)
	at := c.erased.behind(run.First)
	c.erased = slices.Replace(c.erased, at, at+len(within), run)
	for _, s := range c.stores {
		if s.volumes[id] > 0 {
			s.left = append(s.left, id)
		}
	}
}

// leftOn is the erased volumes that a store has chunks of. A client that reaches nodes but no
// control plane can go on with a volume that was deleted, in copysets that had nothing of it and so
// were not told: they are, once a list of chunks shows it.
func (c *cluster) leftOn(s *store) (left []uint64) {
	for id := range s.volumes {
		if c.erased.has(id) {
			left = append(left, id)
		}
	}
	if slices.Sort(left); len(left) > 0 {
		c.log.Info("chunks of erased volumes are dropped", "store", s.rec.StoreId,
			"volumes", left[:min(len(left), maxLeftShown)])
	}
	return left
}

// erasedFor is the runs that a node is told of this time. Those of one id would save nothing.
func (c *cluster) erasedFor(n *node) (told []*v1.VolumeRun) {
	if !c.has(admin.FeatureErased) {
		return nil
	}
	at := c.erased.behind(n.erasedTold)
	for seen := 0; seen < min(len(c.erased), maxErased); seen++ {
		if at == len(c.erased) {
			at = 0
		}
		r := c.erased[at]
		at++
		if n.erasedTold = r.First + 1; r.First < r.Last {
			told = append(told, r)
		}
	}
	return told
}

func (c *cluster) loadErased(r meta.Reader) (err error) {
	c.erased, err = meta.Erased.All(r)
	return err
}

// volumeRuns are runs of ids: rising, none next to another.
type volumeRuns []*v1.VolumeRun

// behind is where the first run stands that begins at an id or behind it.
func (rs volumeRuns) behind(id uint64) int {
	return sort.Search(len(rs), func(i int) bool { return rs[i].First >= id })
}

func (rs volumeRuns) has(id uint64) bool {
	at := sort.Search(len(rs), func(i int) bool { return rs[i].First > id })
	return at > 0 && rs[at-1].Last >= id
}

// around is the run that an id makes with those next to it, which it takes the place of.
func (rs volumeRuns) around(id uint64) (run *v1.VolumeRun, within []*v1.VolumeRun) {
	run = &v1.VolumeRun{First: id, Last: id}
	for at := max(0, rs.behind(id)-1); at < len(rs); at++ {
		switch r := rs[at]; {
		case r.Last < id && r.Last+1 < id:
			continue
		case r.First > id && r.First-1 > id:
			return run, within
		default:
			run.First, run.Last = min(run.First, r.First), max(run.Last, r.Last)
			within = append(within, r)
		}
	}
	return run, within
}

// joined makes runs of such as come in any order, and may overlap.
func joined(all []*v1.VolumeRun) (rs volumeRuns) {
	slices.SortFunc(all, func(a, b *v1.VolumeRun) int { return cmp.Compare(a.First, b.First) })
	for _, r := range all {
		if n := len(rs); n > 0 && (r.First <= rs[n-1].Last || r.First-1 == rs[n-1].Last) {
			rs[n-1].Last = max(rs[n-1].Last, r.Last)
			continue
		}
		rs = append(rs, &v1.VolumeRun{First: r.First, Last: r.Last})
	}
	return rs
}
