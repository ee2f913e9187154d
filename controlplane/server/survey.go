package server

import (
	"math"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// A survey asks the leader of every copyset which chunks of which volumes it has, and compares that
// with the metadata. To write down what it finds takes a second round: the volumes concerned are
// fenced at every copyset with an epoch that none of before has, and a copyset's list counts when
// it knows of all fences: then no chunk can come to be of which it does not tell. A survey is in
// memory, one at a time; a restart ends it, and it is begun anew.

// The states of a survey.
const (
	surveyLists  = "listing"
	surveyFences = "fencing"
	surveyDone   = "done"
	surveyFailed = "failed"
)

// deletedEpoch is what copysets say of a volume that was deleted.
const deletedEpoch = math.MaxUint64

type survey struct {
	id     uint64
	apply  bool
	state  string
	reason string
	fences map[uint64]uint64 // epochs by volume
	told   map[uint64]told   // by copyset
	parts  map[uint64]told   // that are being told
	erased []*v1.VolumeRun   // that any copyset knows of
	chunks int
	result *v1.RebuildVolumesResponse
}

// told is what a copyset has, by volume.
type told map[uint64]*v1.CopysetVolume

// rebuildVolumes begins a survey, or says how far one is.
func (c *cluster) rebuildVolumes(req *v1.RebuildVolumesRequest) (
	*v1.RebuildVolumesResponse, error,
) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	switch {
	case req.Survey != 0 && (c.survey == nil || c.survey.id != req.Survey):
		return nil, admin.Errorf(admin.ErrNotFound, "control: there is no survey %d (any more): "+
			"begin anew", req.Survey)
	case req.Survey == 0:
		if err := c.checkSurvey(req, now); err != nil {
			return nil, err
		}
		c.survey = &survey{id: uint64(now.UnixNano()), apply: req.Apply, state: surveyLists,
			told: map[uint64]told{}, parts: map[uint64]told{}}
		c.log.Info("survey of all chunks begins", "survey", c.survey.id, "apply", req.Apply)
	}
	s := c.survey
	if s.result != nil {
		return s.result, nil
	}
	resp := &v1.RebuildVolumesResponse{Survey: s.id, State: s.state, Reason: s.reason,
		Copysets: uint64(len(c.order))}
	for _, id := range c.order {
		if s.told[id] == nil && len(resp.WaitsFor) < maxWaitsShown {
			resp.WaitsFor = append(resp.WaitsFor, id)
		}
	}
	return resp, nil
}

// checkSurvey refuses one whose result could not be trusted.
func (c *cluster) checkSurvey(req *v1.RebuildVolumesRequest, now time.Time) error {
	if c.restored == nil {
		return admin.Errorf(admin.ErrInvalid, "control: the metadata were never restored: nothing "+
			"is missing in them")
	}
	if c.anyUnsettled() || len(c.order) == 0 {
		return admin.Errorf(admin.ErrBusy, "control: copysets are not confirmed yet: %v",
			append(c.settleProblems(), c.nodeProblems(now)...))
	}
	if c.restored.TakenNS != 0 || !req.Apply {
		return nil
	}
	return c.checkAllThere(req, now)
}

// checkAllThere is for a cluster of which nobody remembers what there was: the caller has to.
func (c *cluster) checkAllThere(req *v1.RebuildVolumesRequest, now time.Time) error {
	up := uint64(0)
	for _, n := range c.nodes {
		if c.up(n, now) {
			up++
		}
	}
	switch missing := gaps(c.order); {
	case req.Nodes == 0:
		return admin.Errorf(admin.ErrInvalid, "control: nodes: there was no backup, so say how "+
			"many nodes the cluster has; what a node has that is not there would be missing")
	case up != req.Nodes:
		return admin.Errorf(admin.ErrBusy, "control: %d nodes are up, want %d: start the others "+
			"first", up, req.Nodes)
	case len(missing) > 0:
		return admin.Errorf(admin.ErrBusy, "control: no node has anything of copysets %s: start "+
			"those that do first", listIDs(missing))
	}
	return nil
}

// surveyFor is what a node is asked with a heartbeat: copysets that it leads and that have not
// told.
func (c *cluster) surveyFor(n *node, now time.Time, resp *v1.HeartbeatNodeResponse) {
	s := c.survey
	if s == nil || s.state != surveyLists && s.state != surveyFences {
		return
	}
	resp.Survey = s.id
	for _, id := range c.order {
		lead := c.leading(c.copysets[id], now)
		if s.told[id] != nil || lead == nil || n.reports[id] != lead {
			continue
		}
		if len(resp.SurveyCopysets) == maxSurveyAsk {
			break
		}
		resp.SurveyCopysets = append(resp.SurveyCopysets, id)
	}
	for _, volume := range sortedIDs(s.fences) {
		resp.FenceVolumes = append(resp.FenceVolumes, &v1.VolumeFence{VolumeId: volume,
			Epoch: s.fences[volume]})
	}
}

// reportChunks takes a page of what a copyset has.
func (c *cluster) reportChunks(req *v1.ReportChunksRequest) (*v1.ReportChunksResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if req.ClusterId != c.id {
		return nil, admin.Errorf(admin.ErrForeign, "control: chunks of cluster %.64s, this is "+
			"cluster %s", req.ClusterId, c.id)
	}
	now := c.cfg.Now()
	// What is late, or comes from who does not lead any more, is asked for again.
	if s := c.survey; c.awaits(req, now) && s.take(req) {
		c.advanceSurvey(now)
	}
	return &v1.ReportChunksResponse{}, nil
}

// awaits says whether the survey waits for what a node tells of a copyset.
func (c *cluster) awaits(req *v1.ReportChunksRequest, now time.Time) bool {
	s, n, g := c.survey, c.nodes[req.NodeId], c.copysets[req.CopysetId]
	if s == nil || s.id != req.Survey || n == nil || g == nil || s.told[req.CopysetId] != nil ||
		s.state != surveyLists && s.state != surveyFences {
		return false
	}
	lead := c.leading(g, now)
	return lead != nil && n.reports[req.CopysetId] == lead
}

// take takes a page, and says whether it was the last of a copyset that has told everything.
func (s *survey) take(req *v1.ReportChunksRequest) (whole bool) {
	if req.First {
		s.chunks -= s.parts[req.CopysetId].chunks()
		s.parts[req.CopysetId] = told{}
		s.erased = append(s.erased, req.Erased...)
	}
	part := s.parts[req.CopysetId]
	if part == nil {
		return false
	}
	for _, v := range req.Volumes {
		s.chunks += len(v.Chunks)
		if known := part[v.VolumeId]; known != nil {
			known.Chunks = append(known.Chunks, v.Chunks...)
			continue
		}
		part[v.VolumeId] = v
	}
	if s.chunks > maxSurveyChunks || len(s.erased) > maxSurveyChunks {
		s.state, s.reason = surveyFailed, "there are too many chunks for one survey"
		return false
	}
	if !req.Last {
		return false
	}
	delete(s.parts, req.CopysetId)
	if !s.knowsFences(part) {
		s.chunks -= part.chunks()
		return false
	}
	s.told[req.CopysetId] = part
	return true
}

func (t told) chunks() (n int) {
	for _, v := range t {
		n += len(v.Chunks)
	}
	return n
}

// knowsFences says whether a copyset has applied all fences of the survey.
func (s *survey) knowsFences(t told) bool {
	for volume, epoch := range s.fences {
		if t[volume].GetEpoch() < epoch {
			return false
		}
	}
	return true
}

// advanceSurvey goes on when every copyset has told.
func (c *cluster) advanceSurvey(now time.Time) {
	s := c.survey
	for _, id := range c.order {
		if s.told[id] == nil {
			return
		}
	}
	found, err := c.judge(now)
	if err == nil && s.apply && s.state == surveyLists {
		s.fences = map[uint64]uint64{}
		for _, f := range found {
			if f.applies() && len(s.fences) < maxRecover {
				s.fences[f.VolumeId] = c.nextEpoch(f.epoch)
			}
		}
		if len(s.fences) > 0 {
			s.state, s.told, s.chunks = surveyFences, map[uint64]told{}, 0
			return
		}
	}
	if err == nil && s.apply {
		err = c.applySurvey(found, now)
	}
	if err != nil {
		s.state, s.reason = surveyFailed, err.Error()
		return
	}
	s.finish(c, found)
}

// finish keeps the result, and lets go of the lists.
func (s *survey) finish(c *cluster, found []*finding) {
	s.state, s.told, s.erased = surveyDone, nil, nil
	s.result = &v1.RebuildVolumesResponse{Survey: s.id, State: s.state,
		Copysets: uint64(len(c.order)), Complete: true}
	for _, f := range found {
		s.result.Complete = s.result.Complete && f.settled()
		if len(s.result.Volumes) < maxPage {
			s.result.Volumes = append(s.result.Volumes, &f.RebuiltVolume)
		}
	}
}

// holdings are what all copysets hold, by volume, and the newest epoch that any knows. Those of the
// metadata's volumes that are erased are among them.
func (s *survey) holdings(known map[uint64]*v1.Volume) (held map[uint64]holding,
	epochs map[uint64]uint64,
) {
	held, epochs = map[uint64]holding{}, map[uint64]uint64{}
	for copyset, volumes := range s.told {
		for id, v := range volumes {
			epochs[id] = max(epochs[id], v.Epoch)
			if held[id] == nil {
				held[id] = holding{}
			}
			if len(v.Chunks) > 0 {
				slices.Sort(v.Chunks)
				held[id][copyset] = v.Chunks
			}
		}
	}
	erased := joined(s.erased)
	for id := range known {
		if held[id] == nil && erased.has(id) {
			held[id] = holding{}
		}
	}
	for id := range held {
		if erased.has(id) {
			epochs[id] = deletedEpoch
		}
	}
	return held, epochs
}
