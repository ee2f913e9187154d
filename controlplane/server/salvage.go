package server

import (
	"fmt"
	"slices"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// What nodes hold of a volume says where its chunks lie, and nothing more: not its name, not how
// large it was beyond its last chunk, and nothing of chunks that were never written. Where a chunk
// was written its copyset is certain, and a record is made that says so of each. Where none was,
// there is nothing to lose: every copyset answers zeroes, so any will do for what is written from
// now on, if nobody writes there any more by the old mapping. That is certain only behind a fence
// of the volume at every copyset there is (survey.go).

// holding is the chunks of a volume, rising, by copyset.
type holding map[uint64][]uint64

func (h holding) chunks() (n uint64) {
	for _, list := range h {
		n += uint64(len(list))
	}
	return n
}

// whereabouts is the copyset of every chunk. A chunk in two copysets is a contradiction.
func whereabouts(h holding) (at map[uint64]uint64, conflict string) {
	at = map[uint64]uint64{}
	for _, id := range sortedIDs(h) {
		for _, chunk := range h[id] {
			if other := at[chunk]; other != 0 {
				return nil, fmt.Sprintf("chunk %d is in copyset %d and in copyset %d", chunk,
					other, id)
			}
			at[chunk] = id
		}
	}
	return at, ""
}

// end is the size of a volume to the end of its last chunk.
func end(at map[uint64]uint64, chunkBytes uint64) uint64 {
	size := uint64(0)
	for chunk := range at {
		size = max(size, (chunk+1)*chunkBytes)
	}
	return size
}

// remap makes the segments of a volume from the first on, so that every chunk that was written is
// where it is. all are the copysets that there are.
func remap(vol *v1.Volume, first uint64, at map[uint64]uint64, all []uint64) []*v1.Segment {
	per := vol.SegmentBytes / vol.ChunkBytes
	var segs []*v1.Segment
	for i := first; i < segments(vol); i++ {
		known := make([]uint64, chunksOf(vol, i))
		for j := range known {
			known[j] = at[i*per+uint64(j)]
		}
		segs = append(segs, &v1.Segment{Index: i, CopysetIds: fillUp(cycle(known, len(all)), all,
			int(i))})
	}
	return segs
}

// cycle finds the shortest turn of copysets, from the width on that segments have, that agrees with
// what is known; in the end that of all chunks does. What nothing is known of stays 0.
func cycle(known []uint64, copysets int) []uint64 {
	for width := min(segmentCopysets, copysets, len(known)); ; width++ {
		turn := make([]uint64, width)
		agrees := true
		for j, id := range known {
			at := &turn[j%width]
			agrees = agrees && (id == 0 || *at == 0 || *at == id)
			*at = max(*at, id)
		}
		if agrees {
			return turn
		}
	}
}

// fillUp gives places of which nothing is known to copysets that the turn does not have, in turn
// from another one for each segment, so that segments spread.
func fillUp(turn, all []uint64, from int) []uint64 {
	var free []uint64
	for k := range all {
		if id := all[(from+k)%len(all)]; !slices.Contains(turn, id) {
			free = append(free, id)
		}
	}
	next := 0
	for j := range turn {
		if turn[j] != 0 {
			continue
		}
		if next < len(free) {
			turn[j] = free[next]
		} else {
			turn[j] = all[(from+j)%len(all)]
		}
		next++
	}
	return turn
}

// beyond compares what nodes hold of a volume with its record: it gives the chunks behind its end,
// or says where a chunk lies that should be elsewhere.
func beyond(vol *v1.Volume, segs []*v1.Segment, at map[uint64]uint64) (
	more map[uint64]uint64, conflict string,
) {
	more = map[uint64]uint64{}
	per := vol.SegmentBytes / vol.ChunkBytes
	chunks := (vol.SizeBytes + vol.ChunkBytes - 1) / vol.ChunkBytes
	for _, chunk := range sortedIDs(at) {
		if i := chunk / per; i < uint64(len(segs)) {
			ids := segs[i].CopysetIds
			if want := ids[chunk%per%uint64(len(ids))]; want != at[chunk] {
				return nil, fmt.Sprintf("chunk %d is in copyset %d, and the metadata have it in "+
					"copyset %d", chunk, at[chunk], want)
			}
		}
		if chunk >= chunks {
			more[chunk] = at[chunk]
		}
	}
	return more, ""
}

// gaps are the numbers that are missing among those of the copysets, which are given out from 1 on.
// Those that came after a restore begin at its floor, and nobody remembers which those were: with
// them it is the number of nodes alone that tells (checkAllThere).
func gaps(order []uint64) (missing []uint64) {
	next := uint64(1)
	for _, id := range order {
		if id > meta.RestoredJump {
			break
		}
		for ; next < id && len(missing) < maxWaitsShown; next++ {
			missing = append(missing, next)
		}
		next = id + 1
	}
	return missing
}
