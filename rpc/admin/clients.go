package admin

import (
	"context"

	"github.com/cloudwego/kitex/client/callopt"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1/adminservice"
	"github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1/clientservice"
	"github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1/nodeservice"
)

// The generated clients neither bound a call by default nor keep error classes, and Kitex offers no
// hook outside its own time-out. Each method therefore goes through call; a method missing here
// does not compile.

type adminClient struct {
	core  *core
	kitex adminservice.Client
}

var _ adminservice.Client = (*adminClient)(nil)

func (c *adminClient) CreateVolume(ctx context.Context, req *v1.CreateVolumeRequest,
	opts ...callopt.Option,
) (*v1.CreateVolumeResponse, error) {
	return call(ctx, c.core, "CreateVolume", c.kitex.CreateVolume, req, opts)
}

func (c *adminClient) ListVolumes(ctx context.Context, req *v1.ListVolumesRequest,
	opts ...callopt.Option,
) (*v1.ListVolumesResponse, error) {
	return call(ctx, c.core, "ListVolumes", c.kitex.ListVolumes, req, opts)
}

func (c *adminClient) GetVolume(ctx context.Context, req *v1.GetVolumeRequest,
	opts ...callopt.Option,
) (*v1.GetVolumeResponse, error) {
	return call(ctx, c.core, "GetVolume", c.kitex.GetVolume, req, opts)
}

func (c *adminClient) DeleteVolume(ctx context.Context, req *v1.DeleteVolumeRequest,
	opts ...callopt.Option,
) (*v1.DeleteVolumeResponse, error) {
	return call(ctx, c.core, "DeleteVolume", c.kitex.DeleteVolume, req, opts)
}

func (c *adminClient) ListAttachments(ctx context.Context, req *v1.ListAttachmentsRequest,
	opts ...callopt.Option,
) (*v1.ListAttachmentsResponse, error) {
	return call(ctx, c.core, "ListAttachments", c.kitex.ListAttachments, req, opts)
}

func (c *adminClient) DetachVolume(ctx context.Context, req *v1.DetachVolumeRequest,
	opts ...callopt.Option,
) (*v1.DetachVolumeResponse, error) {
	return call(ctx, c.core, "DetachVolume", c.kitex.DetachVolume, req, opts)
}

func (c *adminClient) ClusterStatus(ctx context.Context, req *v1.ClusterStatusRequest,
	opts ...callopt.Option,
) (*v1.ClusterStatusResponse, error) {
	return call(ctx, c.core, "ClusterStatus", c.kitex.ClusterStatus, req, opts)
}

func (c *adminClient) ListNodes(ctx context.Context, req *v1.ListNodesRequest,
	opts ...callopt.Option,
) (*v1.ListNodesResponse, error) {
	return call(ctx, c.core, "ListNodes", c.kitex.ListNodes, req, opts)
}

func (c *adminClient) ListCopysets(ctx context.Context, req *v1.ListCopysetsRequest,
	opts ...callopt.Option,
) (*v1.ListCopysetsResponse, error) {
	return call(ctx, c.core, "ListCopysets", c.kitex.ListCopysets, req, opts)
}

func (c *adminClient) GetCopyset(ctx context.Context, req *v1.GetCopysetRequest,
	opts ...callopt.Option,
) (*v1.GetCopysetResponse, error) {
	return call(ctx, c.core, "GetCopyset", c.kitex.GetCopyset, req, opts)
}

func (c *adminClient) GetPoolDurability(ctx context.Context, req *v1.GetPoolDurabilityRequest,
	opts ...callopt.Option,
) (*v1.GetPoolDurabilityResponse, error) {
	return call(ctx, c.core, "GetPoolDurability", c.kitex.GetPoolDurability, req, opts)
}

func (c *adminClient) GrowPool(ctx context.Context, req *v1.GrowPoolRequest,
	opts ...callopt.Option,
) (*v1.GrowPoolResponse, error) {
	return call(ctx, c.core, "GrowPool", c.kitex.GrowPool, req, opts)
}

func (c *adminClient) CreateDirectory(ctx context.Context, req *v1.CreateDirectoryRequest,
	opts ...callopt.Option,
) (*v1.CreateDirectoryResponse, error) {
	return call(ctx, c.core, "CreateDirectory", c.kitex.CreateDirectory, req, opts)
}

func (c *adminClient) ListDirectories(ctx context.Context, req *v1.ListDirectoriesRequest,
	opts ...callopt.Option,
) (*v1.ListDirectoriesResponse, error) {
	return call(ctx, c.core, "ListDirectories", c.kitex.ListDirectories, req, opts)
}

func (c *adminClient) RemoveDirectory(ctx context.Context, req *v1.RemoveDirectoryRequest,
	opts ...callopt.Option,
) (*v1.RemoveDirectoryResponse, error) {
	return call(ctx, c.core, "RemoveDirectory", c.kitex.RemoveDirectory, req, opts)
}

func (c *adminClient) RenameDirectory(ctx context.Context, req *v1.RenameDirectoryRequest,
	opts ...callopt.Option,
) (*v1.RenameDirectoryResponse, error) {
	return call(ctx, c.core, "RenameDirectory", c.kitex.RenameDirectory, req, opts)
}

func (c *adminClient) RenameVolume(ctx context.Context, req *v1.RenameVolumeRequest,
	opts ...callopt.Option,
) (*v1.RenameVolumeResponse, error) {
	return call(ctx, c.core, "RenameVolume", c.kitex.RenameVolume, req, opts)
}

func (c *adminClient) ResizeVolume(ctx context.Context, req *v1.ResizeVolumeRequest,
	opts ...callopt.Option,
) (*v1.ResizeVolumeResponse, error) {
	return call(ctx, c.core, "ResizeVolume", c.kitex.ResizeVolume, req, opts)
}

func (c *adminClient) ListTrash(ctx context.Context, req *v1.ListTrashRequest,
	opts ...callopt.Option,
) (*v1.ListTrashResponse, error) {
	return call(ctx, c.core, "ListTrash", c.kitex.ListTrash, req, opts)
}

func (c *adminClient) RestoreVolume(ctx context.Context, req *v1.RestoreVolumeRequest,
	opts ...callopt.Option,
) (*v1.RestoreVolumeResponse, error) {
	return call(ctx, c.core, "RestoreVolume", c.kitex.RestoreVolume, req, opts)
}

func (c *adminClient) PurgeVolume(ctx context.Context, req *v1.PurgeVolumeRequest,
	opts ...callopt.Option,
) (*v1.PurgeVolumeResponse, error) {
	return call(ctx, c.core, "PurgeVolume", c.kitex.PurgeVolume, req, opts)
}

func (c *adminClient) ListEvents(ctx context.Context, req *v1.ListEventsRequest,
	opts ...callopt.Option,
) (*v1.ListEventsResponse, error) {
	return call(ctx, c.core, "ListEvents", c.kitex.ListEvents, req, opts)
}

func (c *adminClient) Explain(ctx context.Context, req *v1.ExplainRequest,
	opts ...callopt.Option,
) (*v1.ExplainResponse, error) {
	return call(ctx, c.core, "Explain", c.kitex.Explain, req, opts)
}

func (c *adminClient) GetSpace(ctx context.Context, req *v1.GetSpaceRequest,
	opts ...callopt.Option,
) (*v1.GetSpaceResponse, error) {
	return call(ctx, c.core, "GetSpace", c.kitex.GetSpace, req, opts)
}

type nodeClient struct {
	core  *core
	kitex nodeservice.Client
}

var _ nodeservice.Client = (*nodeClient)(nil)

func (c *nodeClient) RegisterNode(ctx context.Context, req *v1.RegisterNodeRequest,
	opts ...callopt.Option,
) (*v1.RegisterNodeResponse, error) {
	return call(ctx, c.core, "RegisterNode", c.kitex.RegisterNode, req, opts)
}

func (c *nodeClient) HeartbeatNode(ctx context.Context, req *v1.HeartbeatNodeRequest,
	opts ...callopt.Option,
) (*v1.HeartbeatNodeResponse, error) {
	return call(ctx, c.core, "HeartbeatNode", c.kitex.HeartbeatNode, req, opts)
}

func (c *nodeClient) RegisterProcess(ctx context.Context, req *v1.RegisterProcessRequest,
	opts ...callopt.Option,
) (*v1.RegisterProcessResponse, error) {
	return call(ctx, c.core, "RegisterProcess", c.kitex.RegisterProcess, req, opts)
}

type blockClient struct {
	core  *core
	kitex clientservice.Client
}

var _ clientservice.Client = (*blockClient)(nil)

func (c *blockClient) OpenVolume(ctx context.Context, req *v1.OpenVolumeRequest,
	opts ...callopt.Option,
) (*v1.OpenVolumeResponse, error) {
	return call(ctx, c.core, "OpenVolume", c.kitex.OpenVolume, req, opts)
}

func (c *blockClient) RenewSession(ctx context.Context, req *v1.RenewSessionRequest,
	opts ...callopt.Option,
) (*v1.RenewSessionResponse, error) {
	return call(ctx, c.core, "RenewSession", c.kitex.RenewSession, req, opts)
}

func (c *blockClient) CloseSession(ctx context.Context, req *v1.CloseSessionRequest,
	opts ...callopt.Option,
) (*v1.CloseSessionResponse, error) {
	return call(ctx, c.core, "CloseSession", c.kitex.CloseSession, req, opts)
}

func (c *blockClient) LookupSegments(ctx context.Context, req *v1.LookupSegmentsRequest,
	opts ...callopt.Option,
) (*v1.LookupSegmentsResponse, error) {
	return call(ctx, c.core, "LookupSegments", c.kitex.LookupSegments, req, opts)
}

func (c *blockClient) LookupCopysets(ctx context.Context, req *v1.LookupCopysetsRequest,
	opts ...callopt.Option,
) (*v1.LookupCopysetsResponse, error) {
	return call(ctx, c.core, "LookupCopysets", c.kitex.LookupCopysets, req, opts)
}
