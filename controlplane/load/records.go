package load

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// batch is how many records go in one transaction.
const batch = 4096

// write makes the metadata of a cluster in a directory, and returns its copysets and its identity.
func write(c config, dir string) (recs []*v1.Copyset, id string, err error) {
	kv, err := meta.OpenPebble(dir, meta.PebbleConfig{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, "", fmt.Errorf("load: %w", err)
	}
	defer func() {
		if e := kv.Close(); err == nil && e != nil {
			err = fmt.Errorf("load: %w", e)
		}
	}()
	ident, err := meta.Init(context.Background(), kv)
	if err != nil {
		return nil, "", fmt.Errorf("load: %w", err)
	}
	recs = copysets(c)
	err = kv.Update(context.Background(), func(tx meta.Tx) error { return writeNodes(tx, c, recs) })
	for at := 0; at < len(recs) && err == nil; at += batch {
		err = kv.Update(context.Background(), func(tx meta.Tx) error {
			for _, rec := range recs[at:min(at+batch, len(recs))] {
				if err := meta.Copysets.Put(tx, meta.ID(rec.CopysetId), rec); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return nil, "", fmt.Errorf("load: write the metadata: %w", err)
	}
	return recs, ident.ClusterID, nil
}

// writeNodes writes the nodes, their stores, and the numbers that were given out.
func writeNodes(tx meta.Tx, c config, recs []*v1.Copyset) error {
	for i := range c.nodes {
		id := uint64(i + 1)
		n := &v1.Node{NodeId: id, Name: fmt.Sprint("n", id), Zone: fmt.Sprint("z", i%c.zones),
			Addr: fmt.Sprintf("10.%d.%d.1:7401", i/250, i%250)}
		if err := meta.Nodes.Put(tx, meta.ID(id), n); err != nil {
			return err
		}
		s := &v1.Store{StoreId: id, Uuid: fmt.Sprintf("00000000-0000-0000-0000-%012d", id),
			NodeId: id, Path: "/srv/s0", CapacityBytes: capacity}
		if err := meta.Stores.Put(tx, meta.ID(id), s); err != nil {
			return err
		}
	}
	sets := uint64(len(recs))
	for counter, last := range map[meta.Counter]uint64{meta.CounterNode: uint64(c.nodes),
		meta.CounterStore: uint64(c.nodes), meta.CounterCopyset: sets,
		meta.CounterReplica: sets * members, meta.CounterTopology: topology} {
		if err := meta.Raise(tx, counter, last); err != nil {
			return err
		}
	}
	return nil
}

// copysets draws as many as the nodes have replicas, each in three zones, and as many on each node.
func copysets(c config) []*v1.Copyset {
	rng := rand.New(rand.NewPCG(c.seed, 1))
	var plan []schedule.Copyset
	for len(plan) < c.nodes*c.replicas/members {
		left := rng.Perm(c.nodes) // a replica for each
		for len(left) >= members && len(plan) < c.nodes*c.replicas/members {
			set, ok := take(left, c.zones)
			if !ok {
				break
			}
			g := schedule.Copyset{ID: uint64(len(plan) + 1)}
			for k, at := range set {
				g.Replicas = append(g.Replicas, schedule.Replica{Store: uint64(at + 1),
					ID: uint64(len(plan)*members + k + 1)})
			}
			plan, left = append(plan, g), left[members:]
		}
	}
	preferred := schedule.Spread(plan)
	recs := make([]*v1.Copyset, 0, len(plan))
	for _, g := range plan {
		rec := &v1.Copyset{CopysetId: g.ID, Epoch: 1, PoolId: 1, LeaderTerm: 1,
			LeaderReplicaId: preferred[g.ID], PreferredLeaderReplicaId: preferred[g.ID]}
		for _, m := range g.Replicas {
			rec.Replicas = append(rec.Replicas, &v1.Replica{ReplicaId: m.ID, StoreId: m.Store,
				NodeId: m.Store, Recorded: true})
			rec.FoundingReplicaIds = append(rec.FoundingReplicaIds, m.ID)
		}
		recs = append(recs, rec)
	}
	return recs
}

// take brings three nodes of three zones to the front of left; not ok where there are none.
func take(left []int, zones int) (set []int, ok bool) {
	used := map[int]bool{}
	n := 0
	for i := 0; i < len(left) && n < members; i++ {
		if zone := left[i] % zones; !used[zone] {
			used[zone] = true
			left[n], left[i] = left[i], left[n]
			n++
		}
	}
	return left[:n], n == members
}
