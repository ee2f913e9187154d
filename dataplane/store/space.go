package store

import (
	"fmt"
	"math"

	"github.com/dustin/go-humanize"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// Watermark is how full a store may be: a share of its capacity that is used, or bytes of it that
// are left. The zero value is none.
type Watermark struct {
	Percent float64 // used, above 0 and at most 100
	Left    int64   // bytes
}

// of is how many bytes chunks take when a store of the capacity is at the mark; 0 without a mark.
func (w Watermark) of(capacity int64) int64 {
	switch {
	case w.Percent > 0:
		return max(1, int64(float64(capacity)*w.Percent/100))
	case w.Left > 0:
		return max(1, capacity-w.Left)
	}
	return 0
}

// Space is what a store takes of its disk, in bytes. Chunks, Ready, Damaged and Log together are
// all that it has there, but for some files of a few KiB.
type Space struct {
	Chunks    int64 // files of chunks that exist
	Ready     int64 // files that await a chunk: made ahead, given back, or lent to large writes
	Damaged   int64 // files that cannot be trusted
	Log       int64 // segments of the log, those that await use included
	Free      int64 // of the file system or device, for anybody
	ChunkFile int64 // one file of a chunk
	Capacity  int64 // what files of chunks may take in all
	High      int64 // of Chunks, at which the store is said to fill up; 0: never
	Full      int64 // of Chunks, at which new ones are refused; 0: when nothing is left
}

// Space tells what the store takes of its disk. Where the disk does not say what is free, Capacity
// is what the files take, and there are no marks.
func (s *Store) Space() Space {
	_, free, err := s.disk.Space()
	st, log := s.chunks.Stats(), s.wal.Stats()
	sp := Space{Chunks: int64(st.Used) * st.SlotBytes, Ready: int64(st.Free+st.Lent) * st.SlotBytes,
		Damaged: int64(st.Damaged) * st.SlotBytes, Free: free, ChunkFile: st.SlotBytes,
		Log:      int64(log.LiveSegments+log.ReadySegments) * s.segmentBytes(),
		Capacity: free + int64(st.Slots)*st.SlotBytes}
	if limit := s.cfg.LimitBytes; limit > 0 {
		sp.Capacity = min(sp.Capacity, limit)
	}
	if err == nil {
		sp.High, sp.Full = s.cfg.High.of(sp.Capacity), s.cfg.Full.of(sp.Capacity)
	}
	return sp
}

// room is how many more chunks there may be by the mark.
func (sp *Space) room() int {
	if sp.Full == 0 {
		return math.MaxInt
	}
	return int(max(0, sp.Full-sp.Chunks) / max(sp.ChunkFile, 1))
}

// fullErr says why a new chunk is refused.
func (s *Store) fullErr(have int) error {
	sp := s.Space()
	text := fmt.Sprintf("chunks take %s of %s", humanize.IBytes(uint64(sp.Chunks)),
		humanize.IBytes(uint64(sp.Capacity)))
	if sp.Full > 0 && sp.room() <= have {
		text += fmt.Sprintf(", new ones are refused from %s on (store_full)",
			humanize.IBytes(uint64(sp.Full)))
	}
	return fmt.Errorf("%w: %s: %s: room for %d more, %d are kept for what is under way",
		disk.ErrNoSpace, s.cfg.Path, text, have, keepChunks)
}

// VolumeChunks is how many chunks of each volume the store has, and a version of that which changes
// whenever a chunk comes or goes, and with each opening. It looks at every chunk.
func (s *Store) VolumeChunks() (version uint64, chunks map[uint64]uint64) {
	changes, chunks := s.chunks.Volumes()
	return s.life + changes, chunks
}

// VolumesVersion is the version that VolumeChunks would give.
func (s *Store) VolumesVersion() uint64 { return s.life + s.chunks.Changes() }
