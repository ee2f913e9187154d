package view

import (
	"fmt"
	"time"

	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// StoreDetail is a store with where it is and what its scrubber has seen.
type StoreDetail struct {
	Store
	NodeID         uint64 `json:"node_id"`
	Node           string `json:"node"`
	Zone           string `json:"zone"`
	LogBytes       uint64 `json:"log_bytes"`
	CorruptBlocks  uint64 `json:"corrupt_blocks"`
	RepairedBlocks uint64 `json:"repaired_blocks"`
	// What has waited longest; times in milliseconds, 0 where nothing waits.
	OldestRequestMS uint64 `json:"oldest_request_ms"`
	OldestCopyset   uint64 `json:"oldest_copyset"`
	OldestOp        string `json:"oldest_op"`
	OldestStage     string `json:"oldest_stage"`
	OldestDeviceMS  uint64 `json:"oldest_device_ms"`
	Late            string `json:"late"`
	Scrub           Scrub  `json:"scrub"`
}

// Scrub is how far a store is with reading all its blocks.
type Scrub struct {
	On               bool     `json:"on"`
	Cycle            uint64   `json:"cycle"`
	Percent          uint64   `json:"percent"`
	Started          string   `json:"started"`
	LastFinished     string   `json:"last_finished"`
	CheckedBlocks    uint64   `json:"checked_blocks"`
	SkippedBlocks    uint64   `json:"skipped_blocks"`
	CycleBadBlocks   uint64   `json:"cycle_bad_blocks"`
	BadBlocks        uint64   `json:"bad_blocks"`
	RepairedBlocks   uint64   `json:"repaired_blocks"`
	UnrepairedBlocks uint64   `json:"unrepaired_blocks"`
	BadMetadata      uint64   `json:"bad_metadata"`
	RepairedMetadata uint64   `json:"repaired_metadata"`
	ComparedBlocks   uint64   `json:"compared_blocks"`
	DivergedBlocks   uint64   `json:"diverged_blocks"`
	Waits            bool     `json:"waits"` // for a window to open
	Opens            string   `json:"opens"` // when one does
	Findings         []string `json:"findings"`
}

// Stores is every store of the cluster.
type Stores []StoreDetail

// FromStores converts a listing of nodes.
func FromStores(nodes []*ashlar.Node) Stores {
	out := Stores{}
	for _, n := range nodes {
		shown := fromNode(n).Stores
		for i, s := range n.GetStores() {
			w := s.GetWaiting()
			out = append(out, StoreDetail{Store: shown[i], NodeID: n.GetNodeId(),
				Node: n.GetName(), Zone: n.GetZone(), LogBytes: s.GetLogBytes(),
				CorruptBlocks: s.GetCorruptBlocks(), RepairedBlocks: s.GetRepairedBlocks(),
				OldestRequestMS: w.GetAgeNs() / 1e6, OldestCopyset: w.GetCopysetId(),
				OldestOp: w.GetOp(), OldestStage: w.GetStage(), Late: w.GetLate(),
				OldestDeviceMS: w.GetDeviceNs() / 1e6,
				Scrub:          fromScrub(s.GetScrub())})
		}
	}
	return out
}

func fromScrub(c *ashlar.Scrub) Scrub {
	return Scrub{On: c.GetOn(), Cycle: c.GetCycle(), Percent: c.GetPercent(),
		Started: stamp(c.GetStartedUnixNs()), LastFinished: stamp(c.GetFinishedUnixNs()),
		CheckedBlocks: c.GetCheckedBlocks(), SkippedBlocks: c.GetSkippedBlocks(),
		CycleBadBlocks: c.GetCycleBadBlocks(), BadBlocks: c.GetBadBlocks(),
		RepairedBlocks: c.GetRepairedBlocks(), UnrepairedBlocks: c.GetUnrepairedBlocks(),
		BadMetadata: c.GetBadMetadata(), RepairedMetadata: c.GetRepairedMetadata(),
		ComparedBlocks: c.GetComparedBlocks(), DivergedBlocks: c.GetDivergedBlocks(),
		Waits: c.GetWaits(), Opens: stamp(c.GetOpensUnixNs()),
		Findings: append([]string{}, c.GetFindings()...)}
}

// Tables implements Tabler.
func (ss Stores) Tables() []Table {
	t := Table{Heading: []string{"ID", "NODE", "STATE", "USED", "CAPACITY", "REPLICAS",
		"CHUNKS", "LOG", "OLDEST I/O", "BAD BLOCKS", "SCRUBBED", "PATH"}}
	for _, s := range ss {
		t.Rows = append(t.Rows, []string{num(s.ID), s.Node, s.State, bytesText(s.UsedBytes),
			bytesText(s.CapacityBytes), num(s.Replicas), num(s.Chunks), bytesText(s.LogBytes),
			ageText(max(s.OldestRequestMS, s.OldestDeviceMS)), num(s.CorruptBlocks),
			s.Scrub.progress(), s.Path})
	}
	return []Table{t}
}

// oldestRequest is what has waited longest for an answer.
func (s StoreDetail) oldestRequest() string {
	switch {
	case s.Late != "":
		return s.Late
	case s.OldestOp == "":
		return ageText(s.OldestRequestMS)
	}
	return fmt.Sprintf("%s, a %s in %s (copyset %d)", ageText(s.OldestRequestMS), s.OldestOp,
		s.OldestStage, s.OldestCopyset)
}

// ageText is short for how long something waits.
func ageText(ms uint64) string {
	if ms == 0 {
		return "-"
	}
	d := time.Duration(ms) * time.Millisecond
	if d >= 10*time.Second {
		d = d.Round(time.Second)
	}
	return d.String()
}

func (c Scrub) progress() string {
	if !c.On {
		return "off"
	}
	text := fmt.Sprintf("%d %% of cycle %d", c.Percent, c.Cycle)
	if c.Waits {
		text += ", waits until " + c.Opens
	}
	return text
}

// Tables implements Tabler.
func (s StoreDetail) Tables() []Table {
	c := s.Scrub
	t := Table{Rows: [][]string{
		{"store", num(s.ID)}, {"uuid", s.UUID},
		{"node", fmt.Sprintf("%s (%d), zone %s", s.Node, s.NodeID, s.Zone)}, {"path", s.Path},
		{"state", s.State}}}
	if s.Detail != "" {
		t.Rows = append(t.Rows, []string{"why", s.Detail})
	}
	t.Rows = append(t.Rows,
		[]string{"space", fmt.Sprintf("%s of %s used, %d chunks", bytesText(s.UsedBytes),
			bytesText(s.CapacityBytes), s.Chunks)},
		[]string{"replicas", num(s.Replicas)},
		[]string{"log", bytesText(s.LogBytes)},
		[]string{"oldest request", s.oldestRequest()},
		[]string{"at the device", ageText(s.OldestDeviceMS)},
		[]string{"bad blocks", fmt.Sprintf("%d since its node started, %d repaired",
			s.CorruptBlocks, s.RepairedBlocks)},
		[]string{"scrubbed", fmt.Sprintf("%s, %d blocks, begun %s, last finished %s", c.progress(),
			c.CheckedBlocks, c.Started, orNever(c.LastFinished))},
		[]string{"found", fmt.Sprintf("%d bad blocks since the store was made, %d repaired, "+
			"%d bad still", c.BadBlocks, c.RepairedBlocks, c.UnrepairedBlocks)})
	if c.BadMetadata > 0 {
		t.Rows = append(t.Rows, []string{"metadata", fmt.Sprintf("lost on the device for %d "+
			"chunks, written anew for %d", c.BadMetadata, c.RepairedMetadata)})
	}
	if c.DivergedBlocks > 0 {
		t.Rows = append(t.Rows, []string{"diverged", fmt.Sprintf("%d blocks differ between "+
			"replicas", c.DivergedBlocks)})
	}
	if c.SkippedBlocks > 0 {
		t.Rows = append(t.Rows, []string{"left out", fmt.Sprintf("%d blocks of this cycle: their "+
			"replica did not answer", c.SkippedBlocks)})
	}
	for _, f := range c.Findings {
		t.Rows = append(t.Rows, []string{"finding", f})
	}
	return []Table{t}
}

func orNever(s string) string {
	if s == "" {
		return "never"
	}
	return s
}
