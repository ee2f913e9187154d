package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Volume is one block device.
type Volume struct {
	ID           uint64 `json:"id"`
	Name         string `json:"name"`
	SizeBytes    uint64 `json:"size_bytes"`
	SegmentBytes uint64 `json:"segment_bytes"`
	ChunkBytes   uint64 `json:"chunk_bytes"`
	PoolID       uint64 `json:"pool_id"`
	Epoch        uint64 `json:"epoch"`
	Created      string `json:"created"`
	State        string `json:"state"`
}

// VolumeDetail is a volume with its mapping.
type VolumeDetail struct {
	Volume
	Segments []Segment `json:"segments"`
}

// Segment maps a part of a volume to copysets.
type Segment struct {
	Index    uint64   `json:"index"`
	Copysets []uint64 `json:"copysets"`
}

// Process is one operating-system process of the cluster.
type Process struct {
	Role  string `json:"role"`
	ID    string `json:"id"`
	PID   uint64 `json:"pid"`
	Addr  string `json:"addr"`
	State string `json:"state"`
}

// Cluster is the answer to "is it well".
type Cluster struct {
	ClusterID          string    `json:"cluster_id"`
	Version            string    `json:"version"`
	Health             string    `json:"health"`
	Problems           []string  `json:"problems"`
	Volumes            uint64    `json:"volumes"`
	Copysets           uint64    `json:"copysets"`
	CopysetsWithLeader uint64    `json:"copysets_with_leader"`
	CopysetsFull       uint64    `json:"copysets_full"`
	CapacityBytes      uint64    `json:"capacity_bytes"`
	UsedBytes          uint64    `json:"used_bytes"`
	TrashedVolumes     uint64    `json:"trashed_volumes"`
	TrashedBytes       uint64    `json:"trashed_bytes"` // of the capacity, with all copies
	Processes          []Process `json:"processes"`
	Features           []Feature `json:"features"`
	Scrub              ScrubTime `json:"scrub"`
}

// Feature is something that not every release has.
type Feature struct {
	Name    string   `json:"name"`
	About   string   `json:"about"`
	On      bool     `json:"on"`
	Lacking []string `json:"lacking"` // nodes, the first ones
}

// Store is one disk of a node.
type Store struct {
	ID            uint64 `json:"id"`
	UUID          string `json:"uuid"`
	Path          string `json:"path"`
	CapacityBytes uint64 `json:"capacity_bytes"`
	UsedBytes     uint64 `json:"used_bytes"`
	Chunks        uint64 `json:"chunks"`
	State         string `json:"state"`
	Detail        string `json:"detail"`
	Replicas      uint64 `json:"replicas"`
	Draining      bool   `json:"draining"`
}

// Node is one data-plane process.
type Node struct {
	ID            uint64  `json:"id"`
	Name          string  `json:"name"`
	Zone          string  `json:"zone"`
	Addr          string  `json:"addr"`
	PID           uint64  `json:"pid"`
	Version       string  `json:"version"`
	Level         uint64  `json:"level"`
	State         string  `json:"state"`
	LastHeartbeat string  `json:"last_heartbeat"`
	Draining      bool    `json:"draining"`
	Stores        []Store `json:"stores"`
}

// Replica is one member of a copyset as its node last reported it.
type Replica struct {
	ID           uint64 `json:"id"`
	StoreID      uint64 `json:"store_id"`
	NodeID       uint64 `json:"node_id"`
	Node         string `json:"node"`
	Addr         string `json:"addr"`
	Leader       bool   `json:"leader"`
	Term         uint64 `json:"term"`
	CommitIndex  uint64 `json:"commit_index"`
	AppliedIndex uint64 `json:"applied_index"`
	MatchIndex   uint64 `json:"match_index"` // as the leader knows it
	State        string `json:"state"`
}

// Copyset is one raft group.
type Copyset struct {
	ID              uint64    `json:"id"`
	PoolID          uint64    `json:"pool_id"`
	Epoch           uint64    `json:"epoch"`
	LeaderReplicaID uint64    `json:"leader_replica_id"`
	LeaderNodeID    uint64    `json:"leader_node_id"`
	LeaderNode      string    `json:"leader_node"`
	LeaderTerm      uint64    `json:"leader_term"`
	Health          string    `json:"health"`
	Replicas        []Replica `json:"replicas"`
}

func stamp(unixNS int64) string {
	if unixNS <= 0 {
		return ""
	}
	return time.Unix(0, unixNS).UTC().Format(time.RFC3339)
}

// FromVolume converts a volume.
func FromVolume(v *ashlar.Volume) Volume {
	return Volume{ID: v.GetVolumeId(), Name: v.GetName(), SizeBytes: v.GetSizeBytes(),
		SegmentBytes: v.GetSegmentBytes(), ChunkBytes: v.GetChunkBytes(), PoolID: v.GetPoolId(),
		Epoch: v.GetEpoch(), Created: stamp(v.GetCreatedUnixNs()), State: v.GetState()}
}

// FromVolumes converts a listing; the result is never nil, so that JSON says [].
func FromVolumes(in []*ashlar.Volume) []Volume { return convert(in, FromVolume) }

// FromVolumeDetail converts a volume and its mapping.
func FromVolumeDetail(r *ashlar.GetVolumeResponse) VolumeDetail {
	segments := convert(r.GetSegments(), func(s *ashlar.Segment) Segment {
		return Segment{Index: s.GetIndex(), Copysets: append([]uint64{}, s.GetCopysetIds()...)}
	})
	return VolumeDetail{Volume: FromVolume(r.GetVolume()), Segments: segments}
}

// FromCluster converts a status.
func FromCluster(s *ashlar.ClusterStatusResponse) Cluster {
	return Cluster{
		ClusterID: s.GetClusterId(), Version: s.GetVersion(), Health: s.GetHealth(),
		Problems: append([]string{}, s.GetProblems()...), Volumes: s.GetVolumes(),
		Copysets: s.GetCopysets(), CopysetsWithLeader: s.GetCopysetsWithLeader(),
		CopysetsFull: s.GetCopysetsFull(), CapacityBytes: s.GetCapacityBytes(),
		UsedBytes: s.GetUsedBytes(), TrashedVolumes: s.GetTrashedVolumes(),
		TrashedBytes: s.GetTrashedBytes(),
		Processes: convert(s.GetProcesses(), func(p *ashlar.Process) Process {
			return Process{Role: p.GetRole(), ID: p.GetId(), PID: p.GetPid(), Addr: p.GetAddr(),
				State: p.GetState()}
		}),
		Scrub: FromScrubTime(s.GetScrub()),
		Features: convert(s.GetFeatures(), func(f *ashlar.Feature) Feature {
			return Feature{Name: f.GetName(), About: f.GetAbout(), On: f.GetOn(),
				Lacking: append([]string{}, f.GetLacking()...)}
		}),
	}
}

// FromNodes converts a listing.
func FromNodes(in []*ashlar.Node) []Node { return convert(in, fromNode) }

func fromNode(n *ashlar.Node) Node {
	return Node{ID: n.GetNodeId(), Name: n.GetName(), Zone: n.GetZone(), Addr: n.GetAddr(),
		PID: n.GetPid(), Version: n.GetVersion(), Level: max(1, n.GetLevel()),
		State:         n.GetState(),
		LastHeartbeat: stamp(n.GetLastHeartbeatUnixNs()), Draining: n.GetDraining(),
		Stores: convert(n.GetStores(), func(s *ashlar.Store) Store {
			return Store{ID: s.GetStoreId(), UUID: s.GetUuid(), Path: s.GetPath(),
				CapacityBytes: s.GetCapacityBytes(), UsedBytes: s.GetUsedBytes(),
				Chunks: s.GetChunks(), State: s.GetState(), Detail: s.GetDetail(),
				Replicas: s.GetReplicas(), Draining: s.GetDraining()}
		})}
}

// Names gives nodes their names by their ids.
type Names map[uint64]string

// NamesOf collects the names of a listing.
func NamesOf(nodes []*ashlar.Node) Names {
	names := Names{}
	for _, n := range nodes {
		names[n.GetNodeId()] = n.GetName()
	}
	return names
}

// FromCopysets converts a listing.
func FromCopysets(in []*ashlar.CopysetStatus, names Names) []Copyset {
	return convert(in, func(s *ashlar.CopysetStatus) Copyset { return FromCopyset(s, names) })
}

// FromCopyset joins the members of a copyset with what their nodes reported.
func FromCopyset(s *ashlar.CopysetStatus, names Names) Copyset {
	c := s.GetCopyset()
	out := Copyset{ID: c.GetCopysetId(), PoolID: c.GetPoolId(), Epoch: c.GetEpoch(),
		LeaderReplicaID: c.GetLeaderReplicaId(), LeaderTerm: c.GetLeaderTerm(),
		Health: s.GetHealth()}
	reports := map[uint64]*ashlar.ReplicaReport{}
	match := map[uint64]uint64{}
	for _, r := range s.GetReplicas() {
		reports[r.GetReplicaId()] = r
		if r.GetReplicaId() == out.LeaderReplicaID {
			for _, p := range r.GetProgress() {
				match[p.GetReplicaId()] = p.GetMatchIndex()
			}
		}
	}
	out.Replicas = convert(admin.Members(c), func(r *ashlar.Replica) Replica {
		report := reports[r.GetReplicaId()]
		if r.GetReplicaId() == out.LeaderReplicaID {
			out.LeaderNodeID, out.LeaderNode = r.GetNodeId(), names[r.GetNodeId()]
		}
		state := report.GetState()
		switch {
		case r.GetReplicaId() == c.GetLeavingReplicaId():
			state = leavingState(c)
		case r.GetReplicaId() == c.GetJoining().GetReplicaId():
			state = "joining"
		case report == nil:
			state = "unknown"
		}
		return Replica{ID: r.GetReplicaId(), StoreID: r.GetStoreId(), NodeID: r.GetNodeId(),
			Node: names[r.GetNodeId()], Addr: r.GetAddr(), Leader: report.GetLeader(),
			Term: report.GetTerm(), CommitIndex: report.GetCommitIndex(),
			AppliedIndex: report.GetAppliedIndex(), MatchIndex: match[r.GetReplicaId()],
			State: state}
	})
	return out
}

// leavingState is the state of a replica whose place another takes.
func leavingState(c *ashlar.Copyset) string {
	switch c.GetChangeKind() {
	case "", "replace-replica":
		return "damaged"
	case "recover-replica":
		return "lost"
	}
	return "leaving"
}

func convert[I, O any](in []I, f func(I) O) []O {
	out := make([]O, 0, len(in))
	for _, v := range in {
		out = append(out, f(v))
	}
	return out
}

func bytesText(n uint64) string { return humanize.IBytes(n) }

func numbers(ids []uint64) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = fmt.Sprint(id)
	}
	return strings.Join(words, ",")
}

// Version is what `ashlar version` shows.
type Version struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}
