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
