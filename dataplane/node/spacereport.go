package node

import (
	"cmp"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/store"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// volumesEvery is how often at most the stores' lists of volumes go with a heartbeat, unless the
// control plane asks: to make one takes a look at every chunk.
const volumesEvery = 2 * time.Second

// volumeLists is what the control plane has of the stores' lists of volumes. It is the heartbeats'
// alone.
type volumeLists struct {
	known  map[uint64]uint64 // store id -> version it was sent
	wanted bool              // all are to be sent again
	sent   time.Time
	due    bool // lists may go with this heartbeat
}

// begin decides whether lists may go with a heartbeat.
func (l *volumeLists) begin(now time.Time) {
	l.due = l.wanted || now.Sub(l.sent) >= volumesEvery
}

// lost forgets what was sent, as the heartbeat may not have arrived.
func (l *volumeLists) lost() { l.known, l.sent = nil, time.Time{} }

// spaceReport is a store's space, with its list of volumes when that changed.
func (l *volumeLists) spaceReport(s *store.Store, sp *store.Space, now time.Time) *v1.Space {
	out := &v1.Space{ChunkBytes: uint64(sp.Chunks), ReadyBytes: uint64(sp.Ready),
		DamagedBytes: uint64(sp.Damaged), LogBytes: uint64(sp.Log),
		FreeBytes: uint64(max(0, sp.Free)), ChunkFileBytes: uint64(sp.ChunkFile),
		HighBytes: uint64(sp.High), FullBytes: uint64(sp.Full),
		VolumesVersion: s.VolumesVersion()}
	if !l.due || !l.wanted && l.known[s.ID()] == out.VolumesVersion {
		return out
	}
	version, chunks := s.VolumeChunks()
	out.VolumesVersion, out.VolumesPresent = version, true
	for id, n := range chunks {
		out.Volumes = append(out.Volumes, &v1.VolumeChunks{VolumeId: id, Chunks: n})
	}
	slices.SortFunc(out.Volumes, func(a, b *v1.VolumeChunks) int {
		return cmp.Compare(a.VolumeId, b.VolumeId)
	})
	if l.known == nil {
		l.known = map[uint64]uint64{}
	}
	l.known[s.ID()], l.sent = version, now
	return out
}
