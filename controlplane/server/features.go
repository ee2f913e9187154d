package server

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// What nodes of different releases can do together. A feature that concerns several nodes is on
// when all that are registered have it, those too that are offline: they may be back at any time.
// Only one that is offline and holds nothing is not waited for. It is off again with the first node
// that comes back older.

// checkLevel refuses a node that does not understand this control plane, or the reverse.
func (c *cluster) checkLevel(req *v1.RegisterNodeRequest) error {
	level := cmp.Or(req.Level, 1)
	who := fmt.Sprintf("control: node %s is of version %q, level %d; this control plane is of "+
		"version %q, level %d", req.Name, clip(req.Version, maxNameBytes), level, c.cfg.Version,
		admin.Level)
	switch {
	case level < c.cfg.OldestNode:
		return admin.Errorf(admin.ErrInvalid, "%s, and takes nodes from level %d on: start the "+
			"node with a newer release, or the control plane with the one before", who,
			c.cfg.OldestNode)
	case req.OldestLevel > admin.Level:
		return admin.Errorf(admin.ErrInvalid, "%s, and the node needs level %d at least: upgrade "+
			"the control planes first, or start the node with an older release", who,
			req.OldestLevel)
	}
	return nil
}

// takeProgram takes what a heartbeat says of the node's program: where another control plane took
// the registration, this one may have more to ask of it, or less.
func (c *cluster) takeProgram(n *node, req *v1.HeartbeatNodeRequest, now time.Time) {
	has, level := admin.FeaturesOf(req), req.Level
	version := n.rec.Version
	if req.Version != version && req.Version != "" {
		version = clip(req.Version, maxTextBytes)
	}
	if has == n.rec.Features && level == n.rec.Level && version == n.rec.Version {
		return
	}
	rec := *n.rec
	rec.Features, rec.Level, rec.Version = has, level, version
	n.rec = &rec
	c.weighFeatures(now)
}

// weighFeatures finds what all nodes have.
func (c *cluster) weighFeatures(now time.Time) {
	was := c.common
	c.common = admin.Features
	for _, n := range c.nodes {
		if c.up(n, now) || c.inUse(n) {
			c.common &= n.rec.Features
		}
	}
	if c.common != was {
		c.log.Info("features", "on", featureNames(c.common), "off",
			featureNames(admin.Features&^c.common))
	}
}

// has says whether every node has a feature.
func (c *cluster) has(feature uint64) bool { return c.common&feature == feature }

// lacking names the nodes, of those given, that do not have a feature, the first ones.
func (c *cluster) lacking(feature uint64, nodes []uint64) (names []string) {
	for _, id := range nodes {
		n := c.nodes[id]
		if n == nil || n.rec.Features&feature == feature {
			continue
		}
		if len(names) == maxLackingShown {
			return append(names, "...")
		}
		names = append(names, fmt.Sprintf("%s (%s)", n.rec.Name, cmp.Or(n.rec.Version, "?")))
	}
	return names
}

func (c *cluster) listFeatures() (list []*v1.Feature) {
	for _, f := range admin.FeatureList() {
		shown := &v1.Feature{Bit: f.Bit, Name: f.Name, About: f.About, On: c.has(f.Bit)}
		if !shown.On {
			shown.Lacking = c.lacking(f.Bit, sortedIDs(c.nodes))
		}
		list = append(list, shown)
	}
	return list
}

// featureNotes says what is not on yet, and which nodes hold it back.
func (c *cluster) featureNotes() (notes []string) {
	for _, f := range c.listFeatures() {
		if !f.On {
			notes = append(notes, fmt.Sprintf("feature %s (%s) is off: nodes %s do not have it; "+
				"start them with version %s", f.Name, f.About, strings.Join(f.Lacking, ", "),
				c.cfg.Version))
		}
	}
	return notes
}

func featureNames(set uint64) string {
	var names []string
	for _, f := range admin.FeatureList() {
		if set&f.Bit != 0 {
			names = append(names, f.Name)
		}
	}
	return strings.Join(names, " ")
}
