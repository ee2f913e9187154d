package client

import (
	"context"
	"fmt"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// opFence is an operation of the client's own: one request for each copyset of the volume.
const opFence Kind = 100

// Fence ends the right to write of every session of a volume that is older than the epoch, at each
// copyset of the volume. The epoch must come from the control plane (DetachVolume), or copysets
// would refuse what later sessions write. It fails with ErrFenced when a newer session has fenced
// already; what is older is fenced then too.
func (c *Client) Fence(ctx context.Context, vol *v1.Volume, epoch uint64, cluster string) error {
	v, err := newVolume(c, vol.GetName(), false, &v1.OpenVolumeResponse{Volume: vol, Epoch: epoch})
	if err != nil {
		return err
	}
	if err := c.enter(v, cluster); err != nil {
		return err
	}
	defer v.leave()
	if err := v.fence(ctx); err != nil {
		return fmt.Errorf("client: fence volume %q: %w", v.name, err)
	}
	return nil
}

// fence ends the right to write of every older session, at each copyset of the volume. A copyset
// learns the epoch of a session from its writes too, but only when one reaches it: until then a
// client that believes to have the volume still could go on writing there.
func (v *Volume) fence(ctx context.Context) error {
	routes, err := v.everyRoute(ctx)
	if err != nil {
		return err
	}
	if err := v.admit.enter(0); err != nil {
		return err
	}
	done := make(chan struct{})
	op := &Op{Kind: opFence, Done: func(*Op) { close(done) }}
	op.state.live = 1 + len(routes)
	op.state.deadline = v.c.now() + int64(v.c.cfg.Timeout)
	for _, r := range routes {
		x := newPiece()
		x.op, x.vol, x.route, x.kind = op, v, r, wire.OpFence
		x.m = machine{deadline: op.state.deadline}
		v.c.drive(x, event{kind: evStart, now: v.c.now()}, true)
	}
	v.settle(op)
	select {
	case <-done:
		return op.Err
	case <-ctx.Done():
		v.fail(ErrClosed) // ends what is under way
		<-done
		return ctx.Err()
	}
}

// everyRoute is the copysets of the volume, each once. It asks the control plane for what is not
// known of the mapping yet.
func (v *Volume) everyRoute(ctx context.Context) ([]*route, error) {
	seen := map[*route]bool{}
	var routes []*route
	segments := v.mapping.all()
	for seg := range segments {
		list := segments[seg].Load()
		if list == nil {
			if err := v.fetch(ctx, uint64(seg)); err != nil {
				return nil, err
			}
			if list = v.mapping.all()[seg].Load(); list == nil {
				return nil, fmt.Errorf("%w: control plane names no copyset of segment %d",
					ErrServer, seg)
			}
		}
		for _, r := range *list {
			if !seen[r] {
				seen[r] = true
				routes = append(routes, r)
			}
		}
	}
	return routes, nil
}
