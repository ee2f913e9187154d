package server

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// process is what announced itself and is neither a node nor this process.
type process struct {
	rec   *v1.Process
	heard time.Time
}

// registerProcess lists a process until it falls silent.
func (c *cluster) registerProcess(req *v1.RegisterProcessRequest) (
	*v1.RegisterProcessResponse, error,
) {
	if err := checkName("process role", req.Role); err != nil {
		return nil, err
	}
	if err := checkName("process id", req.Id); err != nil {
		return nil, err
	}
	if req.Role == "node" || req.Role == "control" {
		return nil, admin.Errorf(admin.ErrInvalid, "control: role %s is listed without "+
			"announcing; choose another", req.Role)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := req.Role + "/" + req.Id
	if c.processes[key] == nil && len(c.processes) >= maxProcesses {
		c.forgetQuietest()
	}
	c.processes[key] = &process{heard: c.cfg.Now(), rec: &v1.Process{
		Role: req.Role, Id: req.Id, Pid: req.Pid, Addr: clip(req.Addr, maxTextBytes),
	}}
	return &v1.RegisterProcessResponse{
		ClusterId: c.id, HeartbeatIntervalMs: c.cfg.HeartbeatInterval.Milliseconds(),
	}, nil
}

func (c *cluster) forgetQuietest() {
	oldest := ""
	for key, p := range c.processes {
		if oldest == "" || p.heard.Before(c.processes[oldest].heard) {
			oldest = key
		}
	}
	delete(c.processes, oldest)
}

func (c *cluster) forgetProcesses(now time.Time) {
	maps.DeleteFunc(c.processes, func(_ string, p *process) bool {
		return now.Sub(p.heard) > forgetProcess
	})
}

func (c *cluster) clusterStatus(*v1.ClusterStatusRequest) (*v1.ClusterStatusResponse, error) {
	c.judgeAll()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	resp := &v1.ClusterStatusResponse{
		ClusterId: c.id, Version: c.cfg.Version, Volumes: uint64(c.space.volumes),
		Copysets: uint64(len(c.copysets)), Processes: c.listProcesses(now),
	}
	for _, s := range c.stores {
		if !s.rec.Replaced {
			resp.CapacityBytes += s.rec.CapacityBytes
			resp.UsedBytes += s.report.GetUsedBytes()
		}
	}
	resp.TrashedVolumes, resp.TrashedBytes = c.inTrash()
	resp.Features = c.listFeatures()
	if c.scrub != nil {
		resp.Scrub = c.showScrub(now)
	}
	c.refresh(now)
	resp.CopysetsWithLeader = resp.Copysets - uint64(len(c.tally.unavailable))
	resp.CopysetsFull = resp.CopysetsWithLeader - uint64(len(c.tally.degraded))
	problems := append(c.nodeProblems(now), c.replicaProblems(now)...)
	problems = append(problems, c.tally.problems(len(c.order))...)
	problems = slices.Concat(problems, c.settleProblems(), c.forgottenNotes(now),
		c.moveProblems())
	switch {
	case c.failed != nil:
		problems = append([]string{c.failed.Error()}, problems...)
		resp.Health = healthUnavailable
	case len(c.copysets) == 0:
		problems = append([]string{"no copysets yet: " + c.waiting(now)}, problems...)
		resp.Health = healthUnavailable
	case len(c.tally.unavailable) > 0:
		resp.Health = healthUnavailable
	case len(problems) > 0:
		resp.Health = healthDegraded
	default:
		resp.Health = stateOK
	}
	problems = append(problems, c.spaceNotes(now)...)
	notes := slices.Concat(c.goneNotes(now), c.drainNotes(), c.pauseNotes(now), c.featureNotes())
	resp.Problems = shorten(append(append(problems, notes...), c.diskNotes(now)...))
	return resp, nil
}

func (c *cluster) listProcesses(now time.Time) []*v1.Process {
	list := []*v1.Process{{
		Role: "control", Id: c.cfg.Name, Pid: uint64(os.Getpid()), Addr: c.addr, State: stateUp,
	}}
	state := func(up bool) string {
		if up {
			return stateUp
		}
		return stateOffline
	}
	for _, id := range sortedIDs(c.nodes) {
		n := c.nodes[id]
		list = append(list, &v1.Process{
			Role: "node", Id: n.rec.Name, Pid: n.rec.Pid, Addr: n.rec.Addr,
			State: state(c.up(n, now)),
		})
	}
	for _, key := range slices.Sorted(maps.Keys(c.processes)) {
		p := c.processes[key]
		shown := *p.rec
		shown.State = state(now.Sub(p.heard) < c.cfg.OfflineAfter)
		list = append(list, &shown)
	}
	return list
}

func (c *cluster) nodeProblems(now time.Time) []string {
	var problems []string
	for _, id := range sortedIDs(c.nodes) {
		n := c.nodes[id]
		switch {
		case !c.up(n, now) && !c.inUse(n) && len(c.copysets) > 0: // a note
		case c.up(n, now):
			problems = append(problems, c.storeProblems(n, now)...)
		case n.heard.IsZero():
			problems = append(problems, fmt.Sprintf("node %s is offline: nothing heard since the "+
				"control plane started %s ago", n.rec.Name, ago(now, c.started)))
		default:
			problems = append(problems, fmt.Sprintf("node %s is offline: last heartbeat %s ago",
				n.rec.Name, ago(now, n.heard)))
		}
	}
	return problems
}

// goneNotes names nodes that are offline and that nobody misses any more.
func (c *cluster) goneNotes(now time.Time) []string {
	var notes []string
	for _, id := range sortedIDs(c.nodes) {
		if n := c.nodes[id]; !c.up(n, now) && !c.inUse(n) && len(c.copysets) > 0 {
			notes = append(notes, fmt.Sprintf("node %s is offline, and nothing lies on it any more",
				n.rec.Name))
		}
	}
	return notes
}

func (c *cluster) storeProblems(n *node, now time.Time) []string {
	var problems []string
	for _, id := range sortedIDs(n.stores) {
		s := c.stores[id]
		state, detail := c.storeUp(s, now)
		if late := s.report.GetWaiting().GetLate(); late != "" && state != stateReplaced {
			problems = append(problems, fmt.Sprintf("store %d (%s on node %s): %s", id, s.rec.Path,
				n.rec.Name, late))
		}
		if state == stateUp || state == stateReplaced { // its replicas are a problem, it is none
			continue
		}
		text := fmt.Sprintf("store %d (%s on node %s) is %s", id, s.rec.Path, n.rec.Name, state)
		if detail != "" {
			text += ": " + detail
		}
		if advice := storeAdvice[state]; advice != "" {
			text += ": " + advice
		}
		problems = append(problems, text)
	}
	return problems
}

// storeAdvice is what to do about a store in a state, where its own words do not say it.
var storeAdvice = map[string]string{
	stateFailed: "it does nothing more; replace the disk, or start the node again once it is sound",
}

// diskNotes names disks that gave wrong bytes which were made good, and those that are slow. No
// client meets either any more, so they do not count as problems of the cluster's health.
func (c *cluster) diskNotes(now time.Time) []string {
	var notes []string
	slow := schedule.Slow(c.viewStores(now))
	for _, id := range sortedIDs(c.stores) {
		s := c.stores[id]
		n := c.nodes[s.rec.NodeId]
		if slow[id] {
			notes = append(notes, fmt.Sprintf("store %d (%s on node %s) is slow: a write of its "+
				"log takes %v, many times as long as on the others; its leaders go elsewhere: "+
				"look at the device", id, s.rec.Path, n.rec.Name,
				time.Duration(s.report.LogWriteNs).Round(time.Millisecond)))
		}
		if s.report.GetCorruptBlocks() == 0 || !c.up(n, now) {
			continue
		}
		notes = append(notes, fmt.Sprintf("store %d (%s on node %s) found %d bad blocks since its "+
			"node started, %d blocks were read from other replicas and written anew: watch this "+
			"disk, and replace it if the number grows", id, s.rec.Path, n.rec.Name,
			s.report.GetCorruptBlocks(), s.report.GetRepairedBlocks()))
	}
	return notes
}

func (t *tally) problems(total int) []string {
	var problems []string
	for _, p := range []struct {
		in   map[uint64]bool
		text string
	}{
		{t.unavailable, "have no leader, their blocks cannot be reached"},
		{t.degraded, "lack a replica that is up and caught up"},
	} {
		if len(p.in) > 0 {
			problems = append(problems, fmt.Sprintf("%d of %d copysets %s: %s", len(p.in), total,
				p.text, listIDs(lowest(p.in))))
		}
	}
	return problems
}

// maxListed is how many copysets a text names.
const maxListed = 8

// lowest are the first of a set and one more, without sorting all: after a takeover it has every
// copyset.
func lowest(set map[uint64]bool) (ids []uint64) {
	for id := range set {
		if len(ids) > maxListed && id > ids[maxListed] {
			continue
		}
		at, _ := slices.BinarySearch(ids, id)
		ids = slices.Insert(ids, at, id)
		ids = ids[:min(len(ids), maxListed+1)]
	}
	return ids
}

func listIDs(ids []uint64) string {
	var words []string
	for _, id := range ids[:min(len(ids), maxListed)] {
		words = append(words, fmt.Sprint(id))
	}
	text := strings.Join(words, ", ")
	if len(ids) > maxListed {
		text += ", ..."
	}
	return text
}

func ago(now, then time.Time) string { return now.Sub(then).Round(100 * time.Millisecond).String() }

func shorten(problems []string) []string {
	if len(problems) <= maxProblems {
		return problems
	}
	more := fmt.Sprintf("and %d more", len(problems)-maxProblems+1)
	return append(slices.Clone(problems[:maxProblems-1]), more)
}
