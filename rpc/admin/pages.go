package admin

import (
	"context"

	"github.com/cloudwego/kitex/client/callopt"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// volumeLister is the part of the admin service that Volumes needs.
type volumeLister interface {
	ListVolumes(context.Context, *v1.ListVolumesRequest, ...callopt.Option) (
		*v1.ListVolumesResponse, error)
}

// Volumes asks for all pages of a listing, from the one that the request names. It ends with what
// it has when a page fails, and returns that error.
func Volumes(ctx context.Context, c volumeLister, req *v1.ListVolumesRequest) (
	all []*v1.Volume, err error,
) {
	q := *req
	for {
		r, err := c.ListVolumes(ctx, &q)
		if err != nil {
			return all, err
		}
		all = append(all, r.GetVolumes()...)
		if q.PageToken = r.GetNextPageToken(); q.PageToken == "" {
			return all, nil
		}
	}
}

// directoryLister is the part of the admin service that Directories needs.
type directoryLister interface {
	ListDirectories(context.Context, *v1.ListDirectoriesRequest, ...callopt.Option) (
		*v1.ListDirectoriesResponse, error)
}

// Directories asks for all pages of a listing, as Volumes does.
func Directories(ctx context.Context, c directoryLister, req *v1.ListDirectoriesRequest) (
	all []*v1.Directory, err error,
) {
	q := *req
	for {
		r, err := c.ListDirectories(ctx, &q)
		if err != nil {
			return all, err
		}
		all = append(all, r.GetDirectories()...)
		if q.PageToken = r.GetNextPageToken(); q.PageToken == "" {
			return all, nil
		}
	}
}

// trashLister is the part of the admin service that Trash needs.
type trashLister interface {
	ListTrash(context.Context, *v1.ListTrashRequest, ...callopt.Option) (
		*v1.ListTrashResponse, error)
}

// Trash asks for all pages of the volumes that have no name any more, as Volumes does.
func Trash(ctx context.Context, c trashLister) (all []*v1.Trashed, err error) {
	q := v1.ListTrashRequest{}
	for {
		r, err := c.ListTrash(ctx, &q)
		if err != nil {
			return all, err
		}
		all = append(all, r.GetVolumes()...)
		if q.PageToken = r.GetNextPageToken(); q.PageToken == "" {
			return all, nil
		}
	}
}
