package engine

import (
	"context"
	"fmt"

	"github.com/ashlar-storage/ashlar/perf/echo"
	"github.com/ashlar-storage/ashlar/perf/load"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// frames sends each operation's block, read or write, to an echo and waits for it to come back.
type frames struct{ c *echo.Client }

func openNet(ctx context.Context, s Spec) (Target, error) {
	if s.Block > wire.MaxPayload {
		return nil, fmt.Errorf("%w: bs is %d: a frame takes at most %d", ErrUnfit, s.Block,
			wire.MaxPayload)
	}
	if s.Depth*s.Block > echo.PoolBytes/2 {
		return nil, fmt.Errorf("%w: iodepth times bs is %d: the echo takes at most %d at a time",
			ErrUnfit, s.Depth*s.Block, echo.PoolBytes/2)
	}
	c, err := echo.Dial(ctx, s.Endpoint)
	if err != nil {
		return nil, err
	}
	return frames{c}, nil
}

// Submit implements load.Engine.
func (f frames) Submit(op *load.Op) {
	r, _ := op.Engine.(*echo.Request)
	if r == nil {
		r = &echo.Request{User: op, Done: func(r *echo.Request) {
			op := r.User.(*load.Op)
			op.Err = r.Err
			op.Done(op)
		}}
		op.Engine = r
	}
	r.Data = op.Data
	f.c.Submit(r)
}

func (f frames) Size() int64  { return 0 }
func (f frames) Close() error { return f.c.Close() }
