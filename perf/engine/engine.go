package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/perf/load"
	"github.com/ashlar-storage/ashlar/rpc/client"
	"github.com/ashlar-storage/ashlar/rpc/dial"
)

// ErrUnfit marks what an engine cannot do.
var ErrUnfit = errors.New("engine: cannot")

// Spec says what to open.
type Spec struct {
	Kind string // ashlar, nbd, uring, net or null

	Volume, Endpoint string // ashlar; net: Endpoint is the address of an echo
	URI              string // nbd
	File             string // uring

	Depth  int
	Block  int // the largest operation
	Write  bool
	Flush  bool   // the job flushes
	Direct bool   // uring
	Sync   string // none, dsync or sync
	// Reach is the end of the region in bytes, as far as it is known: a file may be made as
	// large; 0: it must be there.
	Reach int64
}

// Target is something opened. Size is 0 when it has none of its own.
type Target interface {
	load.Engine
	Size() int64
	Close() error
}

// Opener opens targets. It is not safe for concurrent use; its targets are.
type Opener struct {
	// Ways are the transports to nodes, but for the pool; set before the first target is opened.
	Ways dial.Config

	clients []*client.Client
	pools   []*buf.Pool
	sets    []*dial.Set
	volumes map[string]*Volume
}

// NewOpener returns one without any target.
func NewOpener() *Opener { return &Opener{volumes: map[string]*Volume{}} }

// Open opens a target; the caller closes it, before Close.
func (o *Opener) Open(ctx context.Context, s Spec) (Target, error) {
	switch s.Kind {
	case "ashlar":
		return o.volume(ctx, s)
	case "nbd":
		return openNBD(ctx, s)
	case "uring":
		return openFile(s)
	case "net":
		return openNet(ctx, s)
	case "null":
		return Null{}, nil
	}
	return nil, fmt.Errorf("%w: engine %.20q is none: use ashlar, nbd, uring, net or null",
		ErrUnfit, s.Kind)
}

// Close ends what targets share.
func (o *Opener) Close() error {
	var errs []error
	for _, v := range o.volumes {
		errs = append(errs, v.V.Close())
	}
	for _, c := range o.clients {
		errs = append(errs, c.Close())
	}
	for _, s := range o.sets {
		errs = append(errs, s.Close())
	}
	for _, p := range o.pools {
		errs = append(errs, p.Close())
	}
	o.volumes, o.clients, o.sets, o.pools = nil, nil, nil, nil
	return errors.Join(errs...)
}

// Null does nothing, at once.
type Null struct{}

// Submit implements load.Engine.
func (Null) Submit(op *load.Op) { op.Done(op) }

// Size implements Target.
func (Null) Size() int64 { return 0 }

// Close implements Target.
func (Null) Close() error { return nil }
