package store

import (
	"math"
	"reflect"
	"testing"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
)

// Volumes that are gone everywhere are kept as runs on every replica, through checkpoints, replays
// and changes of the leader.
func TestReplicasKeepErasedVolumesAsRuns(t *testing.T) {
	r := newRig(t, 3, nil)
	r.mustWrite(1, 0, 0, pattern(1, 1))
	const last = 1100
	var gone []VolumeFence
	for v := uint64(2); v <= last; v++ {
		gone = append(gone, VolumeFence{Volume: v, Epoch: math.MaxUint64})
	}
	survey := func(fences []VolumeFence) (list []VolumeChunks) {
		for i := range r.stores {
			if told, ok := r.store(uint64(i)).Survey(1, fences); ok {
				list = told
			}
		}
		return list
	}
	eventually(t, "the copyset knows of all", func() bool { return len(survey(gone)) == last })
	erased := []copyset.Volumes{{First: 3, Last: 900}, {First: 901, Last: last - 1}}
	want := []VolumeChunks{{Volume: 1, Epoch: 1, Chunks: []uint64{0}},
		{Volume: 2, Epoch: math.MaxUint64}, {Volume: last, Epoch: math.MaxUint64}}
	runs := []copyset.Volumes{{First: 3, Last: last - 1}}
	eventually(t, "it has made runs of them", func() bool {
		for i := range r.stores {
			r.store(uint64(i)).Erased(erased)
		}
		return reflect.DeepEqual(survey(nil), want)
	})
	for turn := range 2 * len(r.stores) {
		i := turn % len(r.stores)
		if turn >= len(r.stores) { // what came before was replayed
			r.checkpoint(i)
		}
		r.close(i)
		r.reopen(i)
		eventually(t, "the copyset has a leader that tells", func() bool {
			return reflect.DeepEqual(survey(nil), want)
		})
		eventually(t, "the replica has the runs", func() bool {
			return reflect.DeepEqual(r.store(uint64(i)).ErasedVolumes(1), runs)
		})
	}
	r.wantRead(1, 0, 0, pattern(1, 1))
}
