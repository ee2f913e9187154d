package admin

import (
	"context"

	"github.com/cloudwego/kitex/client/callopt"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Calls about what the cluster does by itself.

func (c *adminClient) DrainStore(ctx context.Context, req *v1.DrainStoreRequest,
	opts ...callopt.Option,
) (*v1.DrainStoreResponse, error) {
	return call(ctx, c.core, "DrainStore", c.kitex.DrainStore, req, opts)
}

func (c *adminClient) UndrainStore(ctx context.Context, req *v1.UndrainStoreRequest,
	opts ...callopt.Option,
) (*v1.UndrainStoreResponse, error) {
	return call(ctx, c.core, "UndrainStore", c.kitex.UndrainStore, req, opts)
}

func (c *adminClient) DrainNode(ctx context.Context, req *v1.DrainNodeRequest,
	opts ...callopt.Option,
) (*v1.DrainNodeResponse, error) {
	return call(ctx, c.core, "DrainNode", c.kitex.DrainNode, req, opts)
}

func (c *adminClient) UndrainNode(ctx context.Context, req *v1.UndrainNodeRequest,
	opts ...callopt.Option,
) (*v1.UndrainNodeResponse, error) {
	return call(ctx, c.core, "UndrainNode", c.kitex.UndrainNode, req, opts)
}

func (c *adminClient) ListSchedulers(ctx context.Context, req *v1.ListSchedulersRequest,
	opts ...callopt.Option,
) (*v1.ListSchedulersResponse, error) {
	return call(ctx, c.core, "ListSchedulers", c.kitex.ListSchedulers, req, opts)
}

func (c *adminClient) SetScheduler(ctx context.Context, req *v1.SetSchedulerRequest,
	opts ...callopt.Option,
) (*v1.SetSchedulerResponse, error) {
	return call(ctx, c.core, "SetScheduler", c.kitex.SetScheduler, req, opts)
}

func (c *adminClient) ListOperators(ctx context.Context, req *v1.ListOperatorsRequest,
	opts ...callopt.Option,
) (*v1.ListOperatorsResponse, error) {
	return call(ctx, c.core, "ListOperators", c.kitex.ListOperators, req, opts)
}

func (c *adminClient) CancelOperator(ctx context.Context, req *v1.CancelOperatorRequest,
	opts ...callopt.Option,
) (*v1.CancelOperatorResponse, error) {
	return call(ctx, c.core, "CancelOperator", c.kitex.CancelOperator, req, opts)
}

func (c *adminClient) ListLimits(ctx context.Context, req *v1.ListLimitsRequest,
	opts ...callopt.Option,
) (*v1.ListLimitsResponse, error) {
	return call(ctx, c.core, "ListLimits", c.kitex.ListLimits, req, opts)
}

func (c *adminClient) SetLimit(ctx context.Context, req *v1.SetLimitRequest,
	opts ...callopt.Option,
) (*v1.SetLimitResponse, error) {
	return call(ctx, c.core, "SetLimit", c.kitex.SetLimit, req, opts)
}

func (c *adminClient) GetScrubWindows(ctx context.Context, req *v1.GetScrubWindowsRequest,
	opts ...callopt.Option,
) (*v1.GetScrubWindowsResponse, error) {
	return call(ctx, c.core, "GetScrubWindows", c.kitex.GetScrubWindows, req, opts)
}

func (c *adminClient) SetScrubWindows(ctx context.Context, req *v1.SetScrubWindowsRequest,
	opts ...callopt.Option,
) (*v1.SetScrubWindowsResponse, error) {
	return call(ctx, c.core, "SetScrubWindows", c.kitex.SetScrubWindows, req, opts)
}
