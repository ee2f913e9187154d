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

// The kinds of events, as in probe.bpf.c. Those of marks have one record or more.
const (
	eventOp = iota + 1
	eventAppend
	eventAck
	eventDelay
	eventBio
	eventResend
	eventRing
)

// Decoder decodes events, one after the other, where they lie or in the same memory.
type Decoder struct {
	op     mark.Op
	app    mark.Append
	ack    mark.Ack
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
const headSize = int(unsafe.Sizeof(probeHead{}))

// Decode hands one event on, as the programs of this package write them. Anything else it leaves
// alone.
func (e *Decoder) Decode(raw []byte, to Sink) {
	if len(raw) < headSize {
		return
	}
	var head probeHead
	fill(&head, raw[:headSize])
	kind, target := head.Kind, int(head.Target)
	switch {
	case kind == eventOp:
		records(head.Count, &e.op, raw, func(o *mark.Op) { to.Op(target, o, int64(head.At)) })
	case kind == eventAppend:
		records(head.Count, &e.app, raw, func(a *mark.Append) { to.Append(target, a) })
	case kind == eventAck:
		records(head.Count, &e.ack, raw, func(a *mark.Ack) { to.Ack(target, a) })
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

// records gives the first n records of an event of marks, behind which there may be room for more;
// none if it is too short for them. They are not copied where they lie as such records have to,
// which those from a ring do.
func records[T any](n uint16, room *T, raw []byte, each func(*T)) {
	raw = raw[headSize:]
	size := int(unsafe.Sizeof(*room))
	if n == 0 || int(n)*size > len(raw) {
		return
	}
	first := unsafe.Pointer(&raw[0])
	if uintptr(first)%unsafe.Alignof(*room) == 0 {
		for i, all := 0, unsafe.Slice((*T)(first), n); i < len(all); i++ {
			each(&all[i])
		}
		return
	}
	for i := range int(n) {
		fill(room, raw[i*size:(i+1)*size])
		each(room)
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
