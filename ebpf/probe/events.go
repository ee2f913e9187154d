package probe

import (
	"crypto/sha256"
	_ "embed"
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

// Decoder decodes events, one after the other in the same memory.
type Decoder struct {
	op     probeOpEvent
	app    probeAppendEvent
	ack    probeAckEvent
	delay  probeDelayEvent
	bio    probeBioEvent
	resend probeResendEvent
	ring   probeRingEvent
}

//go:embed probe.sum
var sources []byte

// Version names the sources of the probes, and with them how events lie in memory: a Decoder can
// read those of probes of the same version only.
func Version() [sha256.Size]byte { return sha256.Sum256(sources) }

// slotBits of an operation's user data are the ring's own; see io/disk.
const slotBits = 16

// headSize is the size of what all events begin with.
const headSize = int(unsafe.Sizeof(probeOpEvent{}.Head))

// Decode hands one event on, as the programs of this package write them. Anything else it leaves
// alone.
func (e *Decoder) Decode(raw []byte, to Sink) {
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
