package node

import (
	"context"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/dataplane/store"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// surveyPage is how many chunks one report names at most.
const surveyPage = 1 << 16

// survey tells what the copysets that are asked for, and that are led here, have of all volumes.
// What fails is asked for again.
func (n *Node) survey(ctx context.Context, resp *v1.HeartbeatNodeResponse) {
	var fences []store.VolumeFence
	for _, f := range resp.FenceVolumes {
		fences = append(fences, store.VolumeFence{Volume: f.VolumeId, Epoch: f.Epoch})
	}
	for _, id := range resp.SurveyCopysets {
		s := n.home(id)
		if s == nil {
			continue
		}
		list, leads := s.Survey(id, fences)
		if !leads {
			continue
		}
		erased := s.ErasedVolumes(id)
		if err := n.reportChunks(ctx, resp.Survey, id, list, erased); err != nil {
			n.log.Warn("chunks are not reported", "copyset", id, "err", err)
			return
		}
	}
}

// reportChunks sends one copyset's list, in pages.
func (n *Node) reportChunks(ctx context.Context, survey, id uint64, list []store.VolumeChunks,
	erased []copyset.Volumes,
) error {
	req := &v1.ReportChunksRequest{Survey: survey, CopysetId: id, First: true}
	for _, r := range erased {
		req.Erased = append(req.Erased, &v1.VolumeRun{First: r.First, Last: r.Last})
	}
	room := surveyPage
	send := func(last bool) error {
		n.mu.Lock()
		req.ClusterId, req.NodeId = n.clusterID, n.nodeID
		n.mu.Unlock()
		req.Last = last
		_, err := n.clients.Node.ReportChunks(ctx, req)
		req = &v1.ReportChunksRequest{Survey: survey, CopysetId: id}
		room = surveyPage
		return err
	}
	for _, v := range list {
		for rest := v.Chunks; ; {
			some := rest[:min(len(rest), room)]
			rest = rest[len(some):]
			req.Volumes = append(req.Volumes, &v1.CopysetVolume{VolumeId: v.Volume, Epoch: v.Epoch,
				Chunks: some})
			if room -= len(some) + 1; room <= 0 {
				if err := send(false); err != nil {
					return err
				}
			}
			if len(rest) == 0 {
				break
			}
		}
	}
	return send(true)
}
