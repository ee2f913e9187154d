package remote

import (
	"github.com/ashlar-storage/ashlar/ebpf/mark"
	"github.com/ashlar-storage/ashlar/ebpf/probe"
	"github.com/ashlar-storage/ashlar/ebpf/trace"
)

// translator hands events on with their times by this machine's clock.
type translator struct {
	to    probe.Sink
	clock *clock
}

func (t *translator) Op(target int, o *mark.Op, at int64) {
	o.Arrived = t.clock.here(o.Arrived)
	t.to.Op(target, o, t.clock.here(at))
}

func (t *translator) Append(target int, a *mark.Append) {
	for _, at := range []*int64{&a.Queued, &a.Began, &a.Durable, &a.Taken} {
		*at = t.clock.here(*at)
	}
	t.to.Append(target, a)
}

func (t *translator) Ack(target int, a *mark.Ack) {
	a.At = t.clock.here(a.At)
	t.to.Ack(target, a)
}

func (t *translator) Delay(target int, d trace.Delay) {
	d.Began = t.clock.here(d.Began)
	t.to.Delay(target, d)
}

func (t *translator) Bio(target int, b trace.Bio) {
	b.Began = t.clock.here(b.Began)
	t.to.Bio(target, b)
}

func (t *translator) Resend(target int, r trace.Resend) {
	r.At = t.clock.here(r.At)
	t.to.Resend(target, r)
}

func (t *translator) Ring(target int, r trace.RingOp) {
	r.Began = t.clock.here(r.Began)
	t.to.Ring(target, r)
}
