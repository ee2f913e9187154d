package admin

import (
	"slices"
	"testing"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// replicasOf are reports of leaders of n copysets, each with a follower that has everything.
func replicasOf(n int) (list []*v1.ReplicaReport) {
	for id := uint64(1); id <= uint64(n); id++ {
		list = append(list, &v1.ReplicaReport{CopysetId: id, ReplicaId: 10 * id, StoreId: 1,
			Leader: true, LeaderReplicaId: 10 * id, Term: 3, CommitIndex: 5000, AppliedIndex: 5000,
			State: "ok", Voters: []uint64{10 * id, 10*id + 1}, Recorded: true,
			Progress: []*v1.PeerProgress{{ReplicaId: 10*id + 1, MatchIndex: 5000, Active: true}}})
	}
	return list
}

// hearer is what a control plane keeps of what it was told.
type hearer map[uint64]*v1.ReplicaReport

func (h hearer) hear(t *testing.T, req *v1.HeartbeatNodeRequest) *v1.HeartbeatNodeResponse {
	t.Helper()
	if !req.Partial {
		clear(h)
	}
	for _, id := range req.Gone {
		if h[id] == nil {
			t.Errorf("copyset %d is gone, and was never there", id)
		}
		delete(h, id)
	}
	sum := uint64(0)
	for _, r := range req.Replicas {
		h[r.CopysetId] = r
	}
	for _, r := range h {
		sum += ReportSum(r)
	}
	return &v1.HeartbeatNodeResponse{
		TakesPartial: sum == req.ReplicaSum && uint64(len(h)) == req.ReplicaCount}
}

func TestHeartbeatTellsWhatChangedAndOnlyThat(t *testing.T) {
	var told Told
	heard := hearer{}
	beat := func(list []*v1.ReplicaReport) (sent int, partial bool) {
		t.Helper()
		req := &v1.HeartbeatNodeRequest{Replicas: list}
		told.Reduce(req)
		resp := heard.hear(t, req)
		if !resp.TakesPartial {
			t.Fatalf("what is known is not what was told: %d of %d", len(heard), req.ReplicaCount)
		}
		told.Answered(resp)
		return len(req.Replicas), req.Partial
	}
	if n, partial := beat(replicasOf(1000)); n != 1000 || partial {
		t.Errorf("the first: %d, partial %v", n, partial)
	}
	for _, c := range []struct {
		name   string
		change func(r *v1.ReplicaReport)
	}{
		{"nothing", func(*v1.ReplicaReport) {}},
		{"a term", func(r *v1.ReplicaReport) { r.Term++ }},
		{"who leads", func(r *v1.ReplicaReport) { r.Leader, r.LeaderReplicaId = false, 71 }},
		{"its state", func(r *v1.ReplicaReport) { r.State, r.Detail = "damaged", "frame lost" }},
		{"a voter", func(r *v1.ReplicaReport) { r.Voters = append(r.Voters, 99) }},
		{"a learner", func(r *v1.ReplicaReport) { r.Learners = append(r.Learners, 99) }},
		{"a joint membership", func(r *v1.ReplicaReport) { r.Joint = true }},
		{"the number of the member", func(r *v1.ReplicaReport) { r.ReplicaId++ }},
		{"a follower that fell silent", func(r *v1.ReplicaReport) { r.Progress[0].Active = false }},
		{"one that fell behind", func(r *v1.ReplicaReport) { r.CommitIndex += 2 * CatchUpSlack }},
		{"that it is not recorded", func(r *v1.ReplicaReport) { r.Recorded = false }},
	} {
		list := replicasOf(1000)
		c.change(list[6])
		want := 1
		if c.name == "nothing" {
			want = 0
		}
		if n, partial := beat(list); n != want || !partial {
			t.Errorf("%s: %d, partial %v", c.name, n, partial)
		}
		if ReportSum(heard[7]) != ReportSum(list[6]) {
			t.Errorf("%s: heard %v", c.name, heard[7])
		}
		beat(replicasOf(1000))
	}
	if n, partial := beat(replicasOf(990)); n != 0 || !partial || len(heard) != 990 {
		t.Errorf("ten that are gone: %d, partial %v, %d are left", n, partial, len(heard))
	}
}

func TestReportsThatAreTheVerySameAreNotLookedAtAgain(t *testing.T) {
	var told Told
	heard := hearer{}
	list := replicasOf(1000)
	slices.Reverse(list) // a node has them in no order
	beat := func(list []*v1.ReplicaReport) int {
		t.Helper()
		req := &v1.HeartbeatNodeRequest{Replicas: slices.Clone(list)}
		told.Reduce(req)
		resp := heard.hear(t, req)
		if !resp.TakesPartial {
			t.Fatalf("what is known is not what was told: %d of %d", len(heard), req.ReplicaCount)
		}
		told.Answered(resp)
		return len(req.Replicas)
	}
	for i, want := range []int{1000, 0, 0, 0} {
		if n := beat(list); n != want {
			t.Errorf("heartbeat %d tells of %d, want %d", i, n, want)
		}
	}
	req := &v1.HeartbeatNodeRequest{}
	if n := testing.AllocsPerRun(10, func() { req.Replicas = list; told.Reduce(req) }); n > 0 {
		t.Errorf("%.0f allocations for the same as before", n)
	}
	changed := slices.Clone(list)
	r := replicasOf(7)[6]
	r.Term++
	changed[slices.IndexFunc(list, func(o *v1.ReplicaReport) bool { return o.CopysetId == 7 })] = r
	for i, want := range []int{1, 0, 0} {
		if n := beat(changed); n != want || heard[7].Term != r.Term {
			t.Errorf("changed, %d: tells of %d, want %d; term %d", i, n, want, heard[7].Term)
		}
	}
	if beat(changed[1:]); len(heard) != 999 {
		t.Errorf("one is gone, and %d are there", len(heard))
	}
	told.Lost()
	if beat(changed[1:]); len(heard) != 999 {
		t.Errorf("after one without an answer %d are there", len(heard))
	}
}

func TestIndexesThatMoveAreRefreshedInTurn(t *testing.T) {
	var told Told
	heard := hearer{}
	const copysets, beats = 1000, 40
	for i := range uint64(beats) {
		list := replicasOf(copysets)
		for _, r := range list {
			r.CommitIndex += i
			r.Progress[0].MatchIndex += i
		}
		req := &v1.HeartbeatNodeRequest{Replicas: list}
		told.Reduce(req)
		if i > 0 && len(req.Replicas) > refreshLeast+copysets/refreshShare {
			t.Fatalf("beat %d tells of %d", i, len(req.Replicas))
		}
		told.Answered(heard.hear(t, req))
	}
	oldest := uint64(beats)
	for _, r := range heard {
		oldest = min(oldest, r.CommitIndex-5000)
	}
	if age := beats - 1 - oldest; age > 25 {
		t.Errorf("an index is %d beats old", age)
	}
}

func TestWhatMayNotHaveArrivedIsToldAgain(t *testing.T) {
	var told Told
	heard := hearer{}
	list := func(term uint64) *v1.HeartbeatNodeRequest {
		req := &v1.HeartbeatNodeRequest{Replicas: replicasOf(3)}
		for _, r := range req.Replicas {
			r.Term = term
		}
		told.Reduce(req)
		return req
	}
	told.Answered(heard.hear(t, list(1)))
	list(2) // is lost
	told.Lost()
	ask := list(2)
	if !ask.Partial || len(ask.Replicas) != 0 || ask.ReplicaCount != 3 {
		t.Errorf("after one that was lost: partial %v, %d of %d", ask.Partial, len(ask.Replicas),
			ask.ReplicaCount)
	}
	if again := told.Answered(heard.hear(t, ask)); !again {
		t.Error("what was lost is not told at once")
	}
	if req := list(2); req.Partial || len(req.Replicas) != 3 {
		t.Errorf("then: partial %v, %d", req.Partial, len(req.Replicas))
	}
	told.Answered(&v1.HeartbeatNodeResponse{TakesPartial: true})
	req := list(2)
	if again := told.Answered(hearer{}.hear(t, req)); !again || !req.Partial {
		t.Errorf("a control plane that has just started is told at once: %v", again)
	}
	if req := list(2); req.Partial || len(req.Replicas) != 3 {
		t.Errorf("then: partial %v, %d", req.Partial, len(req.Replicas))
	}
}

// Only the answer was lost: what was told is known, and is not told again.
func TestWhatArrivedWithoutAnAnswerIsNotToldAgain(t *testing.T) {
	var told Told
	heard := hearer{}
	list := func(term uint64) *v1.HeartbeatNodeRequest {
		req := &v1.HeartbeatNodeRequest{Replicas: replicasOf(3)}
		req.Replicas[1].Term = term
		told.Reduce(req)
		return req
	}
	heard.hear(t, list(1))
	told.Lost()
	if again := told.Answered(heard.hear(t, list(2))); again {
		t.Error("all is told again")
	}
	if req := list(2); !req.Partial || len(req.Replicas) != 1 {
		t.Errorf("what changed meanwhile: partial %v, %d", req.Partial, len(req.Replicas))
	}
}

// Who tells what, by the answers: w all is known, l later, f neither, d neither and a new desired
// state, x no answer. Of the heartbeats A tells all, p what changed, and ? asks; ! comes at once.
func TestWhoIsToToldLaterAsksUntilItIsHisTurn(t *testing.T) {
	for answers, want := range map[string]string{
		"wwww":    "Appp",
		"flw":     "AA?",       // it may tell all; then a control plane that has taken over
		"wlllfww": "Ap???!Ap",  // another has taken over, and it is not this node's turn
		"wfww":    "Ap!Ap",     // or it is
		"wdww":    "ApAp",      // replicas come and go first
		"wxlxlfw": "Ap????!A",  // no answer
		"wxdw":    "Ap?!A",     // a turn and a new desired state at once
		"wlfxlfw": "Ap?!A??!A", // the turn was in vain
		"wxw":     "Ap?",       // it had arrived
		"ffxfw":   "AAA?!A",    // a control plane of a release without partial heartbeats
		"xfw":     "A?!A",      // the first was lost
		"xllfwww": "A???!App",  // and all others have a turn before
	} {
		var told Told
		got, again := "", false
		for _, answer := range answers {
			req := &v1.HeartbeatNodeRequest{Replicas: replicasOf(2)}
			req.Replicas[0].Term = uint64(len(got)) // something always changes
			told.Reduce(req)
			if again {
				got += "!"
			}
			switch {
			case !req.Partial:
				got += "A"
			case len(req.Replicas) > 0:
				got += "p"
			default:
				got += "?"
			}
			if again = false; answer == 'x' {
				told.Lost()
				continue
			}
			again = told.Answered(&v1.HeartbeatNodeResponse{TakesPartial: answer == 'w',
				TellLater: answer == 'l', DesiredPresent: answer == 'd'})
		}
		if got != want {
			t.Errorf("%s: %s, want %s", answers, got, want)
		}
	}
}

func TestTwoReplicasOfACopysetAreAlwaysToldOf(t *testing.T) {
	var told Told
	for range 3 {
		both := append(replicasOf(2), replicasOf(1)...)
		both[2].ReplicaId = 77
		req := &v1.HeartbeatNodeRequest{Replicas: both}
		told.Reduce(req)
		if req.Partial || len(req.Replicas) != 3 || req.ReplicaSum != 0 {
			t.Fatalf("partial %v, %d, sum %d", req.Partial, len(req.Replicas), req.ReplicaSum)
		}
		told.Answered(&v1.HeartbeatNodeResponse{})
	}
}
