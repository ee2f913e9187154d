package verbs

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Classes of errors, for errors.Is.
var (
	// ErrUnsupported: this program was built without RDMA, or the machine has no such card.
	ErrUnsupported = errors.New("verbs: not supported here")
	// ErrNoDevice: no card, port or address of that name.
	ErrNoDevice = errors.New("verbs: no such device")
	// ErrFull: a queue has no room for what was posted; nothing was taken.
	ErrFull = errors.New("verbs: queue full")
	// ErrMemlock: the kernel does not let this process pin so much memory.
	ErrMemlock = errors.New("verbs: limit of locked memory")
	// ErrRefused: the peer does not listen, or does not want the connection.
	ErrRefused = errors.New("verbs: connection refused")
	// ErrClosed: this side closed the object.
	ErrClosed = errors.New("verbs: closed")
)

// Provider is a way to reach cards.
type Provider interface {
	// Devices lists the cards with their ports and addresses.
	Devices() ([]Device, error)
	// Open makes a card ready for use: that of the name, or of any if it is empty and there is one
	// only. A card can be opened several times.
	Open(name string) (Context, error)
}

// Device is a card as Devices lists it.
type Device struct {
	Name      string
	Transport string // "InfiniBand", "RoCE v2", "iWARP"
	Caps      Caps
	Ports     []Port
}

// Port is a port of a card.
type Port struct {
	Number    int
	Active    bool
	State     string // as the card names it
	LinkLayer string // "InfiniBand" or "Ethernet"
	NetDev    string // the network interface beneath; empty if there is none
	MTU       int    // bytes a packet carries, 256 to 4096
	GIDs      []GID
}

// GID is an address of a port.
type GID struct {
	Index int
	Type  string // "RoCE v1", "RoCE v2", "IB"
	Addr  netip.Addr
}

// Caps is what a card can do at most.
type Caps struct {
	QPs, CQs, MRs, SRQs, Windows int
	// Depth is the work requests of a queue, CQDepth the completions, SGEs the pieces of a request.
	Depth, CQDepth, SGEs int
	// Reads is the RDMA reads that a queue pair may have under way each way.
	Reads int
	// TypeTwo: windows of type 2B, which the peer's answer can invalidate.
	TypeTwo bool
}

// Context is an opened card with a protection domain of its own. What is made from it works
// together; it is closed last.
type Context interface {
	Device() Device
	// Register pins memory outside the Go heap and makes it known to the card: for local use and to
	// bind windows to; peers reach nothing of it by that. ErrMemlock when the kernel refuses.
	Register(mem []byte) (Region, error)
	NewCQ(depth int) (CQ, error)
	NewSRQ(depth int) (SRQ, error)
	// Listen takes connections at an address of the card; port 0 picks one.
	Listen(addr netip.AddrPort, backlog int) (Listener, error)
	// Dial connects a queue pair to a listener. The peer gets private (at most MaxPrivate bytes)
	// with the request and the answer carries its own back, also with ErrRefused. That, or the
	// context's error; after an error there is no queue pair, and its memory is free.
	Dial(ctx context.Context, addr netip.AddrPort, cfg QPConfig, private []byte) (QP, []byte, error)
	Close() error
}

// MaxPrivate is the most private data in bytes that a connection request carries (56 of which
// rdma_cm leaves to an IPv4 or IPv6 address), MaxPrivateReply the most of an answer or a refusal
// that every implementation carries.
const (
	MaxPrivate      = 56
	MaxPrivateReply = 136
)

// Region is registered memory.
type Region interface {
	// Key names the region in requests of this side.
	Key() uint32
	Close() error
}

// Listener takes connection requests.
type Listener interface {
	Addr() netip.AddrPort
	// Next waits for a request. ErrClosed after Close.
	Next() (Request, error)
	Close() error
}

// Request is a peer that asks for a connection. It is accepted or refused, once.
type Request interface {
	Remote() netip.AddrPort
	Private() []byte
	// Accept makes the queue pair and waits until the connection stands; after an error there is
	// none. Receives in the shared queue, or posted by ready before the answer goes out, are there
	// for the peer's first message.
	Accept(cfg QPConfig, private []byte, ready func(QP) error) (QP, error)
	Reject(private []byte) error
}

// QPConfig is how a queue pair is made.
type QPConfig struct {
	// CQ gets the completions of both queues.
	CQ CQ
	// SRQ, if set, is where receives come from; Recvs is of no meaning then.
	SRQ SRQ
	// Sends and Recvs are the depths of the queues, SGEs the most pieces of a send, Inline the
	// bytes a send may carry with Inlined (the card may allow more).
	Sends, Recvs, SGEs, Inline int
	// Reads is the RDMA reads of each side that may be under way.
	Reads int
	// Ready is called by the dialling side before the request goes out: to post receives.
	Ready func(QP) error
	// RetryTimeout is about how long a peer that does not answer is tried before the queue pair
	// breaks; 0 means DefaultRetryTimeout.
	RetryTimeout time.Duration
}

// DefaultRetryTimeout is a queue pair's patience with a peer that does not answer.
const DefaultRetryTimeout = time.Second

// QP is a connected queue pair.
type QP interface {
	// Num is the number by which completions name it; unique in its Context while it is open.
	Num() uint32
	Remote() netip.AddrPort
	// Post posts requests in order. Either all are taken or, with an error, none. Any goroutine may
	// call it.
	Post(reqs []Send) error
	// PostRecv posts receives, unless there is a shared queue.
	PostRecv(recvs []Recv) error
	// NewWindow makes a window, bound to nothing.
	NewWindow() (Window, error)
	// Gone is closed when either side disconnected, the peer vanished or the queue pair broke.
	Gone() <-chan struct{}
	// Disconnect breaks the queue pair: everything posted completes (Flushed).
	Disconnect()
	// Close disconnects and waits until the card uses none of the memory named by requests;
	// completions not yet polled may be lost, but those of receives of a shared queue come as
	// Flushed with QP 0: they are to be posted again. Its windows are gone with it.
	Close() error
}

// SRQ is a receive queue that many queue pairs share.
type SRQ interface {
	PostRecv(recvs []Recv) error
	Close() error
}

// CQ collects completions. One goroutine polls it.
type CQ interface {
	// Poll takes completions without waiting and returns how many.
	Poll(into []Completion) (int, error)
	// Wait sleeps until there is something to poll, Wake was called or the time is over (0: no
	// limit). It may return early.
	Wait(limit time.Duration) error
	// Wake ends a Wait, from any goroutine.
	Wake()
	Close() error
}

// Window is a piece of registered memory that a peer may reach.
type Window interface {
	// Key is the key for the peer as of the last Bind posted; each binding has another.
	Key() uint32
	// NextKey is the key the next Bind posted will have.
	NextKey() uint32
	Close() error
}

// Piece is registered memory in a request.
type Piece struct {
	Mem []byte
	Key uint32 // of its region
}

// Op is what a Send asks for.
type Op uint8

// The operations.
const (
	OpSend       Op = iota + 1 // to the peer's next receive
	OpSendInv                  // that, and invalidates the peer's window of key Remote.Key
	OpWrite                    // into the peer's memory
	OpWriteImm                 // that, and completes the peer's next receive with Imm
	OpRead                     // from the peer's memory
	OpBind                     // binds Window to Pieces[0]
	OpInvalidate               // invalidates this side's window of key Remote.Key
	OpRecv                     // in completions only
	OpRecvImm                  // in completions only: a receive completed by OpWriteImm
)

// Access is what a peer may do with a window.
type Access uint8

// The rights.
const (
	PeerReads Access = 1 << iota
	PeerWrites
)

// Remote is memory of the peer.
type Remote struct {
	Addr uint64
	Key  uint32
}

// Send is a request for the send queue.
type Send struct {
	ID     uint64 // comes back in the completion
	Op     Op
	Pieces []Piece
	Remote Remote // OpWrite, OpWriteImm, OpRead; OpSendInv and OpInvalidate: its Key
	Imm    uint32
	Window Window // OpBind
	Access Access // OpBind
	// Signalled asks for a completion. Fenced waits for earlier reads of this queue pair. Inlined
	// has the memory copied by Post, so that it is free at once; it need not be registered.
	Signalled, Fenced, Inlined bool
}

// Recv is a receive. A message longer than its pieces breaks the queue pair.
type Recv struct {
	ID     uint64
	Pieces []Piece
}

// Status is how a request ended.
type Status uint8

// The statuses.
const (
	OK           Status = iota
	Flushed             // not done, because the queue pair is broken
	RemoteAccess        // the peer's memory is not open to it
	LocalAccess         // this side's memory is not what the request says
	TooLong             // a receive was shorter than its message
	NoReceive           // the peer had no receive posted, for too long
	NoAnswer            // the peer's card did not answer
	Failed              // anything else
)

var statusNames = [...]string{"ok", "flushed", "remote access error", "local access error",
	"message too long", "peer not ready", "no answer", "failed"}

func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "unknown"
}

// Completion is the end of a request or of a receive.
type Completion struct {
	ID     uint64
	QP     uint32
	Op     Op // of no meaning unless Status is OK
	Status Status
	// Vendor is the card's own code for a failure.
	Vendor uint32
	// Bytes is how much was received or read. Imm is that of OpRecvImm. Invalidated is the key of
	// this side's window that the peer's OpSendInv closed, 0 for none.
	Bytes       int
	Imm         uint32
	Invalidated uint32
}
