package server

import (
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// A store that is to be taken away is drained first: the mark in its record, or in that of its
// node, keeps new replicas and leaders from it, and the scheduler moves away what is there.

const stateDraining = "draining"

// draining says whether a store shall be emptied.
func (c *cluster) draining(s *store) bool {
	n := c.nodes[s.rec.NodeId]
	return s.rec.Draining || n != nil && n.rec.Draining
}

func (c *cluster) drainStore(req *v1.DrainStoreRequest) (*v1.DrainStoreResponse, error) {
	shown, err := c.markStore(req.StoreId, true)
	return &v1.DrainStoreResponse{Store: shown}, err
}

func (c *cluster) undrainStore(req *v1.UndrainStoreRequest) (*v1.UndrainStoreResponse, error) {
	shown, err := c.markStore(req.StoreId, false)
	return &v1.UndrainStoreResponse{Store: shown}, err
}

// markStore writes the mark of a store down, and shows the store.
func (c *cluster) markStore(id uint64, draining bool) (*v1.Store, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stores[id]
	if s == nil {
		return nil, admin.Errorf(admin.ErrNotFound, "control: store %d does not exist", id)
	}
	n := c.nodes[s.rec.NodeId]
	if !draining && n.rec.Draining {
		return nil, admin.Errorf(admin.ErrInvalid, "control: store %d drains with its node: "+
			"undrain node %s", id, n.rec.Name)
	}
	rec := *s.rec
	rec.Draining = draining
	err := c.update(func(tx meta.Tx) error { return meta.Stores.Put(tx, meta.ID(id), &rec) })
	if err != nil {
		return nil, err
	}
	s.rec, s.dirty = &rec, false
	c.log.Info("store marked", "store", id, "draining", draining)
	return c.showStore(s, c.cfg.Now()), nil
}

func (c *cluster) drainNode(req *v1.DrainNodeRequest) (*v1.DrainNodeResponse, error) {
	shown, err := c.markNode(req.Name, true)
	return &v1.DrainNodeResponse{Node: shown}, err
}

func (c *cluster) undrainNode(req *v1.UndrainNodeRequest) (*v1.UndrainNodeResponse, error) {
	shown, err := c.markNode(req.Name, false)
	return &v1.UndrainNodeResponse{Node: shown}, err
}

func (c *cluster) markNode(name string, draining bool) (*v1.Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[c.nodeNames[name]]
	if n == nil {
		return nil, admin.Errorf(admin.ErrNotFound, "control: node %.64q does not exist", name)
	}
	rec := *n.rec
	rec.Draining = draining
	err := c.update(func(tx meta.Tx) error {
		return meta.Nodes.Put(tx, meta.ID(rec.NodeId), &rec)
	})
	if err != nil {
		return nil, err
	}
	n.rec = &rec
	c.log.Info("node marked", "node", name, "draining", draining)
	return c.showNode(n, c.cfg.Now()), nil
}

// showNode is a node without its stores' records, as listings have it.
func (c *cluster) showNode(n *node, now time.Time) *v1.Node {
	shown := *n.rec
	shown.State = stateOffline
	if c.up(n, now) {
		shown.State = stateUp
	}
	if !n.heard.IsZero() {
		shown.LastHeartbeatUnixNs = n.heard.UnixNano()
	}
	for _, id := range sortedIDs(n.stores) {
		shown.Stores = append(shown.Stores, c.showStore(c.stores[id], now))
	}
	return &shown
}

// showStore is a store's record with what was last reported of it.
func (c *cluster) showStore(s *store, now time.Time) *v1.Store {
	shown := *s.rec
	shown.State, shown.Detail = c.storeUp(s, now)
	shown.Replicas = c.members.byStore[s.rec.StoreId]
	shown.Draining = c.draining(s)
	if shown.Draining {
		note := fmt.Sprintf("draining, %d replicas are left", shown.Replicas)
		if shown.Detail != "" {
			note = shown.Detail + "; " + note
		}
		shown.Detail = note
		if shown.State == stateUp {
			shown.State = stateDraining
		}
	}
	shown.UsedBytes, shown.Chunks = s.report.GetUsedBytes(), s.report.GetChunks()
	shown.LogBytes, shown.Scrub = s.report.GetLogBytes(), s.report.GetScrub()
	shown.CorruptBlocks = s.report.GetCorruptBlocks()
	shown.RepairedBlocks = s.report.GetRepairedBlocks()
	shown.Waiting, shown.Space = s.report.GetWaiting(), s.report.GetSpace()
	return &shown
}

// drainNotes says how far stores are that shall be emptied. They are no problems: somebody wants
// it so.
func (c *cluster) drainNotes() []string {
	counts := c.members.byStore
	stuck := map[uint64]string{} // by store: why a replica waits that nobody can take
	for _, w := range c.waits {
		if s := c.storeOf(w.Copyset, w.From); s != 0 && w.stuck() && stuck[s] == "" {
			stuck[s] = fmt.Sprintf(": copyset %d waits: %s", w.Copyset, w.Reason)
		}
	}
	var notes []string
	for _, id := range sortedIDs(c.stores) {
		s := c.stores[id]
		if !c.draining(s) || s.rec.Replaced {
			continue
		}
		what := fmt.Sprintf("%d replicas are left", counts[id]) + stuck[id]
		if counts[id] == 0 {
			what = "nothing is left on it"
		}
		notes = append(notes, fmt.Sprintf("store %d (%s on node %s) is draining: %s", id,
			s.rec.Path, c.nodes[s.rec.NodeId].rec.Name, what))
	}
	return notes
}
