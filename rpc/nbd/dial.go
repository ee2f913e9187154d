package nbd

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/socket"
)

// Dialer opens connections to NBD servers. The zero value asks for everything that helps.
type Dialer struct {
	SimpleReplies bool // do not ask for structured replies
	ExportName    bool // choose the export with the older NBD_OPT_EXPORT_NAME
	Extents       bool // select base:allocation, for Client.Extents
	MaxInFlight   int  // requests; Submit waits at the bound; 0 means 128
}

const defaultInFlight = 128

// Dial connects to the export of a server. addr is "host:port", "unix:/path", "nbd://host/export"
// or "nbd+unix:///export?socket=/path"; export, if not empty, goes before the one in addr. ctx
// bounds the dialling and the handshake.
// Errors: ErrUnknownExport, ErrPolicy, ErrProtocol, and those of the network.
func Dial(ctx context.Context, addr, export string) (*Client, error) {
	return (&Dialer{}).Dial(ctx, addr, export)
}

// Dial is like the function Dial, with the choices of d.
func (d *Dialer) Dial(ctx context.Context, addr, export string) (*Client, error) {
	h, err := d.connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer h.release()
	if export == "" {
		export = h.export
	}
	if err := h.choose(d, export); err != nil {
		_ = h.nc.Close()
		return nil, fmt.Errorf("nbd: %s: %w", addr, err)
	}
	n := d.MaxInFlight
	if n <= 0 {
		n = defaultInFlight
	}
	if err := h.settle(); err != nil {
		return nil, err
	}
	return newClient(h, n), nil
}

// List returns the exports that the server at addr shows: their names and descriptions.
func List(ctx context.Context, addr string) ([]ExportInfo, error) {
	h, err := (&Dialer{}).connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer h.release()
	defer func() { _ = h.nc.Close() }()
	var exports []ExportInfo
	err = h.ask(optList, nil, func(kind uint32, data []byte) error {
		name, rest, ok := cutString(data)
		if kind != repServer || !ok {
			return fmt.Errorf("%w: unexpected reply %#x to list", ErrProtocol, kind)
		}
		exports = append(exports, ExportInfo{Name: string(name), Description: string(rest)})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("nbd: %s: %w", addr, err)
	}
	return exports, h.ask(optAbort, nil, nil)
}

// greeter is the client's side of the handshake; it waits for every answer.
type greeter struct {
	endpoint
	nc         net.Conn
	in         *input
	noZeroes   bool
	structured bool
	allocation bool
	statusID   uint32
	info       ExportInfo
	flags      TransmissionFlags
	release    func()
}

func (d *Dialer) connect(ctx context.Context, addr string) (*greeter, error) {
	e, err := parseEndpoint(addr)
	if err != nil {
		return nil, err
	}
	var nd net.Dialer
	nd.SetMultipathTCP(false)
	nc, err := nd.DialContext(ctx, e.network, e.address)
	if err != nil {
		return nil, fmt.Errorf("nbd: %w", err)
	}
	h := &greeter{endpoint: e, nc: nc, in: newInput(socket.Reader(nc))}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	h.release = func() { stop() }
	if err := h.greet(); err != nil {
		h.release()
		_ = nc.Close()
		return nil, fmt.Errorf("nbd: %s: %w", addr, err)
	}
	return h, nil
}

// settle ends the power of the dialling context over the connection.
func (h *greeter) settle() error {
	h.release()
	return h.nc.SetDeadline(time.Time{})
}

func (h *greeter) greet() error {
	if err := h.in.fill(greetingSize); err != nil {
		return fmt.Errorf("reading the greeting: %w", noEOF(err))
	}
	b := h.in.peek()
	if binary.BigEndian.Uint64(b) != magicInit || binary.BigEndian.Uint64(b[8:]) != magicOption {
		return fmt.Errorf("%w: the greeting is not newstyle NBD", ErrProtocol)
	}
	flags := binary.BigEndian.Uint16(b[16:])
	h.in.skip(greetingSize)
	if flags&handFixed == 0 {
		return fmt.Errorf("%w: the server does not speak fixed newstyle", ErrProtocol)
	}
	answer := clientFixed
	if flags&handNoZeroes != 0 {
		answer |= clientNoZeroes
		h.noZeroes = true
	}
	_, err := h.nc.Write(binary.BigEndian.AppendUint32(nil, answer))
	return err
}

// choose negotiates what d wants and enters the transmission phase on export.
func (h *greeter) choose(d *Dialer, export string) error {
	if !d.SimpleReplies {
		if err := h.ask(optStructured, nil, nil); err == nil {
			h.structured = true
		} else if !isRefusal(err) {
			return err
		}
	}
	if d.Extents && h.structured {
		if err := h.selectAllocation(export); err != nil {
			return err
		}
	}
	h.info = ExportInfo{Name: export}
	var err error
	if d.ExportName {
		err = h.exportName(export)
	} else {
		err = h.goTo(export)
	}
	h.info = h.info.withDefaults()
	h.info.setFlags(h.flags)
	h.info.Extents = h.allocation
	return err
}

func (h *greeter) selectAllocation(export string) error {
	data := appendString(nil, export)
	data = binary.BigEndian.AppendUint32(data, 1)
	data = appendString(data, metaAllocation)
	err := h.ask(optSetMeta, data, func(kind uint32, data []byte) error {
		if kind != repMetaContext || len(data) < 4 {
			return fmt.Errorf("%w: unexpected reply %#x to a metadata query", ErrProtocol, kind)
		}
		if string(data[4:]) == metaAllocation {
			h.allocation, h.statusID = true, binary.BigEndian.Uint32(data)
		}
		return nil
	})
	if isRefusal(err) {
		return nil // the server has no metadata; Client.Extents will say so
	}
	return err
}

func (h *greeter) exportName(export string) error {
	if err := h.sendOption(optExportName, []byte(export)); err != nil {
		return err
	}
	size := 10
	if !h.noZeroes {
		size += exportPadding
	}
	if err := h.in.fill(size); err != nil {
		if noEOF(err) == io.ErrUnexpectedEOF {
			return fmt.Errorf("%w: %q (the server closed the connection)", ErrUnknownExport, export)
		}
		return err
	}
	h.info.Size = int64(binary.BigEndian.Uint64(h.in.peek()))
	h.flags = TransmissionFlags(binary.BigEndian.Uint16(h.in.peek()[8:]))
	h.in.skip(size)
	return nil
}

func (h *greeter) goTo(export string) error {
	data := appendString(nil, export)
	data = binary.BigEndian.AppendUint16(data, 3)
	for _, kind := range []uint16{infoName, infoDescription, infoBlockSize} {
		data = binary.BigEndian.AppendUint16(data, kind)
	}
	return h.ask(optGo, data, h.learn)
}

// learn takes one NBD_REP_INFO.
func (h *greeter) learn(kind uint32, data []byte) error {
	if kind != repInfo || len(data) < 2 {
		return fmt.Errorf("%w: unexpected reply %#x to go", ErrProtocol, kind)
	}
	what, data := binary.BigEndian.Uint16(data), data[2:]
	switch {
	case what == infoExport && len(data) == 10:
		h.info.Size = int64(binary.BigEndian.Uint64(data))
		h.flags = TransmissionFlags(binary.BigEndian.Uint16(data[8:]))
	case what == infoBlockSize && len(data) == 12:
		h.info.MinBlock = binary.BigEndian.Uint32(data)
		h.info.PreferredBlock = binary.BigEndian.Uint32(data[4:])
		h.info.MaxPayload = binary.BigEndian.Uint32(data[8:])
	case what == infoName:
		h.info.Name = string(data)
	case what == infoDescription:
		h.info.Description = string(data)
	case what == infoExport || what == infoBlockSize:
		return fmt.Errorf("%w: information %d of %d bytes", ErrProtocol, what, len(data))
	}
	return nil
}

// setFlags is the opposite of Flags.
func (i *ExportInfo) setFlags(f TransmissionFlags) {
	has := func(bit TransmissionFlags) bool { return f&bit != 0 }
	i.ReadOnly, i.Rotational = has(IsReadOnly), has(IsRotational)
	i.Flush, i.FUA = has(SendFlush), has(SendFUA)
	i.Trim, i.Zeroes, i.FastZero = has(SendTrim), has(SendWriteZeroes), has(SendFastZero)
	i.Cache, i.MultiConn = has(SendCache), has(CanMultiConn)
}

// optionError is a server's refusal of an option.
type optionError struct {
	opt  option
	kind uint32
	text string
}

func (e *optionError) Error() string {
	return fmt.Sprintf("server refused option %d (error %d): %s", e.opt, e.kind&^repErrorBit,
		e.text)
}

func (e *optionError) Is(target error) bool {
	switch e.kind {
	case repErrUnknown:
		return target == ErrUnknownExport
	case repErrPolicy:
		return target == ErrPolicy
	case repErrShutdown:
		return target == ErrClosed
	}
	return false
}

func isRefusal(err error) bool {
	_, ok := err.(*optionError)
	return ok
}

func (h *greeter) sendOption(opt option, data []byte) error {
	b := binary.BigEndian.AppendUint64(nil, magicOption)
	b = binary.BigEndian.AppendUint32(b, uint32(opt))
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	_, err := h.nc.Write(append(b, data...))
	return err
}

// ask sends an option and gives every reply before the acknowledgement to each. A refusal is an
// *optionError, after which the handshake can go on.
func (h *greeter) ask(opt option, data []byte, each func(uint32, []byte) error) error {
	if err := h.sendOption(opt, data); err != nil {
		return err
	}
	for {
		kind, data, err := h.reply(opt)
		switch {
		case err != nil:
			return err
		case kind == repAck:
			return nil
		case kind&repErrorBit != 0:
			return &optionError{opt: opt, kind: kind, text: string(data)}
		case each == nil:
			return fmt.Errorf("%w: unexpected reply %#x to option %d", ErrProtocol, kind, opt)
		}
		if err := each(kind, data); err != nil {
			return err
		}
	}
}

// reply reads one reply; data is valid until the next.
func (h *greeter) reply(opt option) (uint32, []byte, error) {
	if err := h.in.fill(replyHeaderSize); err != nil {
		return 0, nil, noEOF(err)
	}
	b := h.in.peek()
	if binary.BigEndian.Uint64(b) != magicReply {
		return 0, nil, fmt.Errorf("%w: reply magic", ErrProtocol)
	}
	if got := option(binary.BigEndian.Uint32(b[8:])); got != opt {
		return 0, nil, fmt.Errorf("%w: reply to option %d, asked %d", ErrProtocol, got, opt)
	}
	kind, size := binary.BigEndian.Uint32(b[12:]), binary.BigEndian.Uint32(b[16:])
	if size > maxOption {
		return 0, nil, fmt.Errorf("%w: reply of %d bytes, at most %d", ErrProtocol, size, maxOption)
	}
	h.in.skip(replyHeaderSize)
	if err := h.in.fill(int(size)); err != nil {
		return 0, nil, noEOF(err)
	}
	data := h.in.peek()[:size]
	h.in.skip(int(size))
	return kind, data, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}
