package server

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/cloudwego/prutal"
	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// fleet is a control plane with many nodes that is told of directly, without a network, and what
// the nodes say when they say everything.
type fleet struct {
	c       *cluster
	clock   *clock
	reports []*v1.HeartbeatNodeRequest
}

const (
	fleetNodes    = 1000
	fleetReplicas = 1000 // of each node
)

// newFleet makes nodes with one store each, in as many zones, and copysets of three over them.
func newFleet(tb testing.TB, nodes, replicas int) *fleet {
	tb.Helper()
	kv, err := meta.OpenPebble(tb.TempDir(),
		meta.PebbleConfig{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { kv.Close() })
	f := &fleet{clock: newClock()}
	cfg := Config{Listen: "127.0.0.1:0", DataDir: "x", Now: f.clock.now, Version: "test",
		Logger: slog.New(slog.DiscardHandler)}.withDefaults()
	if f.c, err = openCluster(cfg, kv); err != nil {
		tb.Fatal(err)
	}
	for i := range nodes {
		id := uint64(i + 1)
		n := f.c.addNode(&v1.Node{NodeId: id, Name: fmt.Sprint("n", id), Zone: fmt.Sprint("z", id),
			Addr: fmt.Sprintf("10.0.%d.%d:7401", i/250, i%250)})
		n.heard, n.wasUp = f.clock.now(), true
		f.c.addStore(&v1.Store{StoreId: id, Uuid: fmt.Sprint("u", id), NodeId: id, Path: "/srv/s0",
			CapacityBytes: 16 << 40})
		f.reports = append(f.reports, &v1.HeartbeatNodeRequest{ClusterId: f.c.id, NodeId: id,
			Stores: []*v1.StoreReport{{StoreId: id, CapacityBytes: 16 << 40, UsedBytes: 1 << 40,
				State: "up", Chunks: 1 << 16, Life: 1, Waiting: &v1.Waiting{}, Space: &v1.Space{},
				Scrub: &v1.Scrub{On: true}}}})
	}
	for g := range nodes * replicas / 3 {
		f.addCopyset(uint64(g+1), nodes)
	}
	return f
}

func (f *fleet) addCopyset(id uint64, nodes int) {
	rec := &v1.Copyset{CopysetId: id, Epoch: 1, PoolId: poolID, LeaderTerm: 5}
	var voters []uint64
	for k := range uint64(3) {
		at := (id*3+k*uint64(1+int(id)%7))%uint64(nodes) + 1
		for slices.ContainsFunc(rec.Replicas, func(m *v1.Replica) bool { return m.NodeId == at }) {
			at = at%uint64(nodes) + 1
		}
		voters = append(voters, id*3+k)
		rec.Replicas = append(rec.Replicas, &v1.Replica{ReplicaId: id*3 + k, StoreId: at,
			NodeId: at, Recorded: true})
	}
	rec.LeaderReplicaId, rec.FoundingReplicaIds = id*3, voters
	rec.PreferredLeaderReplicaId = id * 3
	f.c.addCopyset(rec)
	for k, m := range rec.Replicas {
		r := &v1.ReplicaReport{CopysetId: id, ReplicaId: m.ReplicaId, StoreId: m.StoreId,
			LeaderReplicaId: id * 3, Term: 5, CommitIndex: 1e6, AppliedIndex: 1e6, State: "ok",
			Voters: voters, Recorded: true}
		if k == 0 {
			r.Leader = true
			for _, v := range voters {
				r.Progress = append(r.Progress, &v1.PeerProgress{ReplicaId: v, MatchIndex: 1e6,
					Active: true})
			}
		}
		req := f.reports[m.NodeId-1]
		req.Replicas = append(req.Replicas, r)
	}
}

// encoded are heartbeats as they travel.
func encoded(tb testing.TB, reqs ...*v1.HeartbeatNodeRequest) (beats [][]byte) {
	for _, r := range reqs {
		b, err := prutal.MarshalAppend(nil, r)
		if err != nil {
			tb.Fatal(err)
		}
		beats = append(beats, b)
	}
	return beats
}

// hear takes one as the server does: decoded, handled, and the answer encoded.
func (f *fleet) hear(tb testing.TB, beat []byte) *v1.HeartbeatNodeResponse {
	req := new(v1.HeartbeatNodeRequest)
	if err := prutal.Unmarshal(beat, req); err != nil {
		tb.Fatal(err)
	}
	resp, err := f.c.heartbeatNode(ctx, req)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := prutal.MarshalAppend(nil, resp); err != nil {
		tb.Fatal(err)
	}
	return resp
}

// reduced is a node's heartbeat with what is not known yet.
func reduced(told *admin.Told, full *v1.HeartbeatNodeRequest) *v1.HeartbeatNodeRequest {
	req := *full
	req.Replicas = slices.Clone(full.Replicas)
	told.Reduce(&req)
	return &req
}

// tellAll has each node tell everything, and gives what it remembers of that.
func (f *fleet) tellAll(tb testing.TB) []admin.Told {
	told := make([]admin.Told, len(f.reports))
	for i, full := range f.reports {
		resp := f.hear(tb, encoded(tb, reduced(&told[i], full))[0])
		if told[i].Answered(resp); !resp.TakesPartial {
			tb.Fatal("what was told is not known")
		}
	}
	return told
}

// write moves the log of every copyset of a node on by a few entries.
func write(full *v1.HeartbeatNodeRequest) {
	for _, r := range full.Replicas {
		r.CommitIndex += 7
		r.AppliedIndex += 7
		for _, p := range r.Progress {
			p.MatchIndex += 7
		}
	}
}

// cpuTime is what this process has spent.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// heartbeats measures what it takes to hear heartbeats of a thousand nodes with a thousand replicas
// each, and how many processors that is at two in a second from each. prepare makes the next one.
func heartbeats(b *testing.B, prepare func(f *fleet, told []admin.Told, node int) []byte) {
	f := newFleet(b, fleetNodes, fleetReplicas)
	told := f.tellAll(b)
	const batch = 200
	size, took := 0, time.Duration(0)
	beats := make([][]byte, 0, batch)
	for done := 0; done < b.N; done += len(beats) {
		b.StopTimer()
		beats = beats[:0]
		for i := done; i < min(done+batch, b.N); i++ {
			beats = append(beats, prepare(f, told, i%fleetNodes))
		}
		b.StartTimer()
		before := cpuTime()
		for i, beat := range beats {
			told[(done+i)%fleetNodes].Answered(f.hear(b, beat))
			size += len(beat)
		}
		took += cpuTime() - before
	}
	b.ReportMetric(0, "ns/op") // it has the making of heartbeats in it
	b.ReportMetric(float64(size)/float64(b.N), "B/beat")
	b.ReportMetric(took.Seconds()/float64(b.N)*1e6, "cpu-us/beat")
	b.ReportMetric(took.Seconds()/float64(b.N)*2*fleetNodes, "cores")
}

func BenchmarkHeartbeatOfAThousandReplicas(b *testing.B) {
	b.Run("full", func(b *testing.B) {
		heartbeats(b, func(f *fleet, told []admin.Told, node int) []byte {
			return encoded(b, f.reports[node])[0]
		})
	})
	b.Run("partial/rest", func(b *testing.B) {
		heartbeats(b, func(f *fleet, told []admin.Told, node int) []byte {
			return encoded(b, reduced(&told[node], f.reports[node]))[0]
		})
	})
	b.Run("partial/written", func(b *testing.B) {
		heartbeats(b, func(f *fleet, told []admin.Told, node int) []byte {
			write(f.reports[node])
			return encoded(b, reduced(&told[node], f.reports[node]))[0]
		})
	})
}

func BenchmarkStatusOfAThousandNodes(b *testing.B) {
	f := newFleet(b, fleetNodes, fleetReplicas)
	f.tellAll(b)
	for b.Loop() {
		if _, err := f.c.clusterStatus(nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReduceOfAThousandReplicas is the node's side of a partial heartbeat.
func BenchmarkReduceOfAThousandReplicas(b *testing.B) {
	f := newFleet(b, 3, fleetReplicas)
	told := f.tellAll(b)
	for b.Loop() {
		write(f.reports[0])
		told[0].Answered(&v1.HeartbeatNodeResponse{TakesPartial: true})
		reduced(&told[0], f.reports[0])
	}
}

// BenchmarkScheduleOfAThousandNodes is one turn of the schedulers in which nothing is to be done.
func BenchmarkScheduleOfAThousandNodes(b *testing.B) {
	for _, copysets := range []int{maxCopysets, fleetNodes * fleetReplicas / 3} {
		b.Run(fmt.Sprint(copysets), func(b *testing.B) {
			f := newFleet(b, fleetNodes, copysets*3/fleetNodes)
			f.tellAll(b)
			f.c.turn() // takes all copysets over
			before, rounds := cpuTime(), 0
			for b.Loop() {
				rounds++
				f.c.turn()
			}
			took := (cpuTime() - before).Seconds() / float64(rounds)
			b.ReportMetric(took*1e3, "cpu-ms/round")
		})
	}
}

// BenchmarkVolumeOfAThousandNodes makes a volume of a tebibyte.
func BenchmarkVolumeOfAThousandNodes(b *testing.B) {
	f := newFleet(b, fleetNodes, fleetReplicas)
	f.tellAll(b)
	for i := 0; b.Loop(); i++ {
		_, err := f.c.createVolume(&v1.CreateVolumeRequest{Name: fmt.Sprint("v", i),
			SizeBytes: 1 << 40})
		if err != nil {
			b.Fatal(err)
		}
	}
}
