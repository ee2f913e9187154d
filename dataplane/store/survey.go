package store

import (
	"maps"
	"slices"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
)

// VolumeChunks is what a copyset holds of a volume.
type VolumeChunks struct {
	Volume, Epoch uint64
	Chunks        []uint64 // rising
}

// VolumeFence ends sessions of a volume that are older than an epoch.
type VolumeFence struct{ Volume, Epoch uint64 }

// Survey proposes fences to the copyset's replica here, if it leads, and lists what the copyset has
// of every volume by now; a fence that is not applied yet shows in the epochs. ok is false when it
// does not lead here.
func (s *Store) Survey(copysetID uint64, fences []VolumeFence) (list []VolumeChunks, ok bool) {
	found := map[uint64]*VolumeChunks{}
	of := func(volume uint64) *VolumeChunks {
		if found[volume] == nil {
			found[volume] = &VolumeChunks{Volume: volume}
		}
		return found[volume]
	}
	o := s.Owner(copysetID)
	ran := o.Do(func() {
		m := o.replicas[copysetID]
		if m == nil {
			return
		}
		for _, f := range fences {
			m.Fence(f.Volume, f.Epoch)
		}
		o.touch(m)
		// The epochs come first: what their fences let through is in the lists.
		ok = m.Epochs(func(volume, epoch uint64) { of(volume).Epoch = epoch })
		for _, c := range m.Chunks() {
			v := of(c.Volume)
			v.Chunks = append(v.Chunks, c.Index)
		}
		// The files come second: a chunk leaves the overlay when it has one.
		for _, id := range s.chunks.List(copysetID) {
			v := of(id.Volume)
			v.Chunks = append(v.Chunks, id.Index)
		}
		for volume, v := range found {
			v.Epoch = max(v.Epoch, m.Epoch(volume)) // of one among many that were erased
		}
	})
	if !ran || !ok {
		return nil, false
	}
	return inOrder(found), true
}

func inOrder(found map[uint64]*VolumeChunks) (list []VolumeChunks) {
	for _, volume := range slices.Sorted(maps.Keys(found)) {
		v := found[volume]
		slices.Sort(v.Chunks)
		v.Chunks = slices.Compact(v.Chunks)
		list = append(list, *v)
	}
	return list
}

// ErasedVolumes is the runs of volumes that the copyset's replica here knows to be erased. It stays
// so, whoever leads.
func (s *Store) ErasedVolumes(copysetID uint64) (erased []copyset.Volumes) {
	o := s.Owner(copysetID)
	o.Do(func() {
		if m := o.replicas[copysetID]; m != nil {
			erased = m.ErasedVolumes()
		}
	})
	return erased
}
