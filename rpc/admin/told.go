package admin

import (
	"cmp"
	"slices"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Told is what the control plane knows of a node's replicas, so that the node's heartbeats need not
// repeat it. It is for one goroutine. The zero value has told nothing,
// and begins with everything.
//
// Where it is not known what the control plane knows, as after a heartbeat without an answer or
// from one that has taken over, a heartbeat asks, by the sum of what was told, whether everything
// must be: a thousand nodes that all told it at once would be heard too late.
type Told struct {
	known   bool // the last answer said that the next heartbeat may be partial
	all     bool // it said that the next one must tell of everything
	asked   bool // the last heartbeat asked
	reports map[uint64]toldReport
	sum     uint64
	next    uint64 // copyset from which on reports are refreshed
	// settled are the reports of the last heartbeat, in the order in which it got them, if none of
	// them had to be told.
	settled []*v1.ReplicaReport
}

type toldReport struct{ sum, sense uint64 }

// Of the reports that differ in their indexes only, a heartbeat has refreshLeast, and one in
// refreshShare, so that what is listed is seconds old at most.
const (
	refreshLeast = 16
	refreshShare = 32
)

// Lost notes that the heartbeat may not have arrived.
func (t *Told) Lost() { t.known, t.all = false, false }

// Answered takes the answer to a heartbeat. again says that the next should follow at once: the
// control plane knows something else than it was told, and it is this node's turn.
func (t *Told) Answered(resp *v1.HeartbeatNodeResponse) (again bool) {
	partial := t.known
	t.known = resp.TakesPartial
	t.all = !resp.TakesPartial && !resp.TellLater
	return t.all && (t.asked || partial && !resp.DesiredPresent)
}

// Reduce leaves in a heartbeat with all reports what the control plane does not know, and says what
// all of them add up to. A report that was there the last time, the very same one, has not changed.
func (t *Told) Reduce(req *v1.HeartbeatNodeRequest) {
	all := req.Replicas
	t.asked = !t.known && !t.all && t.reports != nil
	if t.asked || t.known && t.settled != nil && slices.Equal(all, t.settled) {
		req.Partial, req.Replicas, req.Version = true, nil, ""
		req.ReplicaCount, req.ReplicaSum = uint64(len(t.reports)), t.sum
		return
	}
	given := slices.Clone(all)
	t.settled = nil
	slices.SortStableFunc(all, func(a, b *v1.ReplicaReport) int {
		return cmp.Compare(a.CopysetId, b.CopysetId)
	})
	twice := func(a, b *v1.ReplicaReport) bool { return a.CopysetId == b.CopysetId }
	if len(slices.CompactFunc(slices.Clone(all), twice)) != len(all) {
		// A member and the one in its place: all is told until one is gone.
		t.known, t.all, t.reports, t.sum = false, true, nil, 0
		return
	}
	if !t.known {
		t.reports, t.sum = make(map[uint64]toldReport, len(all)), 0
	} else {
		req.Partial, req.Replicas, req.Version = true, nil, ""
	}
	here := make(map[uint64]bool, len(all))
	refresh := refreshLeast + len(all)/refreshShare
	for _, r := range t.inTurn(all) {
		here[r.CopysetId] = true
		old, before := t.reports[r.CopysetId]
		now := toldReport{sum: ReportSum(r), sense: ReportSense(r)}
		switch {
		case before && now == old:
			continue
		case before && now.sense == old.sense && req.Partial:
			if refresh--; refresh < 0 {
				continue
			}
			t.next = r.CopysetId + 1
		}
		t.sum += now.sum - old.sum
		t.reports[r.CopysetId] = now
		if req.Partial {
			req.Replicas = append(req.Replicas, r)
		}
	}
	for id, old := range t.reports {
		if !here[id] {
			t.sum -= old.sum
			delete(t.reports, id)
			req.Gone = append(req.Gone, id)
		}
	}
	if !req.Partial {
		req.Gone = nil
	} else if len(req.Replicas)+len(req.Gone) == 0 {
		t.settled = given
	}
	req.ReplicaCount, req.ReplicaSum = uint64(len(t.reports)), t.sum
}

// inTurn is all reports, beginning where the last heartbeat ended to refresh them.
func (t *Told) inTurn(all []*v1.ReplicaReport) []*v1.ReplicaReport {
	at := slices.IndexFunc(all, func(r *v1.ReplicaReport) bool { return r.CopysetId >= t.next })
	if at <= 0 {
		return all
	}
	return append(slices.Clone(all[at:]), all[:at]...)
}
