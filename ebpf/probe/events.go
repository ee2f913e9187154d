package probe

import (
	"unsafe"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
	"github.com/ashlar-storage/ashlar/ebpf/trace"
)

// Sink takes events. What it is given is valid during the call.
type Sink interface {
	// Op is given a request, and when the kernel was told of it: its answer had left.
	Op(target int, o *mark.Op, at int64)
	Append(target int, a *mark.Append)
	Ack(target int, a *mark.Ack)
	Delay(target int, d trace.Delay)
	Bio(target int, b trace.Bio)
	Resend(target int, r trace.Resend)
	Ring(target int, r trace.RingOp)
}

// The kinds of events, as in probe.bpf.c.
const (
	eventOp = iota + 1
	eventAppend
	eventAck
	eventDelay
	eventBio
	eventResend
	eventRing
)

// events decodes events, one after the other in the same memory.
type events struct {
	op     probeOpEvent
	app    probeAppendEvent
	ack    probeAckEvent
	delay  probeDelayEvent
	bio    probeBioEvent
	resend probeResendEvent
	ring   probeRingEvent
}

// slotBits of an operation's user data are the ring's own; see io/disk.
const slotBits = 16

// headSize is the size of what all events begin with.
const headSize = int(unsafe.Sizeof(probeOpEvent{}.Head))

// decode hands one event on. The programs that write them are part of this one: there are no
// others.
func (e *events) decode(raw []byte, to Sink) {
	if len(raw) < headSize {
		return
	}
	kind := *(*uint32)(unsafe.Pointer(&raw[0]))
	target := int(*(*uint32)(unsafe.Pointer(&raw[4])))
	switch {
	case kind == eventOp && fill(&e.op, raw):
		to.Op(target, (*mark.Op)(unsafe.Pointer(&e.op.Op)), int64(e.op.Head.At))
	case kind == eventAppend && fill(&e.app, raw):
		to.Append(target, (*mark.Append)(unsafe.Pointer(&e.app.Append)))
	case kind == eventAck && fill(&e.ack, raw):
		to.Ack(target, (*mark.Ack)(unsafe.Pointer(&e.ack.Ack)))
	case kind == eventDelay && fill(&e.delay, raw):
		to.Delay(target, trace.Delay{Began: int64(e.delay.Began), Took: int64(e.delay.Took),
			Thread: e.delay.Tid, CPU: e.delay.Cpu})
	case kind == eventBio && fill(&e.bio, raw):
		to.Bio(target, trace.Bio{Began: int64(e.bio.Began), Took: int64(e.bio.Took),
			Sector: e.bio.Sector, Device: e.bio.Device, Bytes: e.bio.Bytes,
			Class: trace.Class(e.bio.Class)})
	case kind == eventResend && fill(&e.resend, raw):
		to.Resend(target, trace.Resend{At: int64(e.resend.At), Local: e.resend.Local,
			Remote: e.resend.Remote})
	case kind == eventRing && fill(&e.ring, raw):
		to.Ring(target, trace.RingOp{Began: int64(e.ring.Began), Took: int64(e.ring.Took),
			Tag: e.ring.UserData >> slotBits, Opcode: e.ring.Opcode})
	}
}

// fill copies an event into its type; false if it is of another size.
func fill[T any](to *T, raw []byte) bool {
	size := int(unsafe.Sizeof(*to))
	if len(raw) != size {
		return false
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(to)), size), raw)
	return true
}
