package view

import (
	"fmt"
	"strconv"
	"strings"
)

// Table is rows of cells under a heading. It is what the table form of a listing consists of.
type Table struct {
	Heading []string
	Rows    [][]string
}

// Tabler is anything that can be shown as tables, one below the other.
type Tabler interface{ Tables() []Table }

// Volumes, Nodes and Copysets are listings that can be shown as tables.
type (
	Volumes  []Volume
	Nodes    []Node
	Copysets []Copyset
)

// Tables implements Tabler.
func (vs Volumes) Tables() []Table {
	t := Table{Heading: []string{"ID", "NAME", "SIZE", "STATE", "EPOCH", "CREATED"}}
	for _, v := range vs {
		t.Rows = append(t.Rows, []string{num(v.ID), v.Name, bytesText(v.SizeBytes), v.State,
			num(v.Epoch), v.Created})
	}
	return []Table{t}
}

// Tables implements Tabler.
func (v Volume) Tables() []Table { return Volumes{v}.Tables() }

// Tables implements Tabler.
func (v VolumeDetail) Tables() []Table {
	t := Table{Heading: []string{"SEGMENT", "COPYSETS"}}
	for _, s := range v.Segments {
		t.Rows = append(t.Rows, []string{num(s.Index), numbers(s.Copysets)})
	}
	return append(v.Volume.Tables(), t)
}

// Tables implements Tabler.
func (c Cluster) Tables() []Table {
	head := Table{Rows: [][]string{
		{"cluster", c.ClusterID},
		{"version", c.Version},
		{"health", c.Health},
		{"volumes", num(c.Volumes)},
		{"copysets", fmt.Sprintf("%d, %d with a leader, %d with all replicas caught up",
			c.Copysets, c.CopysetsWithLeader, c.CopysetsFull)},
		{"space", fmt.Sprintf("%s used of %s", bytesText(c.UsedBytes),
			bytesText(c.CapacityBytes))},
	}}
	if c.TrashedVolumes > 0 {
		head.Rows = append(head.Rows, []string{"trash", fmt.Sprintf("%d volumes, for which %s are "+
			"reserved", c.TrashedVolumes, bytesText(c.TrashedBytes))})
	}
	if c.Scrub.Windows != "" {
		head.Rows = append(head.Rows, []string{"scrub", c.Scrub.state()})
	}
	for _, p := range c.Problems {
		head.Rows = append(head.Rows, []string{"problem", p})
	}
	t := Table{Heading: []string{"ROLE", "ID", "PID", "ADDRESS", "STATE"}}
	for _, p := range c.Processes {
		t.Rows = append(t.Rows, []string{p.Role, p.ID, num(p.PID), p.Addr, p.State})
	}
	return []Table{head, t}
}

// Tables implements Tabler.
func (ns Nodes) Tables() []Table {
	t := Table{Heading: []string{"ID", "NAME", "ZONE", "ADDRESS", "PID", "VERSION", "STATE",
		"STORES", "CHUNKS", "USED", "CAPACITY"}}
	for _, n := range ns {
		var used, capacity, chunks uint64
		for _, s := range n.Stores {
			used, capacity, chunks = used+s.UsedBytes, capacity+s.CapacityBytes, chunks+s.Chunks
		}
		state := n.State
		if n.Draining && state == "up" {
			state = "draining"
		}
		t.Rows = append(t.Rows, []string{num(n.ID), n.Name, n.Zone, n.Addr, num(n.PID),
			n.Version, state, strconv.Itoa(len(n.Stores)), num(chunks), bytesText(used),
			bytesText(capacity)})
	}
	return []Table{t}
}

// Tables implements Tabler.
func (cs Copysets) Tables() []Table {
	t := Table{Heading: []string{"ID", "HEALTH", "LEADER", "TERM", "EPOCH", "REPLICA@NODE:STATE"}}
	for _, c := range cs {
		var members []string
		for _, r := range c.Replicas {
			members = append(members, fmt.Sprintf("%d@%s:%s", r.ID, r.Node, r.State))
		}
		t.Rows = append(t.Rows, []string{num(c.ID), c.Health, c.LeaderNode,
			num(c.LeaderTerm), num(c.Epoch), strings.Join(members, " ")})
	}
	return []Table{t}
}

// Tables implements Tabler.
func (c Copyset) Tables() []Table {
	t := Table{Heading: []string{"REPLICA", "NODE", "STORE", "ADDRESS", "STATE", "LEADER", "TERM",
		"COMMIT", "APPLIED", "MATCH"}}
	for _, r := range c.Replicas {
		t.Rows = append(t.Rows, []string{num(r.ID), r.Node, num(r.StoreID), r.Addr, r.State,
			yes(r.Leader), num(r.Term), num(r.CommitIndex), num(r.AppliedIndex),
			num(r.MatchIndex)})
	}
	return append(Copysets{c}.Tables(), t)
}

func num(n uint64) string { return strconv.FormatUint(n, 10) }

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// Tables implements Tabler.
func (v Version) Tables() []Table {
	return []Table{{Rows: [][]string{{"ashlar", v.Version, v.Go, v.Platform}}}}
}
