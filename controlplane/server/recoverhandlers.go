package server

import (
	"context"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Calls about the loss of metadata.

func (h *adminHandler) ReadMetadata(ctx context.Context, req *v1.ReadMetadataRequest) (
	*v1.ReadMetadataResponse, error,
) {
	return serve(h.s, req, func(c *cluster, q *v1.ReadMetadataRequest) (
		*v1.ReadMetadataResponse, error,
	) {
		return h.s.readings.page(ctx, c, q)
	})
}

func (h *adminHandler) RebuildVolumes(_ context.Context, req *v1.RebuildVolumesRequest) (
	*v1.RebuildVolumesResponse, error,
) {
	return serve(h.s, req, (*cluster).rebuildVolumes)
}

func (h *nodeHandler) ReportChunks(_ context.Context, req *v1.ReportChunksRequest) (
	*v1.ReportChunksResponse, error,
) {
	return serve(h.s, req, (*cluster).reportChunks)
}
