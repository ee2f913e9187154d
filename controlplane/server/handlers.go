package server

import (
	"context"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// The handlers only translate: each method calls the cluster's method of the same name and gives
// its error the form that crosses the wire.
type (
	adminHandler  struct{ c *cluster }
	nodeHandler   struct{ c *cluster }
	clientHandler struct{ c *cluster }
)

var (
	_ v1.AdminService  = (*adminHandler)(nil)
	_ v1.NodeService   = (*nodeHandler)(nil)
	_ v1.ClientService = (*clientHandler)(nil)
)

// serve runs one call.
func serve[Q, R any](req *Q, fn func(*Q) (*R, error)) (*R, error) {
	if req == nil {
		req = new(Q)
	}
	resp, err := fn(req)
	if err != nil {
		return nil, admin.WireError(err)
	}
	return resp, nil
}

func (h *adminHandler) CreateVolume(_ context.Context, req *v1.CreateVolumeRequest) (
	*v1.CreateVolumeResponse, error,
) {
	return serve(req, h.c.createVolume)
}

func (h *adminHandler) ListVolumes(_ context.Context, req *v1.ListVolumesRequest) (
	*v1.ListVolumesResponse, error,
) {
	return serve(req, h.c.listVolumes)
}

func (h *adminHandler) GetVolume(_ context.Context, req *v1.GetVolumeRequest) (
	*v1.GetVolumeResponse, error,
) {
	return serve(req, h.c.getVolume)
}

func (h *adminHandler) DeleteVolume(_ context.Context, req *v1.DeleteVolumeRequest) (
	*v1.DeleteVolumeResponse, error,
) {
	return serve(req, h.c.deleteVolume)
}

func (h *adminHandler) ListAttachments(_ context.Context, req *v1.ListAttachmentsRequest) (
	*v1.ListAttachmentsResponse, error,
) {
	return serve(req, h.c.listAttachments)
}

func (h *adminHandler) DetachVolume(_ context.Context, req *v1.DetachVolumeRequest) (
	*v1.DetachVolumeResponse, error,
) {
	return serve(req, h.c.detachVolume)
}

func (h *adminHandler) ClusterStatus(_ context.Context, req *v1.ClusterStatusRequest) (
	*v1.ClusterStatusResponse, error,
) {
	return serve(req, h.c.clusterStatus)
}

func (h *adminHandler) ListNodes(_ context.Context, req *v1.ListNodesRequest) (
	*v1.ListNodesResponse, error,
) {
	return serve(req, h.c.listNodes)
}

func (h *adminHandler) ListCopysets(_ context.Context, req *v1.ListCopysetsRequest) (
	*v1.ListCopysetsResponse, error,
) {
	return serve(req, h.c.listCopysets)
}

func (h *adminHandler) GetCopyset(_ context.Context, req *v1.GetCopysetRequest) (
	*v1.GetCopysetResponse, error,
) {
	return serve(req, h.c.getCopyset)
}

func (h *adminHandler) GetPoolDurability(_ context.Context, req *v1.GetPoolDurabilityRequest) (
	*v1.GetPoolDurabilityResponse, error,
) {
	return serve(req, h.c.getPoolDurability)
}

func (h *adminHandler) CreateDirectory(_ context.Context, req *v1.CreateDirectoryRequest) (
	*v1.CreateDirectoryResponse, error,
) {
	return serve(req, h.c.createDirectory)
}

func (h *adminHandler) ListDirectories(_ context.Context, req *v1.ListDirectoriesRequest) (
	*v1.ListDirectoriesResponse, error,
) {
	return serve(req, h.c.listDirectories)
}

func (h *adminHandler) RemoveDirectory(_ context.Context, req *v1.RemoveDirectoryRequest) (
	*v1.RemoveDirectoryResponse, error,
) {
	return serve(req, h.c.removeDirectory)
}

func (h *adminHandler) RenameDirectory(_ context.Context, req *v1.RenameDirectoryRequest) (
	*v1.RenameDirectoryResponse, error,
) {
	return serve(req, h.c.renameDirectory)
}

func (h *adminHandler) RenameVolume(_ context.Context, req *v1.RenameVolumeRequest) (
	*v1.RenameVolumeResponse, error,
) {
	return serve(req, h.c.renameVolume)
}

func (h *adminHandler) ResizeVolume(_ context.Context, req *v1.ResizeVolumeRequest) (
	*v1.ResizeVolumeResponse, error,
) {
	return serve(req, h.c.resizeVolume)
}

func (h *adminHandler) ListTrash(_ context.Context, req *v1.ListTrashRequest) (
	*v1.ListTrashResponse, error,
) {
	return serve(req, h.c.listTrash)
}

func (h *adminHandler) RestoreVolume(_ context.Context, req *v1.RestoreVolumeRequest) (
	*v1.RestoreVolumeResponse, error,
) {
	return serve(req, h.c.restoreVolume)
}

func (h *adminHandler) PurgeVolume(_ context.Context, req *v1.PurgeVolumeRequest) (
	*v1.PurgeVolumeResponse, error,
) {
	return serve(req, h.c.purgeVolume)
}

func (h *adminHandler) ListEvents(_ context.Context, req *v1.ListEventsRequest) (
	*v1.ListEventsResponse, error,
) {
	return serve(req, h.c.listEvents)
}

func (h *adminHandler) Explain(_ context.Context, req *v1.ExplainRequest) (
	*v1.ExplainResponse, error,
) {
	return serve(req, h.c.explain)
}

func (h *nodeHandler) RegisterNode(_ context.Context, req *v1.RegisterNodeRequest) (
	*v1.RegisterNodeResponse, error,
) {
	return serve(req, h.c.registerNode)
}

func (h *nodeHandler) HeartbeatNode(_ context.Context, req *v1.HeartbeatNodeRequest) (
	*v1.HeartbeatNodeResponse, error,
) {
	return serve(req, h.c.heartbeatNode)
}

func (h *nodeHandler) RegisterProcess(_ context.Context, req *v1.RegisterProcessRequest) (
	*v1.RegisterProcessResponse, error,
) {
	return serve(req, h.c.registerProcess)
}

func (h *clientHandler) OpenVolume(_ context.Context, req *v1.OpenVolumeRequest) (
	*v1.OpenVolumeResponse, error,
) {
	return serve(req, h.c.openVolume)
}

func (h *clientHandler) RenewSession(_ context.Context, req *v1.RenewSessionRequest) (
	*v1.RenewSessionResponse, error,
) {
	return serve(req, h.c.renewSession)
}

func (h *clientHandler) CloseSession(_ context.Context, req *v1.CloseSessionRequest) (
	*v1.CloseSessionResponse, error,
) {
	return serve(req, h.c.closeSession)
}

func (h *clientHandler) LookupSegments(_ context.Context, req *v1.LookupSegmentsRequest) (
	*v1.LookupSegmentsResponse, error,
) {
	return serve(req, h.c.lookupSegments)
}

func (h *clientHandler) LookupCopysets(_ context.Context, req *v1.LookupCopysetsRequest) (
	*v1.LookupCopysetsResponse, error,
) {
	return serve(req, h.c.lookupCopysets)
}
