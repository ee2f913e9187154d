package nbd

import (
	"errors"

	"github.com/ashlar-storage/ashlar/io/buf"
)

// Classes of errors; test with errors.Is.
var (
	// ErrUnknownExport is returned by a Backend for a name it does not serve.
	ErrUnknownExport = errors.New("nbd: unknown export")
	// ErrPolicy is returned by a Backend that knows the export and refuses it to this client.
	ErrPolicy = errors.New("nbd: export refused")
	// ErrProtocol means that the peer broke the protocol; its connection is closed.
	ErrProtocol = errors.New("nbd: protocol violation")
	// ErrClosed is returned for work given to a closed server or client.
	ErrClosed = errors.New("nbd: closed")
	// ErrBusy means that a listener address is in use by a live server.
	ErrBusy = errors.New("nbd: address in use")
)

// Backend names the exports of a server. Calls come from connection goroutines, several at a
// time, and may block: each holds up only the connection it is made for.
type Backend interface {
	// Lookup opens an export for one connection; the server calls its Close when the
	// connection ends. The empty name asks for the default export.
	// Errors: ErrUnknownExport, ErrPolicy; any other is reported as "not available".
	Lookup(name string) (Export, error)
	// List returns what a client may see, in the order to show.
	List() ([]ExportInfo, error)
}

// Describer is an optional part of a Backend: the facts of an export without opening it. A
// client that only asks (NBD_OPT_INFO, metadata contexts) then opens nothing. Without it the
// server uses Lookup and Close.
type Describer interface {
	Describe(name string) (ExportInfo, error)
}

// ExportInfo is what a client learns of an export. The server advertises exactly what is set
// here, so a field that is true is a promise of the Export.
type ExportInfo struct {
	Name        string // canonical name, at most 4096 bytes
	Description string // for people, at most 4096 bytes
	Size        int64  // bytes

	MinBlock       uint32 // bytes, power of two up to 64 KiB; 0 means 1 (any alignment)
	PreferredBlock uint32 // bytes, power of two from 512; 0 means 4096
	MaxPayload     uint32 // bytes of one read or write; 0 means 32 MiB, which is also the most

	ReadOnly   bool // writes of every kind are refused with EPERM
	Rotational bool
	Flush      bool // CmdFlush makes every write answered before it durable
	FUA        bool // FlagFUA is honoured
	Trim       bool // CmdTrim is accepted
	Zeroes     bool // CmdWriteZeroes and FlagNoHole are accepted
	FastZero   bool // zeroing is always cheaper than writing (needs Zeroes)
	Cache      bool // CmdCache is accepted; it is a hint without effect here
	MultiConn  bool // flush and FUA on one connection cover the writes of all connections
	Extents    bool // the export implements Mapper
}

// Flags are the transmission flags that i stands for.
func (i ExportInfo) Flags(structured bool) TransmissionFlags {
	f := HasFlags
	set := func(on bool, bit TransmissionFlags) {
		if on {
			f |= bit
		}
	}
	set(i.ReadOnly, IsReadOnly)
	set(i.Rotational, IsRotational)
	set(i.Flush, SendFlush)
	set(i.FUA, SendFUA)
	set(i.Trim && !i.ReadOnly, SendTrim)
	set(i.Zeroes && !i.ReadOnly, SendWriteZeroes)
	set(i.Zeroes && i.FastZero && !i.ReadOnly, SendFastZero)
	set(i.Cache, SendCache)
	set(i.MultiConn, CanMultiConn)
	set(structured, SendDF)
	return f
}

// withDefaults fills in what zero stands for and caps what the server cannot exceed.
func (i ExportInfo) withDefaults() ExportInfo {
	if i.MinBlock == 0 {
		i.MinBlock = 1
	}
	if i.PreferredBlock == 0 {
		i.PreferredBlock = max(defaultPreferredBlock, i.MinBlock)
	}
	if i.MaxPayload == 0 || i.MaxPayload > MaxPayload {
		i.MaxPayload = MaxPayload
	}
	return i
}

// Export is one block device, opened for one connection.
type Export interface {
	// Info is constant for the life of the Export.
	Info() ExportInfo
	// Submit starts a request and returns; req.Done is called exactly once, from any
	// goroutine, also before Submit returns. It may block: the connection then stops
	// reading, which is how an export pushes back. Requests in flight together may be
	// carried out in any order.
	Submit(req *Request)
	// Close is called once, when no request is in flight.
	Close() error
}

// Request is one operation on an export. The server sends a client's large request as several:
// reads and writes of at most MaxRequest bytes that do not cross a multiple of MaxRequest,
// trims and zeroes likewise with MaxZeroRequest. Ranges always lie inside the export and obey
// its MinBlock.
type Request struct {
	Cmd   Cmd      // CmdRead, CmdWrite, CmdFlush, CmdTrim or CmdWriteZeroes
	Flags CmdFlags // FlagFUA, FlagNoHole, FlagFastZero
	Off   int64    // bytes
	Len   int64    // bytes; len(Data) for a read or a write
	Data  []byte   // to fill (read) or to store (write); 4 KiB-aligned, valid until Done

	// Buf is the buffer of the server's pool that Data lies in; nil: in none. The export may take
	// references of its own, to send from it what it stores.
	Buf *buf.Buf
	// Got, when the export sets it before Done, is a buffer of len(Data) bytes that answers a read
	// in place of Data, so that nobody copies it. Its reference is the server's from then on.
	Got *buf.Buf

	// Done reports the end of the request; the server sets it. Err is set before: nil, an
	// Errno, or any error (which the client sees as EIO).
	Done func(*Request)
	Err  error

	// User belongs to the Export. It is kept when the server reuses the Request, so that an
	// export can hang its own state here once instead of allocating it for every request.
	User any
}

// finish sets the outcome and reports it.
func (r *Request) finish(err error) {
	r.Err = err
	r.Done(r)
}

// State describes an extent in the base:allocation context.
type State uint32

// Bits of State; none means allocated or unknown.
const (
	StateHole State = 1 << 0 // not allocated
	StateZero State = 1 << 1 // reads as zeroes
)

// Extent is a run of bytes with one state.
type Extent struct {
	Len   int64 // bytes, above zero
	State State
}

// Mapper is an optional part of an Export: it serves CmdBlockStatus.
type Mapper interface {
	// Extents appends to dst the extents that cover [off, off+n), in order and without
	// gaps, at most limit of them (covering a prefix is enough, at least one is required).
	// It may block.
	Extents(dst []Extent, off, n int64, limit int) ([]Extent, error)
}
