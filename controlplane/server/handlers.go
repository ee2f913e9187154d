package server

import (
	"context"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// The handlers only translate: each method calls the cluster's method of the same name and gives
// its error the form that crosses the wire.
type (
	adminHandler  struct{ s *Server }
	nodeHandler   struct{ s *Server }
	clientHandler struct{ s *Server }
)

var (
	_ v1.AdminService  = (*adminHandler)(nil)
	_ v1.NodeService   = (*nodeHandler)(nil)
	_ v1.ClientService = (*clientHandler)(nil)
)

func (h *adminHandler) CreateVolume(_ context.Context, req *v1.CreateVolumeRequest) (
	*v1.CreateVolumeResponse, error,
) {
	return serve(h.s, req, (*cluster).createVolume)
}

func (h *adminHandler) GetSpace(_ context.Context, req *v1.GetSpaceRequest) (
	*v1.GetSpaceResponse, error,
) {
	return serve(h.s, req, (*cluster).getSpace)
}

func (h *adminHandler) ListVolumes(_ context.Context, req *v1.ListVolumesRequest) (
	*v1.ListVolumesResponse, error,
) {
	return serve(h.s, req, (*cluster).listVolumes)
}

func (h *adminHandler) GetVolume(_ context.Context, req *v1.GetVolumeRequest) (
	*v1.GetVolumeResponse, error,
) {
	return serve(h.s, req, (*cluster).getVolume)
}

func (h *adminHandler) DeleteVolume(_ context.Context, req *v1.DeleteVolumeRequest) (
	*v1.DeleteVolumeResponse, error,
) {
	return serve(h.s, req, (*cluster).deleteVolume)
}

func (h *adminHandler) ListAttachments(_ context.Context, req *v1.ListAttachmentsRequest) (
	*v1.ListAttachmentsResponse, error,
) {
	return serve(h.s, req, (*cluster).listAttachments)
}

func (h *adminHandler) DetachVolume(_ context.Context, req *v1.DetachVolumeRequest) (
	*v1.DetachVolumeResponse, error,
) {
	return serve(h.s, req, (*cluster).detachVolume)
}

func (h *adminHandler) ClusterStatus(_ context.Context, req *v1.ClusterStatusRequest) (
	*v1.ClusterStatusResponse, error,
) {
	return serve(h.s, req, (*cluster).clusterStatus)
}

func (h *adminHandler) ListNodes(_ context.Context, req *v1.ListNodesRequest) (
	*v1.ListNodesResponse, error,
) {
	return serve(h.s, req, (*cluster).listNodes)
}

func (h *adminHandler) ListCopysets(_ context.Context, req *v1.ListCopysetsRequest) (
	*v1.ListCopysetsResponse, error,
) {
	return serve(h.s, req, (*cluster).listCopysets)
}

func (h *adminHandler) GetCopyset(_ context.Context, req *v1.GetCopysetRequest) (
	*v1.GetCopysetResponse, error,
) {
	return serve(h.s, req, (*cluster).getCopyset)
}

func (h *adminHandler) GetPoolDurability(_ context.Context, req *v1.GetPoolDurabilityRequest) (
	*v1.GetPoolDurabilityResponse, error,
) {
	return serve(h.s, req, (*cluster).getPoolDurability)
}

func (h *adminHandler) GrowPool(_ context.Context, req *v1.GrowPoolRequest) (
	*v1.GrowPoolResponse, error,
) {
	return serve(h.s, req, (*cluster).growPool)
}

func (h *adminHandler) CreateDirectory(_ context.Context, req *v1.CreateDirectoryRequest) (
	*v1.CreateDirectoryResponse, error,
) {
	return serve(h.s, req, (*cluster).createDirectory)
}

func (h *adminHandler) ListDirectories(_ context.Context, req *v1.ListDirectoriesRequest) (
	*v1.ListDirectoriesResponse, error,
) {
	return serve(h.s, req, (*cluster).listDirectories)
}

func (h *adminHandler) RemoveDirectory(_ context.Context, req *v1.RemoveDirectoryRequest) (
	*v1.RemoveDirectoryResponse, error,
) {
	return serve(h.s, req, (*cluster).removeDirectory)
}

func (h *adminHandler) RenameDirectory(_ context.Context, req *v1.RenameDirectoryRequest) (
	*v1.RenameDirectoryResponse, error,
) {
	return serve(h.s, req, (*cluster).renameDirectory)
}

func (h *adminHandler) RenameVolume(_ context.Context, req *v1.RenameVolumeRequest) (
	*v1.RenameVolumeResponse, error,
) {
	return serve(h.s, req, (*cluster).renameVolume)
}

func (h *adminHandler) ResizeVolume(_ context.Context, req *v1.ResizeVolumeRequest) (
	*v1.ResizeVolumeResponse, error,
) {
	return serve(h.s, req, (*cluster).resizeVolume)
}

func (h *adminHandler) ListTrash(_ context.Context, req *v1.ListTrashRequest) (
	*v1.ListTrashResponse, error,
) {
	return serve(h.s, req, (*cluster).listTrash)
}

func (h *adminHandler) RestoreVolume(_ context.Context, req *v1.RestoreVolumeRequest) (
	*v1.RestoreVolumeResponse, error,
) {
	return serve(h.s, req, (*cluster).restoreVolume)
}

func (h *adminHandler) PurgeVolume(_ context.Context, req *v1.PurgeVolumeRequest) (
	*v1.PurgeVolumeResponse, error,
) {
	return serve(h.s, req, (*cluster).purgeVolume)
}

func (h *adminHandler) ListEvents(_ context.Context, req *v1.ListEventsRequest) (
	*v1.ListEventsResponse, error,
) {
	return serve(h.s, req, (*cluster).listEvents)
}

func (h *adminHandler) Explain(_ context.Context, req *v1.ExplainRequest) (
	*v1.ExplainResponse, error,
) {
	return serve(h.s, req, (*cluster).explain)
}

func (h *nodeHandler) RegisterNode(_ context.Context, req *v1.RegisterNodeRequest) (
	*v1.RegisterNodeResponse, error,
) {
	return serve(h.s, req, (*cluster).registerNode)
}

func (h *nodeHandler) HeartbeatNode(ctx context.Context, req *v1.HeartbeatNodeRequest) (
	*v1.HeartbeatNodeResponse, error,
) {
	return serve(h.s, req, func(c *cluster, req *v1.HeartbeatNodeRequest) (
		*v1.HeartbeatNodeResponse, error,
	) {
		return c.heartbeatNode(ctx, req)
	})
}

func (h *nodeHandler) RegisterProcess(_ context.Context, req *v1.RegisterProcessRequest) (
	*v1.RegisterProcessResponse, error,
) {
	return serve(h.s, req, (*cluster).registerProcess)
}

func (h *clientHandler) OpenVolume(_ context.Context, req *v1.OpenVolumeRequest) (
	*v1.OpenVolumeResponse, error,
) {
	return serve(h.s, req, (*cluster).openVolume)
}

func (h *clientHandler) RenewSession(_ context.Context, req *v1.RenewSessionRequest) (
	*v1.RenewSessionResponse, error,
) {
	return serve(h.s, req, (*cluster).renewSession)
}

func (h *clientHandler) CloseSession(_ context.Context, req *v1.CloseSessionRequest) (
	*v1.CloseSessionResponse, error,
) {
	return serve(h.s, req, (*cluster).closeSession)
}

func (h *clientHandler) LookupSegments(_ context.Context, req *v1.LookupSegmentsRequest) (
	*v1.LookupSegmentsResponse, error,
) {
	return serve(h.s, req, (*cluster).lookupSegments)
}

func (h *clientHandler) LookupCopysets(_ context.Context, req *v1.LookupCopysetsRequest) (
	*v1.LookupCopysetsResponse, error,
) {
	return serve(h.s, req, (*cluster).lookupCopysets)
}
