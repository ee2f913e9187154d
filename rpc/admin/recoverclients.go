package admin

import (
	"context"

	"github.com/cloudwego/kitex/client/callopt"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Calls about the loss of metadata.

func (c *adminClient) ReadMetadata(ctx context.Context, req *v1.ReadMetadataRequest,
	opts ...callopt.Option,
) (*v1.ReadMetadataResponse, error) {
	return call(ctx, c.core, "ReadMetadata", c.kitex.ReadMetadata, req, opts)
}

func (c *adminClient) RebuildVolumes(ctx context.Context, req *v1.RebuildVolumesRequest,
	opts ...callopt.Option,
) (*v1.RebuildVolumesResponse, error) {
	return call(ctx, c.core, "RebuildVolumes", c.kitex.RebuildVolumes, req, opts)
}

func (c *nodeClient) ReportChunks(ctx context.Context, req *v1.ReportChunksRequest,
	opts ...callopt.Option,
) (*v1.ReportChunksResponse, error) {
	return call(ctx, c.core, "ReportChunks", c.kitex.ReportChunks, req, opts)
}
