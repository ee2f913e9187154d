package wal

import "slices"

// link is a segment in the chain of the log.
type link struct {
	// id indexes the segments given to chain.
	id int
	// end is the offset where the log left the segment, 0 when nothing tells.
	end int64
}

// gap is a stretch of the log whose segments are missing.
type gap struct{ from, to LSN }

// chain follows the log from its newest segment back to its tail, by each segment's record of
// where the log ended before it. ids are sorted by sequence number, which are unique; those
// below the tail have been left out. Segments between two neighbours of the chain were cut off
// by an earlier recovery: they are in none of the results. Links and gaps are in log order.
func chain(y layout, ids []segmentHeader, tail LSN) (links []link, gaps []gap) {
	at, end := len(ids)-1, int64(0)
	for at >= 0 {
		links = append(links, link{id: at, end: end})
		prev := ids[at].prevEnd
		if prev <= tail {
			break
		}
		seq := y.seq(prev - 1) // a segment may end where the next one starts
		if seq >= ids[at].seq {
			break
		}
		below := at - 1
		for below >= 0 && ids[below].seq > seq {
			below--
		}
		end = int64(prev - y.lsn(seq, 0))
		if below < 0 || ids[below].seq != seq {
			end = 0
			g := gap{from: tail, to: y.lsn(seq+1, 0)}
			if below >= 0 {
				g.from = y.lsn(ids[below].seq+1, 0)
			}
			gaps = append(gaps, g)
		}
		at = below
	}
	slices.Reverse(links)
	slices.Reverse(gaps)
	return links, gaps
}
