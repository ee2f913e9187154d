package engine

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/perf/load"
	"github.com/ashlar-storage/ashlar/perf/meter"
	"github.com/ashlar-storage/ashlar/rpc/client"
	"github.com/ashlar-storage/ashlar/rpc/dial"
)

// The client's bounds are wide: the depth of the jobs is what is to limit them. Its pool holds for
// each operation what it writes from, what it has read, and what arrives meanwhile.
const (
	volumeInflight = 1 << 13
	volumeBytes    = 1 << 30
	poolMin        = 256 << 20
	poolShares     = 8
)

// Volume is the engine of the native client.
type Volume struct {
	V      *client.Volume
	copied *atomic.Int64 // bytes of reads that came in several buffers; nil: nobody asks
}

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
	c, err := o.connect(ctx, s)
	if err != nil {
		return nil, err
	}
	v, err := c.OpenVolume(ctx, s.Volume)
	if err != nil {
		return nil, err
	}
	o.volumes[key] = &Volume{v, new(atomic.Int64)}
	return o.volumes[key], nil
}

// connect makes a client with a pool of its own, which the card of its transports knows.
func (o *Opener) connect(ctx context.Context, s Spec) (*client.Client, error) {
	pool, err := buf.NewPool(buf.Config{Bytes: max(poolMin,
		poolShares*int64(s.Depth)*int64(s.Block))})
	if err != nil {
		return nil, err
	}
	o.pools = append(o.pools, pool)
	ways := o.Ways
	ways.Pool, ways.Logger = pool, slog.New(slog.DiscardHandler)
	set, err := dial.Open(ways)
	if err != nil {
		return nil, err
	}
	o.sets = append(o.sets, set)
	c, err := client.Connect(ctx, client.Config{Endpoint: s.Endpoint, Name: "ashlar bench",
		ReadOnly: !s.Write, MaxInflight: volumeInflight, MaxInflightBytes: volumeBytes,
		Pool: pool, Dial: set.Dial, Logger: ways.Logger})
	if err != nil {
		return nil, err
	}
	o.clients = append(o.clients, c)
	return c, nil
}

// carrier takes an operation through the client. It stays with the operation.
type carrier struct {
	op     client.Op
	mem    *buf.Buf   // lent for the operation; nil: it has memory of its own
	got    []*buf.Buf // what its last read brought
	copied *atomic.Int64
}

func carrierOf(op *load.Op) *carrier {
	c, _ := op.Engine.(*carrier)
	if c == nil {
		c = &carrier{}
		c.op.User, c.op.Done = op, c.done
		op.Engine = c
	}
	return c
}

// Lend implements load.Lender: what lies in the client's pool is written, and read, without a copy.
func (e Volume) Lend(op *load.Op, n int) []byte {
	b, err := e.V.Client().Buffer(n)
	if err != nil {
		return nil
	}
	c := carrierOf(op)
	c.mem, c.copied = b, e.copied
	return b.Bytes()
}

// Return implements load.Lender.
func (Volume) Return(op *load.Op) {
	c := carrierOf(op)
	c.drop()
	if c.mem != nil {
		c.mem.Release()
		c.mem = nil
	}
}

func (c *carrier) drop() {
	for _, b := range c.got {
		b.Release()
	}
	c.got = c.got[:0]
}

// Submit implements load.Engine.
func (e Volume) Submit(op *load.Op) {
	c := carrierOf(op)
	c.drop()
	c.op.Off, c.op.Data, c.op.Buf = op.Off, op.Data, nil
	switch {
	case op.Kind == load.Sync:
		c.op.Kind = client.OpFlush
	case op.Kind == load.Write:
		c.op.Kind, c.op.Buf = client.OpWrite, c.mem
	case c.mem != nil:
		c.op.Kind, c.op.Data, c.op.Len = client.OpFetch, nil, int64(len(op.Data))
	default:
		c.op.Kind = client.OpRead
	}
	e.V.Submit(&c.op)
}

// done hands over what was read: the buffer it came in, or of several their bytes in a row.
func (c *carrier) done(x *client.Op) {
	op := x.User.(*load.Op)
	op.Err = x.Err
	if x.Kind == client.OpFetch && x.Err == nil {
		c.got = append(c.got, x.Bufs...)
		if len(x.Bufs) == 1 {
			op.Data = x.Bufs[0].Bytes()
		} else {
			c.join(op.Data)
		}
	}
	op.Done(op)
}

// join copies what a read brought into one piece.
func (c *carrier) join(to []byte) {
	if c.copied != nil {
		c.copied.Add(int64(len(to)))
	}
	for _, b := range c.got {
		to = to[copy(to, b.Bytes()):]
	}
}

// Size implements Target.
func (e Volume) Size() int64 { return e.V.Size() }

// Close implements Target. The attachment ends with the Opener: other jobs may use it.
func (Volume) Close() error { return nil }

// Counters are those of the clients: "copied" is the bytes of data that were copied in user space,
// and those by transport what passed connections.
func (o *Opener) Counters() meter.Stats {
	out := meter.Stats{}
	for _, v := range o.volumes {
		out["copied"] += float64(v.V.Stats().CopiedBytes + v.copied.Load())
	}
	for _, c := range o.clients {
		for _, t := range c.Traffic() {
			out["copied"] += float64(t.Received.Copied + t.Sent.Copied)
			out["moved."+t.Transport] += float64(t.Received.Bytes + t.Sent.Bytes)
		}
	}
	return out
}
