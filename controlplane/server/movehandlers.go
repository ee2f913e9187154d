package server

import (
	"context"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Calls about what the cluster does by itself.

func (h *adminHandler) DrainStore(_ context.Context, req *v1.DrainStoreRequest) (
	*v1.DrainStoreResponse, error,
) {
	return serve(h.s, req, (*cluster).drainStore)
}

func (h *adminHandler) UndrainStore(_ context.Context, req *v1.UndrainStoreRequest) (
	*v1.UndrainStoreResponse, error,
) {
	return serve(h.s, req, (*cluster).undrainStore)
}

func (h *adminHandler) DrainNode(_ context.Context, req *v1.DrainNodeRequest) (
	*v1.DrainNodeResponse, error,
) {
	return serve(h.s, req, (*cluster).drainNode)
}

func (h *adminHandler) UndrainNode(_ context.Context, req *v1.UndrainNodeRequest) (
	*v1.UndrainNodeResponse, error,
) {
	return serve(h.s, req, (*cluster).undrainNode)
}

func (h *adminHandler) ListSchedulers(_ context.Context, req *v1.ListSchedulersRequest) (
	*v1.ListSchedulersResponse, error,
) {
	return serve(h.s, req, (*cluster).listSchedulers)
}

func (h *adminHandler) SetScheduler(_ context.Context, req *v1.SetSchedulerRequest) (
	*v1.SetSchedulerResponse, error,
) {
	return serve(h.s, req, (*cluster).setScheduler)
}

func (h *adminHandler) ListOperators(_ context.Context, req *v1.ListOperatorsRequest) (
	*v1.ListOperatorsResponse, error,
) {
	return serve(h.s, req, (*cluster).listOperators)
}

func (h *adminHandler) CancelOperator(_ context.Context, req *v1.CancelOperatorRequest) (
	*v1.CancelOperatorResponse, error,
) {
	return serve(h.s, req, (*cluster).cancelOperator)
}

func (h *adminHandler) ListLimits(_ context.Context, req *v1.ListLimitsRequest) (
	*v1.ListLimitsResponse, error,
) {
	return serve(h.s, req, (*cluster).listLimits)
}

func (h *adminHandler) SetLimit(_ context.Context, req *v1.SetLimitRequest) (
	*v1.SetLimitResponse, error,
) {
	return serve(h.s, req, (*cluster).setLimit)
}

func (h *adminHandler) GetScrubWindows(_ context.Context, req *v1.GetScrubWindowsRequest) (
	*v1.GetScrubWindowsResponse, error,
) {
	return serve(h.s, req, (*cluster).getScrubWindows)
}

func (h *adminHandler) SetScrubWindows(_ context.Context, req *v1.SetScrubWindowsRequest) (
	*v1.SetScrubWindowsResponse, error,
) {
	return serve(h.s, req, (*cluster).setScrubWindows)
}
