package gateway

import (
	"errors"
	"fmt"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/client"
	"github.com/ashlar-storage/ashlar/rpc/nbd"
)

// export is one connection's use of a shared volume.
type export struct {
	shared *shared
	info   nbd.ExportInfo
}

var _ nbd.Export = (*export)(nil)

func describe(name string, size int64, readOnly bool) nbd.ExportInfo {
	return nbd.ExportInfo{Name: name, Description: "Ashlar volume " + name, Size: size,
		MinBlock: 1, PreferredBlock: 4096, ReadOnly: readOnly, Flush: true, FUA: true,
		Trim: true, Zeroes: true, MultiConn: true}
}

// Info implements nbd.Export.
func (e *export) Info() nbd.ExportInfo { return e.info }

// carrier takes a request through the client. It stays with the request when the server uses the
// request again, so that a request costs no allocation.
type carrier struct {
	op  client.Op
	req *nbd.Request
}

// Submit implements nbd.Export. FUA needs nothing: a write is answered when it is durable.
func (e *export) Submit(req *nbd.Request) {
	c, ok := req.User.(*carrier)
	if !ok {
		c = &carrier{req: req}
		c.op.Done = c.done
		req.User = c
	}
	c.op.Off, c.op.Data, c.op.Buf, c.op.Len, c.op.Err = req.Off, nil, nil, 0, nil
	switch req.Cmd {
	case nbd.CmdRead:
		c.op.Kind, c.op.Len = client.OpFetch, int64(len(req.Data))
	case nbd.CmdWrite:
		c.op.Kind, c.op.Data, c.op.Buf = client.OpWrite, req.Data, req.Buf
	case nbd.CmdTrim, nbd.CmdWriteZeroes:
		c.op.Kind, c.op.Len = client.OpZero, req.Len
	case nbd.CmdFlush:
		c.op.Kind, c.op.Off = client.OpFlush, 0
	default:
		req.Err = nbd.EINVAL
		req.Done(req)
		return
	}
	e.shared.volume.Submit(&c.op)
}

func (c *carrier) done(op *client.Op) {
	c.op.Data, c.op.Buf = nil, nil
	c.req.Err = translate(op.Err)
	if op.Kind == client.OpFetch && op.Err == nil {
		c.give(op.Bufs)
	}
	c.req.Done(c.req)
}

// give answers a read with the buffer it came in; several, of chunks that are smaller than a
// request, are copied into one.
func (c *carrier) give(bufs []*buf.Buf) {
	if len(bufs) == 1 {
		c.req.Got = bufs[0]
		return
	}
	to := c.req.Data
	for _, b := range bufs {
		to = to[copy(to, b.Bytes()):]
		b.Release()
	}
}

// Close implements nbd.Export.
func (e *export) Close() error { return e.shared.backend.release(e.shared) }

// translate gives an error of the client the number by which an NBD client knows it.
func translate(err error) error {
	for _, t := range []struct {
		class error
		errno nbd.Errno
	}{
		{client.ErrNoSpace, nbd.ENOSPC},
		{client.ErrReadOnly, nbd.EPERM},
		{client.ErrOutOfRange, nbd.EINVAL},
		{client.ErrInvalid, nbd.EINVAL},
		{client.ErrFenced, nbd.ESHUTDOWN},
		{client.ErrClosed, nbd.ESHUTDOWN},
	} {
		if errors.Is(err, t.class) {
			return fmt.Errorf("%w: %w", t.errno, err)
		}
	}
	return err
}
