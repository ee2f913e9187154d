package engine

import (
	"context"
	"fmt"

	"github.com/ashlar-storage/ashlar/perf/load"
	"github.com/ashlar-storage/ashlar/rpc/nbd"
)

// export is a connection to an NBD server.
type export struct {
	c     *nbd.Client
	flags nbd.CmdFlags // of writes
}

func openNBD(ctx context.Context, s Spec) (Target, error) {
	d := nbd.Dialer{MaxInFlight: s.Depth + 1}
	c, err := d.Dial(ctx, s.URI, "")
	if err != nil {
		return nil, err
	}
	e, info := &export{c: c}, c.Info()
	switch {
	case s.Write && info.ReadOnly:
		err = fmt.Errorf("%w: %s is read-only: use rw=read or randread", ErrUnfit, s.URI)
	case s.Sync != "none" && s.Write && !info.FUA:
		err = fmt.Errorf("%w: %s has no durable writes (FUA): use fsync=1 in place of sync",
			ErrUnfit, s.URI)
	case s.Flush && !info.Flush:
		err = fmt.Errorf("%w: %s has no flush: leave fsync, fdatasync and end_fsync out", ErrUnfit,
			s.URI)
	case s.Block > int(info.MaxPayload):
		err = fmt.Errorf("%w: bs is %d: %s takes at most %d at a time", ErrUnfit, s.Block, s.URI,
			info.MaxPayload)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	if s.Sync != "none" {
		e.flags = nbd.FlagFUA
	}
	return e, nil
}

// Submit implements load.Engine.
func (e *export) Submit(op *load.Op) {
	r, _ := op.Engine.(*nbd.Request)
	if r == nil {
		r = &nbd.Request{User: op, Done: func(r *nbd.Request) {
			op := r.User.(*load.Op)
			op.Err = r.Err
			op.Done(op)
		}}
		op.Engine = r
	}
	r.Off, r.Data, r.Len, r.Flags, r.Err = op.Off, op.Data, int64(len(op.Data)), 0, nil
	switch op.Kind {
	case load.Read:
		r.Cmd = nbd.CmdRead
	case load.Write:
		r.Cmd, r.Flags = nbd.CmdWrite, e.flags
	case load.Sync:
		r.Cmd = nbd.CmdFlush
	}
	e.c.Submit(r)
}

func (e *export) Size() int64  { return e.c.Info().Size }
func (e *export) Close() error { return e.c.Close() }
