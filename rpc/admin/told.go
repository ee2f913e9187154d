package admin

import (
	"cmp"
	"slices"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Told is what the control plane knows of a node's replicas, so that the node's heartbeats need not
// repeat it. It is for one goroutine. The zero value has told nothing.
type Told struct {
	known   bool // the last answer said that the next heartbeat may be partial
	reports map[uint64]toldReport
	sum     uint64
	next    uint64 // copyset from which on reports are refreshed
}

type toldReport struct{ sum, sense uint64 }

// Of the reports that differ in their indexes only, a heartbeat has refreshLeast, and one in
// refreshShare, so that what is listed is seconds old at most.
const (
	refreshLeast = 16
	refreshShare = 32
)

// Lost forgets what was told, as the heartbeat may not have arrived.
func (t *Told) Lost() { t.known = false }

// Answered takes the answer to a heartbeat. again says that the next should follow at once: a
// control plane that has just started, or taken over, knows nothing of what others were told.
func (t *Told) Answered(resp *v1.HeartbeatNodeResponse) (again bool) {
	again = t.known && !resp.TakesPartial && !resp.DesiredPresent
	t.known = resp.TakesPartial
	return again
}

// Reduce leaves in a heartbeat with all reports what the control plane does not know, and says what
// all of them add up to.
func (t *Told) Reduce(req *v1.HeartbeatNodeRequest) {
	all := req.Replicas
	slices.SortStableFunc(all, func(a, b *v1.ReplicaReport) int {
		return cmp.Compare(a.CopysetId, b.CopysetId)
	})
	twice := func(a, b *v1.ReplicaReport) bool { return a.CopysetId == b.CopysetId }
	if len(slices.CompactFunc(slices.Clone(all), twice)) != len(all) {
		t.known = false // a member and the one in its place: all is told until one is gone
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
