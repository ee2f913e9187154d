package engine

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ashlar-storage/ashlar/perf/load"
	"github.com/ashlar-storage/ashlar/rpc/client"
)

// The client's bounds are wide: the depth of the jobs is what is to limit them.
const (
	volumeInflight = 1 << 13
	volumeBytes    = 1 << 30
)

// Volume is the engine of the native client.
type Volume struct{ V *client.Volume }

// volume attaches a volume, once for all jobs that write it and once for those that only read: a
// reader fences nobody.
func (o *Opener) volume(ctx context.Context, s Spec) (Target, error) {
	if s.Block > client.MaxOpBytes {
		return nil, fmt.Errorf("%w: bs is %d: a volume takes at most %d at a time", ErrUnfit,
			s.Block, client.MaxOpBytes)
	}
	key := fmt.Sprintf("%s %s %t", s.Endpoint, s.Volume, s.Write)
	if v := o.volumes[key]; v != nil {
		return v, nil
	}
	c, err := client.Connect(ctx, client.Config{Endpoint: s.Endpoint, Name: "ashlar bench",
		ReadOnly: !s.Write, MaxInflight: volumeInflight, MaxInflightBytes: volumeBytes,
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	o.clients = append(o.clients, c)
	v, err := c.OpenVolume(ctx, s.Volume)
	if err != nil {
		return nil, err
	}
	o.volumes[key] = &Volume{v}
	return o.volumes[key], nil
}

// Submit implements load.Engine.
func (e Volume) Submit(op *load.Op) {
	c, _ := op.Engine.(*client.Op)
	if c == nil {
		c = &client.Op{User: op, Done: func(c *client.Op) {
			op := c.User.(*load.Op)
			op.Err = c.Err
			op.Done(op)
		}}
		op.Engine = c
	}
	c.Off, c.Data = op.Off, op.Data
	switch op.Kind {
	case load.Read:
		c.Kind = client.OpRead
	case load.Write:
		c.Kind = client.OpWrite
	case load.Sync:
		c.Kind = client.OpFlush
	}
	e.V.Submit(c)
}

// Size implements Target.
func (e Volume) Size() int64 { return e.V.Size() }

// Close implements Target. The attachment ends with the Opener: other jobs may use it.
func (Volume) Close() error { return nil }
