package client

import (
	"context"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Control is what the client needs of the control plane. It is asked when a volume is opened, when
// a mapping is missing or proved wrong, and to keep the session; never for a single read or write.
type Control interface {
	OpenVolume(context.Context, *v1.OpenVolumeRequest) (*v1.OpenVolumeResponse, error)
	RenewSession(context.Context, *v1.RenewSessionRequest) (*v1.RenewSessionResponse, error)
	CloseSession(context.Context, *v1.CloseSessionRequest) (*v1.CloseSessionResponse, error)
	LookupSegments(context.Context, *v1.LookupSegmentsRequest) (*v1.LookupSegmentsResponse, error)
	LookupCopysets(context.Context, *v1.LookupCopysetsRequest) (*v1.LookupCopysetsResponse, error)
	// Close ends the connection to the control plane.
	Close() error
}

// remoteControl is the control plane behind an endpoint.
type remoteControl struct{ clients *admin.Clients }

func dialControl(endpoint string) (Control, error) {
	clients, err := admin.Dial(endpoint)
	if err != nil {
		return nil, err
	}
	return remoteControl{clients}, nil
}

func (r remoteControl) OpenVolume(ctx context.Context, q *v1.OpenVolumeRequest,
) (*v1.OpenVolumeResponse, error) {
	return r.clients.Client.OpenVolume(ctx, q)
}

func (r remoteControl) RenewSession(ctx context.Context, q *v1.RenewSessionRequest,
) (*v1.RenewSessionResponse, error) {
	return r.clients.Client.RenewSession(ctx, q)
}

func (r remoteControl) CloseSession(ctx context.Context, q *v1.CloseSessionRequest,
) (*v1.CloseSessionResponse, error) {
	return r.clients.Client.CloseSession(ctx, q)
}

func (r remoteControl) LookupSegments(ctx context.Context, q *v1.LookupSegmentsRequest,
) (*v1.LookupSegmentsResponse, error) {
	return r.clients.Client.LookupSegments(ctx, q)
}

func (r remoteControl) LookupCopysets(ctx context.Context, q *v1.LookupCopysetsRequest,
) (*v1.LookupCopysetsResponse, error) {
	return r.clients.Client.LookupCopysets(ctx, q)
}

func (r remoteControl) Close() error { return r.clients.Close() }
