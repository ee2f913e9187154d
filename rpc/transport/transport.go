package transport

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Classes of errors, for errors.Is. Framing errors are those of package wire.
var (
	// ErrClosed: this end closed the connection or the server.
	ErrClosed = errors.New("transport: closed")
	// ErrSlowReader: the peer left more than MaxOutbound bytes of answers unread.
	ErrSlowReader = errors.New("transport: peer reads too slowly")
	// ErrTimeout: the peer did not greet, finish a frame or take bytes in time.
	ErrTimeout = errors.New("transport: peer timed out")
	// ErrHello: the first frame was not an acceptable greeting.
	ErrHello = errors.New("transport: bad greeting")
	// ErrTooBig: a message to be sent passes the limits of the protocol.
	ErrTooBig = errors.New("transport: message too big")
	// ErrConfig: a field of a Config makes no sense.
	ErrConfig = errors.New("transport: bad configuration")
)

// Message is one frame.
//
// Received: Meta is valid only until the next message (of the same connection)
// is asked for or the handler returns. Payload, nil for a frame without one,
// is a pool buffer of exactly the payload's length, 4 KiB-aligned, of which
// the receiver owns one reference. Body and Release are unused. A received
// Header.Status of wire.StatusOverloaded with no metadata can also mean that
// the answer's payload found no free buffer and was discarded.
//
// Sent: MetaLen and PayloadLen of the header are set by the transport. Meta is
// copied and may be reused when the call returns. The payload is the bytes of
// Body in order and then those of Payload, all by reference: they must not
// change until Release is called; the slice Body itself may be reused when the
// call returns. The transport calls Release (may be nil) and drops one
// reference of Payload exactly once, whatever happens: after the bytes left, or
// when they never will. That may be after Send has returned, where the card or
// the kernel takes the bytes from where they are. Release must not block and
// must not call back into the connection.
type Message struct {
	Header  wire.Header
	Meta    []byte
	Payload *buf.Buf
	Body    [][]byte
	Release func()
	// Room is the most payload in bytes that the answer to a sent request may carry. A transport
	// that lets the peer place the payload opens so much memory to it; an answer that brings more
	// is refused. TCP needs no room.
	Room int
}

// Dialer makes connections: Dial does, and so does whatever chooses between transports.
type Dialer func(ctx context.Context, addr string, cfg Config) (Conn, error)

// done gives the message's memory back to its owner.
func (m *Message) done() {
	if m.Payload != nil {
		m.Payload.Release()
	}
	if m.Release != nil {
		m.Release()
	}
}

// PayloadBytes is the length in bytes of the payload of a message to be sent.
func (m *Message) PayloadBytes() (n int) {
	for _, b := range m.Body {
		n += len(b)
	}
	if m.Payload != nil {
		n += len(m.Payload.Bytes())
	}
	return n
}

// Drop gives the memory of messages back to its owners: of those that no connection has taken.
func Drop(msgs []Message) {
	for i := range msgs {
		msgs[i].done()
	}
}

// Conn is a connection made by Dial. Send may be called from many goroutines,
// Recv from one at a time; Close unblocks both.
type Conn interface {
	// Send writes all messages, in order and with one vectored write where the
	// kernel takes it, and returns when the kernel, or the card, has the frames.
	// It blocks while the peer does not read, and gives up when that takes no byte
	// for as long as the write time-out; after any error but ErrTooBig the
	// connection is dead. Of memory outside the pool, that of a Body without
	// Release is free of references when it returns.
	Send(msgs []Message) error
	// TrySend is Send for a caller that must not block: what the kernel takes at
	// once is sent. With Partial the rest waits by reference, and somebody must
	// call Finish; with Busy another Send is under way and nothing was taken.
	TrySend(msgs []Message) (Sent, error)
	// Finish sends what a Partial TrySend left, blocking as Send does.
	Finish() error
	// Recv returns the next message. io.EOF means that the peer closed between
	// frames.
	Recv() (Message, error)
	// Peer is the other end's greeting.
	Peer() wire.Hello
	RemoteAddr() string
	Close() error
}

// Sent is what became of a TrySend.
type Sent uint8

// The outcomes of TrySend.
const (
	Complete Sent = iota // the kernel has everything
	Partial              // Finish must be called
	Busy                 // nothing was taken; the messages are the caller's
)

// Config is for Dial.
type Config struct {
	// Pool gives the buffers for received payloads. Required.
	Pool *buf.Pool
	// Hello is sent as the first frame; its Version is filled in.
	Hello wire.Hello
	// WriteTimeout bounds how long a Send waits while the peer takes no byte; 0 means
	// DefaultWriteTimeout. A card has it for the whole Send.
	WriteTimeout time.Duration
	// DialTimeout bounds connecting and greeting; 0 means DefaultDialTimeout.
	// An earlier deadline of the context wins.
	DialTimeout time.Duration
	// Meter, if set, counts what passes the connection.
	Meter *Meter
	// ZeroCopy is for TCP. Where the kernel cannot, plain writes do.
	ZeroCopy ZeroCopy
}

// Handler receives what happens on a server's connections. All calls for one
// connection come from its event loop, one after another: OnOpen after the
// greeting, then OnMessage for each frame and OnBatchEnd after the last frame
// of each readable event, and OnClose exactly once if OnOpen was called. They
// must not block: other connections share the loop.
type Handler interface {
	OnOpen(c ServerConn)
	// OnMessage takes a frame. m and m.Meta are valid only during the call;
	// the handler owns m.Payload.
	OnMessage(c ServerConn, m *Message)
	OnBatchEnd(c ServerConn)
	OnClose(c ServerConn, err error)
}

// ServerConn is the server's end of a connection. All methods may be called
// from any goroutine, also after the connection closed.
type ServerConn interface {
	// ID is unique among all connections of the server's life.
	ID() uint64
	Remote() string
	// Peer is the other end's greeting.
	Peer() wire.Hello
	// Reply queues msgs and sees that everything queued is sent: by the calling
	// goroutine when no other request of the connection is open and the batch
	// is small, else by whoever is writing already or by the event loop, where
	// several replies become one write. It never blocks on the peer. Inside
	// OnMessage and OnBatchEnd, and for other goroutines while the loop is in
	// them, sending waits for the end of the batch: one write for all.
	Reply(msgs []Message)
	// Queue is Reply without sending: for an owner that answers many requests
	// in one turn and then calls Flush once per connection. Queued messages
	// are sent by the next Flush, Reply or readable event.
	Queue(msgs []Message)
	// Flush sends what is queued, from the calling goroutine if it is little.
	Flush()
	// Pending is the number of bytes accepted by Reply and Queue that the
	// kernel does not have yet.
	Pending() int64
	// SetUser and User attach the handler's own state.
	SetUser(v any)
	User() any
	// Close sends what is queued as far as the kernel takes it and closes;
	// err (nil: ErrClosed) is what OnClose gets.
	Close(err error)
}

// ServerConfig is for Listen. Zero fields get the defaults of limits.go.
type ServerConfig struct {
	// Pool gives the buffers for received payloads. Required.
	Pool *buf.Pool
	// Hello answers each client's greeting; its Version is filled in.
	Hello wire.Hello
	// Loops is the number of event loops.
	Loops int
	// MaxConns bounds open connections; a further one is closed at once.
	MaxConns int
	// MaxOutbound bounds unsent bytes per connection; a peer that lets them
	// grow past it is closed.
	MaxOutbound int64
	// HelloTimeout bounds the time to the greeting, FrameTimeout the time a
	// begun frame may make no progress.
	HelloTimeout, FrameTimeout time.Duration
	// Meter, if set, counts what passes the connections.
	Meter *Meter
	// ZeroCopy is for TCP. Where the kernel cannot, a log line says so and plain writes do.
	ZeroCopy ZeroCopy
	// Logger gets one line per refused connection; nil means slog.Default().
	Logger *slog.Logger
}

// Listener serves the connections of one transport: Server is that of sockets.
type Listener interface {
	// Addr is the address to dial.
	Addr() string
	Stats() Stats
	// Close closes every connection and waits until all callbacks have returned.
	Close() error
}

// ListenFunc starts a Listener at an address, with the handler that others may have too. It gives
// nil and no error when the transport is not to be had there and need not be.
type ListenFunc func(addr string, h Handler, cfg ServerConfig) (Listener, error)

// Attachment is the handler's own state of a ServerConn, for those who implement it.
type Attachment struct{ user atomic.Pointer[any] }

// SetUser implements ServerConn.
func (a *Attachment) SetUser(v any) { a.user.Store(&v) }

// User implements ServerConn; nil before SetUser.
func (a *Attachment) User() any {
	if p := a.user.Load(); p != nil {
		return *p
	}
	return nil
}
