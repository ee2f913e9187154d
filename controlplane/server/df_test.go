package server

import (
	"strings"
	"testing"
	"time"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// spaceOf is what a fake node says of its store: so many chunks of one volume.
func spaceOf(version, volume, chunks uint64, list bool) *v1.Space {
	sp := &v1.Space{ChunkBytes: chunks << 24, ReadyBytes: 1 << 24, LogBytes: 1 << 26,
		ChunkFileBytes: 1 << 24, VolumesVersion: version}
	if list {
		sp.VolumesPresent = true
		sp.Volumes = []*v1.VolumeChunks{{VolumeId: volume, Chunks: chunks}}
	}
	return sp
}

func (w *world) space() *v1.GetSpaceResponse {
	w.t.Helper()
	r, err := w.Admin.GetSpace(ctx, &v1.GetSpaceRequest{})
	w.ok(err)
	return r
}

func TestSpaceIsWhatTheStoresSayOfTheirVolumes(t *testing.T) {
	w := newWorld(t, 3, nil)
	v := w.create("v", 8<<30)
	for i, n := range w.nodes {
		n.used, n.space = uint64(i+1)<<24, spaceOf(7, v.VolumeId, uint64(i+1), true)
	}
	w.beat()
	r := w.space()
	pool := r.Pools[0]
	if len(r.Stores) != 3 || len(r.Volumes) != 1 || pool.Replicas != 3 || pool.Volumes != 1 ||
		pool.ProvisionedBytes != 8<<30 || pool.CapacityBytes != 300<<30 ||
		pool.UsedBytes != 6<<24 || pool.FreeBytes != 300<<30-6<<24 {
		t.Errorf("pool %v", pool)
	}
	if got := r.Volumes[0]; got.Chunks != 6 || got.UsedBytes != 6<<24 ||
		got.ProvisionedBytes != 8<<30 || got.Name != "v" {
		t.Errorf("volume %v", got)
	}
	if s := r.Stores[2]; s.Node != "n3" || s.UsedBytes != 3<<24 || s.Level != levelOK ||
		s.Space.GetLogBytes() != 1<<26 || len(s.Space.GetVolumes()) != 0 {
		t.Errorf("store %v", s)
	}
}

func TestListsOfVolumesAreAskedForWhereTheyLackAndNotWhileTheyCome(t *testing.T) {
	w := newWorld(t, 3, nil)
	n := w.nodes[0]
	for _, step := range []struct {
		name    string
		space   *v1.Space
		restart bool
		pass    time.Duration
		want    bool
	}{
		{"a store that has sent none", spaceOf(7, 1, 2, false), false, 0, true},
		{"one that has", spaceOf(7, 1, 2, true), false, 0, false},
		{"and did not change", spaceOf(7, 1, 2, false), false, time.Hour, false},
		{"one that changed after an hour", spaceOf(8, 1, 3, false), false, 0, true},
		{"sent", spaceOf(8, 1, 3, true), false, 0, false},
		{"changed just now", spaceOf(9, 1, 3, false), false, time.Second, false},
		{"long ago", spaceOf(9, 1, 3, false), false, wantVolumes, true},
		{"sent again", spaceOf(9, 1, 3, true), false, 0, false},
		{"to a control plane that starts", spaceOf(9, 1, 3, false), true, 0, true},
	} {
		if step.restart {
			w.restart()
		}
		w.clock.pass(step.pass)
		n.space = step.space
		w.beat(n)
		if got := n.last.WantVolumes; got != step.want {
			t.Errorf("%s: asked for %v, want %v", step.name, got, step.want)
		}
	}
}

func TestStoresThatFillUpAreToldOfAndTakeNoMoreThanTheirMark(t *testing.T) {
	w := newWorld(t, 3, nil)
	for _, n := range w.nodes {
		n.space = &v1.Space{ChunkFileBytes: 1 << 24, HighBytes: 85 << 30, FullBytes: 95 << 30}
	}
	n := w.nodes[1]
	for _, step := range []struct {
		used  uint64
		level string
		note  bool
	}{{84 << 30, levelOK, false}, {85 << 30, levelHigh, true}, {95 << 30, levelFull, false}} {
		n.used = step.used
		w.beat()
		s, status := w.space().Stores[1], w.status()
		if s.Level != step.level || s.FreeBytes != 95<<30-step.used {
			t.Errorf("%d used: %s, %d free", step.used, s.Level, s.FreeBytes)
		}
		told := strings.Contains(strings.Join(status.Problems, "\n"), "store 2 (/store2 on node "+
			"n2) fills up")
		if told != step.note || status.Health != stateOK {
			t.Errorf("%d used: %s %q", step.used, status.Health, status.Problems)
		}
	}
	n.used = 1 << 30
	w.beat()
	if _, err := w.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: "most",
		SizeBytes: 96 << 30}); err == nil {
		t.Error("a volume was made that the stores refuse to hold")
	}
	w.create("fits", 94<<30)
}
