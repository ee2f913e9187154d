package view

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/perf/compare"
	"github.com/ashlar-storage/ashlar/perf/floor"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files instead of comparing")

const noon = 1_750_000_000_000_000_000

func volumes() []*ashlar.Volume {
	return []*ashlar.Volume{
		{VolumeId: 1, Name: "vol", SizeBytes: 4 << 30, SegmentBytes: 1 << 30,
			ChunkBytes: 16 << 20, PoolId: 1, Epoch: 3, CreatedUnixNs: noon, State: "ok"},
		{VolumeId: 2, Name: "1e3", SizeBytes: 4096, State: "deleting"},
	}
}

func copyset() *ashlar.CopysetStatus {
	return &ashlar.CopysetStatus{
		Copyset: &ashlar.Copyset{CopysetId: 7, Epoch: 1, LeaderReplicaId: 21, LeaderTerm: 4,
			PoolId: 1, Replicas: []*ashlar.Replica{
				{ReplicaId: 21, StoreId: 1, NodeId: 1, Addr: "127.0.0.1:7401"},
				{ReplicaId: 22, StoreId: 2, NodeId: 2, Addr: "127.0.0.1:7402"},
				{ReplicaId: 23, StoreId: 3, NodeId: 3, Addr: "127.0.0.1:7403"}}},
		Replicas: []*ashlar.ReplicaReport{
			{CopysetId: 7, ReplicaId: 21, StoreId: 1, Leader: true, LeaderReplicaId: 21, Term: 4,
				CommitIndex: 90, AppliedIndex: 90, State: "ok", Progress: []*ashlar.PeerProgress{
					{ReplicaId: 21, MatchIndex: 90, Active: true},
					{ReplicaId: 22, MatchIndex: 70, Active: true}}},
			{CopysetId: 7, ReplicaId: 22, StoreId: 2, LeaderReplicaId: 21, Term: 4,
				CommitIndex: 70, AppliedIndex: 69, State: "catching-up"}},
		Health: "degraded",
	}
}

func storeNodes() []*ashlar.Node {
	return []*ashlar.Node{{NodeId: 1, Name: "n1", Zone: "z1", Stores: []*ashlar.Store{
		{StoreId: 4, Uuid: "u-4", Path: "/srv/disk0", CapacityBytes: 100 << 30,
			UsedBytes: 3 << 30, Chunks: 190, State: "stalled", Detail: "the device hangs",
			LogBytes: 70 << 20, CorruptBlocks: 2, RepairedBlocks: 2,
			Waiting: &ashlar.Waiting{AgeNs: 42_300e6, CopysetId: 17, Op: "write",
				Stage: "commit", DeviceNs: 42_200e6, Late: "a write has waited 42.3s for the " +
					"logs of a majority (copyset 17)"},
			Scrub: &ashlar.Scrub{On: true,
				Cycle: 3, Percent: 40, StartedUnixNs: noon, FinishedUnixNs: noon - 7*86400e9,
				CheckedBlocks: 300000, BadBlocks: 5, RepairedBlocks: 4, CycleBadBlocks: 2,
				SkippedBlocks: 4096, UnrepairedBlocks: 1, BadMetadata: 1, RepairedMetadata: 1,
				ComparedBlocks: 200000, DivergedBlocks: 3,
				Findings: []string{"2025-06-15T15:06:40Z: copyset 3, volume 1, chunk 7: bad " +
					"blocks [9]: replaced by another replica's"}}},
		{StoreId: 5, Uuid: "u-5", Path: "/srv/disk1", State: "up", Waiting: &ashlar.Waiting{
			AgeNs: 3e6, CopysetId: 2, Op: "read", Stage: "read"}}}}}
}

func operators() *ashlar.ListOperatorsResponse {
	return &ashlar.ListOperatorsResponse{Running: 1, Waiting: 3, Operators: []*ashlar.Operator{
		{Kind: "recover-replica", CopysetId: 7, FromReplicaId: 23, FromStoreId: 3, FromNode: "n3",
			ToReplicaId: 40, ToStoreId: 4, ToNode: "n4", SinceUnixNs: noon, State: "running",
			Progress: "120 entries behind", Reason: "store 3 is lost, 2 of 3 are good"},
		{Kind: "drain-replica", CopysetId: 8, FromReplicaId: 24, FromStoreId: 1, FromNode: "n1",
			SinceUnixNs: noon, State: "waiting", Reason: "store 1 gives 2 away already"}}}
}

// documents is every document that -o writes.
func documents() map[string]Tabler {
	all := namespaceDocuments()
	maps.Copy(all, clusterDocuments())
	maps.Copy(all, scheduleDocuments())
	return all
}

func namespaceDocuments() map[string]Tabler {
	return map[string]Tabler{
		"directories": FromDirectories([]*ashlar.Directory{{DirectoryId: 4, Path: "prod",
			CreatedUnixNs: noon, Volumes: 2, Directories: 1},
			{DirectoryId: 5, Path: "prod/db", CreatedUnixNs: noon}}),
		"directory": FromDirectory(&ashlar.Directory{DirectoryId: 4, Path: "prod",
			CreatedUnixNs: noon, Volumes: 2, Directories: 1}),
		"removed": Removed{"prod/db"},
		"events": FromEvents([]*ashlar.Event{{EventId: 41, TimeUnixNs: noon + 250e6,
			Severity: "warning", Kind: "node-offline", Object: "node", ObjectId: 3, Name: "n3",
			Text: "node n3 (127.0.0.1:7403) is offline: nothing heard for 3s"},
			{EventId: 42, TimeUnixNs: noon + 9e9, Severity: "info", Kind: "volume-trashed",
				Object: "volume", ObjectId: 6, Name: "prod/db/old", Text: "volume prod/db/old " +
					"was deleted and can be restored until 2025-06-16T15:06:40Z"}}),
		"explanation": FromExplanation(&ashlar.ExplainResponse{Object: "copyset", ObjectId: 7,
			State: "unavailable", Summary: "copyset 7 has no leader: 1 of its 3 replicas run, " +
				"and it needs 2", Why: []string{"node n2 is offline: last heartbeat 8s ago",
				"node n3 is offline: last heartbeat 12s ago"},
			WaitsFor: []string{"1 more of its replicas"}}),
	}
}

func scheduleDocuments() map[string]Tabler {
	return map[string]Tabler{
		"operators": FromOperators(operators()),
		"scrub": FromScrubTime(&ashlar.ScrubWindows{PoolId: 1, Windows: "22:00-06:00",
			Zone: "+02:00", SetUnixNs: noon, Note: "quiet days", OpensUnixNs: noon + 5*3600e9,
			Lacking: []string{"n3 (v1)"}}),
		"limits": FromLimits([]*ashlar.Limit{{Name: "lost-after", Value: "1h0m0s",
			DefaultValue: "15m0s", Least: "1s", Most: "720h0m0s", SetUnixNs: noon,
			Note: "the racks of room 2 move", About: "how long a store is waited for before its " +
				"replicas move"}, {Name: "store-fills", Value: "4", DefaultValue: "4", Least: "0",
			Most: "1024", About: "new replicas that one store fills at a time"}}),
		"operator": FromOperator(&ashlar.Operator{Kind: "drain-replica", CopysetId: 7,
			FromReplicaId: 23, FromStoreId: 3, FromNode: "n3", ToReplicaId: 40, ToStoreId: 4,
			ToNode: "n4", SinceUnixNs: noon, State: "cancelling",
			Progress: "the leader removes the new member", Reason: "store 3 is draining"}),
		"schedulers": FromSchedulers([]*ashlar.Scheduler{{Kind: "drain-replica", Running: 2,
			Waiting: 9, About: "draining stores give their replicas to others",
			Limits: "2 of a store at a time"}, {Kind: "recover-replica", Paused: true,
			PausedUnixNs: noon, Note: "the racks of room 2 move", Limits: "after 15m0s"}}),
	}
}

func clusterDocuments() map[string]Tabler {
	names := NamesOf([]*ashlar.Node{{NodeId: 1, Name: "a"}, {NodeId: 2, Name: "b"}})
	return map[string]Tabler{
		"volumes": Volumes(FromVolumes(volumes())),
		"empty":   Volumes(FromVolumes(nil)),
		"volume": FromVolumeDetail(&ashlar.GetVolumeResponse{Volume: volumes()[0],
			Segments: []*ashlar.Segment{{Index: 0, CopysetIds: []uint64{7, 8}}, {Index: 1}}}),
		"cluster": FromCluster(&ashlar.ClusterStatusResponse{ClusterId: "c-1", Version: "v1",
			Health: "degraded", Problems: []string{"node n3 is offline: no heartbeat for 4 s"},
			Volumes: 1, Copysets: 12, CopysetsWithLeader: 12, CopysetsFull: 8,
			CapacityBytes: 300 << 30, UsedBytes: 5 << 30, TrashedVolumes: 2,
			TrashedBytes: 24 << 30, Processes: []*ashlar.Process{
				{Role: "control", Id: "control", Pid: 10, Addr: "127.0.0.1:7400", State: "up"},
				{Role: "node", Id: "n3", Pid: 13, Addr: "127.0.0.1:7403",
					State: "offline"}}, Features: []*ashlar.Feature{{Bit: 1,
				Name: "partial-heartbeats", About: "heartbeats tell what changed, and not all",
				Lacking: []string{"n3 (v0)"}}}, Scrub: &ashlar.ScrubWindows{
				Windows: "22:00-06:00", OpensUnixNs: noon + 7*3600e9}}),
		"attachments": FromAttachments([]*ashlar.Attachment{
			{SessionId: 9, Epoch: 3, Client: "gateway g1", OpenedUnixNs: noon, State: "ok",
				LeaseLeftMs: 29_700},
			{SessionId: 8, Epoch: 2, ReadOnly: true, Client: "backup", OpenedUnixNs: noon - 5e9,
				State: "silent", LeaseLeftMs: -4_100},
			{SessionId: 4, Epoch: 2, Client: "gateway g0", OpenedUnixNs: noon - 9e9,
				State: "fenced", LeaseLeftMs: 12_000}}),
		"stores": FromStores(storeNodes()), "store": FromStores(storeNodes())[0],
		"df": FromSpace(spaceAnswer()),
		"nodes": Nodes(FromNodes([]*ashlar.Node{{NodeId: 1, Name: "n1", Zone: "n1",
			Addr: "127.0.0.1:7401", Pid: 11, Version: "v1", State: "up",
			LastHeartbeatUnixNs: noon, Stores: []*ashlar.Store{{StoreId: 1, Uuid: "u-1",
				NodeId: 1, Path: "store0", CapacityBytes: 100 << 30, UsedBytes: 1 << 30,
				Chunks: 64, State: "draining", Draining: true, Replicas: 9}}, Draining: true}})),
		"copysets": Copysets(FromCopysets([]*ashlar.CopysetStatus{copyset()}, names)),
		"copyset":  FromCopyset(copyset(), names),
		"moved": FromMoved(meta.Moved{ClusterID: "c-1", Keys: 70_000, Bytes: 11 << 20,
			SHA256: "9f86d081884c7d65"}, "etcd 10.0.0.1:2379 /ashlar/"),
		"version": Version{"v1", "go1", "linux/amd64"},
		"token": Token{Owner: "alice", Role: "tracer", Token: "XWmDdvl2M",
			Line: "tracer alice db9a6f20"},

		"pool-durability": FromPoolDurability(poolDurability()),
		"pool-plan":       poolPlan(),
		"pool-growth": FromPoolGrowth(&ashlar.GrowPoolResponse{PoolId: 1, CopysetsBefore: 12,
			Copysets: 24, Stores: 12}),
		"pool-large-enough": FromPoolGrowth(&ashlar.GrowPoolResponse{PoolId: 1,
			CopysetsBefore: 24, Copysets: 24, Stores: 12}),

		"rdma": rdmaDoctor(), "no-rdma": RDMA{Memlock: "unlimited", Devices: []RDMADevice{},
			Checks: []RDMACheck{}, Problems: []RDMAProblem{{Problem: "built without",
				Fix: "build"}}},

		"store-check": FromCheck(checkReport()),
		"log-dump":    FromLog("/srv/store0", logDump()),
		"chunk-dump":  FromChunk(chunkDump()),

		"deleted": FromDeleted(trash()[0].Volume), "trash": FromTrash(trash()),

		"formatted": FormattedStore{Path: "/dev/vdb", CapacityBytes: 100 << 30, Files: 12_800},
		"check": Check{Volume: "check-1", Seconds: 30.2, Operations: 51_000,
			Verdict: "linearizable", QuietMS: 14.25, Strikes: []Strike{{AtSeconds: 5.1,
				Kind: "kill", Node: "n2", PID: 4711, LongestMS: 902.5}}},
		"floor": Floor{floorFigures()}, "comparison": Comparison(comparison()),
	}
}

func trash() []*ashlar.Trashed {
	return []*ashlar.Trashed{{ReservedBytes: 12 << 30, Volume: &ashlar.Volume{VolumeId: 6,
		Name: "prod/db/old", SizeBytes: 4 << 30, State: "trashed", TrashedUnixNs: noon,
		PurgeUnixNs: noon + 86400e9}}, {ReservedBytes: 12288, Volume: &ashlar.Volume{VolumeId: 8,
		Name: "tmp", SizeBytes: 4096, State: "deleting"}}}
}

func floorFigures() floor.Floor {
	of := func(us float64) floor.Figures {
		return floor.Figures{IOPS: 1e6 / us, P50: us, P99: 2 * us, P999: 3 * us, Mean: us + 5}
	}
	return floor.Floor{When: time.Unix(0, noon).UTC(), Dir: "/srv", Block: 4096, Read: of(50),
		Write: of(125), ReadQ: of(10), WriteQ: of(20), Trip: of(40),
		CPU: floor.CPU{CRC: 160, Copy: 90, Syscall: 220, Switch: 600, Clock: 55}}
}

func comparison() []compare.Line {
	return []compare.Line{{Job: "w", Metric: "write iops", Change: 10, P: 0.028,
		Verdict: "better", A: compare.Spread{Runs: 4, Median: 1000, Low: 990, High: 1010},
		B: compare.Spread{Runs: 4, Median: 1100, Low: 1090, High: 1110}}}
}

func TestListingsMatchTheirGoldenFiles(t *testing.T) {
	for name, doc := range documents() {
		for _, format := range Formats {
			var got bytes.Buffer
			if err := Write(&got, format, doc); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+"."+format)
			if *rewrite {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s: got\n%s\nwant\n%s", path, got.Bytes(), want)
			}
		}
	}
}

func TestYAMLAndJSONAreTheSameDocument(t *testing.T) {
	for name, doc := range documents() {
		var j, y bytes.Buffer
		if err := Write(&j, "json", doc); err != nil {
			t.Fatal(err)
		}
		if err := Write(&y, "yaml", doc); err != nil {
			t.Fatal(err)
		}
		var fromYAML any
		if err := yaml.Unmarshal(y.Bytes(), &fromYAML); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := json.MarshalIndent(fromYAML, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if json.Unmarshal(j.Bytes(), &a) != nil || json.Unmarshal(again, &b) != nil {
			t.Fatal("not JSON")
		}
		x, _ := json.Marshal(a)
		z, _ := json.Marshal(b)
		if !bytes.Equal(x, z) {
			t.Errorf("%s: YAML reads as %s, JSON is %s", name, z, x)
		}
	}
}

func TestDocumentsOfAStreamAreToldApart(t *testing.T) {
	for format, want := range map[string]string{
		"json":  "{\"removed\":\"a\"}\n{\"removed\":\"b\"}\n",
		"yaml":  "---\nremoved: a\n---\nremoved: b\n",
		"table": "removed  a\nremoved  b\n",
	} {
		var got bytes.Buffer
		for _, what := range []string{"a", "b"} {
			if err := WriteOne(&got, format, Removed{what}); err != nil {
				t.Fatal(err)
			}
		}
		if got.String() != want {
			t.Errorf("%s: %q, want %q", format, got.String(), want)
		}
	}
}

func TestUnknownFormatIsRefusedNamingTheKnownOnes(t *testing.T) {
	if err := Write(&bytes.Buffer{}, "xml", Volumes{}); err == nil {
		t.Error("accepted")
	}
	if KnownFormat("xml") || !KnownFormat("json") {
		t.Error("KnownFormat disagrees with Formats")
	}
}
