package client

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Volume is an attached volume. Its methods are safe for concurrent use.
type Volume struct {
	c          *Client
	name       string
	id         uint64
	size       atomic.Int64 // only rises
	chunkBytes int64
	segBytes   int64
	session    uint64
	epoch      uint64
	lease      time.Duration
	readOnly   bool

	admit    admission
	lowWater atomic.Uint64
	fatal    atomic.Pointer[error]
	count    counters
	mapping  mapping
	learning sync.Mutex // one change of the size at a time

	ctx    context.Context // ends with the attachment
	cancel context.CancelFunc
	renews sync.WaitGroup
	closer sync.Once
}

func newVolume(c *Client, name string, readOnly bool, r *v1.OpenVolumeResponse) (*Volume, error) {
	m := r.Volume
	if m == nil {
		return nil, fmt.Errorf("%w: control plane opened %q without describing it", ErrServer, name)
	}
	const most = 1 << 30
	switch {
	case m.SizeBytes >= 1<<62:
		return nil, fmt.Errorf("%w: volume %q has size %d", ErrServer, name, m.SizeBytes)
	case m.ChunkBytes == 0 || m.ChunkBytes > most || m.ChunkBytes%wire.BlockSize != 0:
		return nil, fmt.Errorf("%w: volume %q has chunks of %d bytes",
			ErrServer, name, m.ChunkBytes)
	case m.SegmentBytes == 0 || m.SegmentBytes >= 1<<62 || m.SegmentBytes%m.ChunkBytes != 0:
		return nil, fmt.Errorf("%w: volume %q has segments of %d bytes with chunks of %d",
			ErrServer, name, m.SegmentBytes, m.ChunkBytes)
	}
	v := &Volume{
		c: c, name: name, id: m.VolumeId,
		chunkBytes: int64(m.ChunkBytes), segBytes: int64(m.SegmentBytes),
		session: r.SessionId, epoch: r.Epoch, readOnly: readOnly,
		lease: time.Duration(r.LeaseMs) * time.Millisecond,
	}
	v.admit.init(c.cfg.MaxInflight, c.cfg.MaxInflightBytes)
	v.lowWater.Store(1)
	v.grow(int64(m.SizeBytes))
	return v, nil
}

// grow makes room in the mapping for a size, and then lets operations use it.
func (v *Volume) grow(size int64) {
	v.mapping.grow((size + v.segBytes - 1) / v.segBytes)
	v.size.Store(size)
}

// Name returns the name under which the volume was opened.
func (v *Volume) Name() string { return v.name }

// Client returns the client that opened the volume.
func (v *Volume) Client() *Client { return v.c }

// ID returns the volume's number, which it keeps when it is renamed.
func (v *Volume) ID() uint64 { return v.id }

// Size returns the volume's size in bytes. It rises when the volume is resized, at the next renewal
// of the session (a third of its lease, 10 s at most) or at Refresh.
func (v *Volume) Size() int64 { return v.size.Load() }

// Refresh asks the control plane at once whether the session still holds, and how large the volume
// is. Its error is that of the question; that the session is void shows in later operations.
func (v *Volume) Refresh(ctx context.Context) error { return v.renewOnce(ctx) }

// ReadOnly reports whether the volume refuses writes.
func (v *Volume) ReadOnly() bool { return v.readOnly }

// failed returns why the volume takes no more operations, or nil.
func (v *Volume) failed() error {
	if p := v.fatal.Load(); p != nil {
		return *p
	}
	return nil
}

// fail ends the volume's use for good; the first reason stays. What is in flight is failed at the
// next tick.
func (v *Volume) fail(reason error) {
	if v.fatal.CompareAndSwap(nil, &reason) {
		v.admit.close(reason)
	}
}

// call is an operation that somebody waits for.
type call struct {
	op   Op
	done chan struct{}
}

var calls = sync.Pool{New: func() any {
	c := &call{done: make(chan struct{}, 1)}
	c.op.Done = func(*Op) { c.done <- struct{}{} }
	return c
}}

func (v *Volume) do(kind Kind, off int64, data []byte, n int64) error {
	c := calls.Get().(*call)
	c.op.Kind, c.op.Off, c.op.Data, c.op.Len = kind, off, data, n
	v.Submit(&c.op)
	<-c.done
	err := c.op.Err
	c.op.Data, c.op.Err = nil, nil
	calls.Put(c)
	return err
}

// step bounds one operation of a long ReadAt or WriteAt, which ends on a block border.
func step(off int64, left int) int {
	if left <= stepBytes {
		return left
	}
	return int(stepBytes - off%wire.BlockSize)
}

// ReadAt implements io.ReaderAt: a read that passes the end of the volume returns what lies before
// it and io.EOF. A negative offset is ErrOutOfRange.
func (v *Volume) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: offset %d", ErrOutOfRange, off)
	}
	var eof error
	if left := max(v.Size()-off, 0); int64(len(p)) > left {
		p, eof = p[:left], io.EOF
	}
	n := 0
	for n < len(p) {
		k := step(off+int64(n), len(p)-n)
		if err := v.do(OpRead, off+int64(n), p[n:n+k], 0); err != nil {
			return n, err
		}
		n += k
	}
	if n == 0 && eof == nil {
		return 0, v.failed()
	}
	return n, eof
}

// WriteAt implements io.WriterAt. When it returns nil the data is durable on a majority of
// replicas. A range that passes the end of the volume writes nothing and is ErrOutOfRange. After
// another error the blocks behind the returned count are each old or new.
func (v *Volume) WriteAt(p []byte, off int64) (int, error) {
	if size := v.Size(); off < 0 || off > size || int64(len(p)) > size-off {
		return 0, fmt.Errorf("%w: offset %d + %d bytes in a volume of %d",
			ErrOutOfRange, off, len(p), size)
	}
	for n := 0; ; {
		k := step(off+int64(n), len(p)-n)
		if err := v.do(OpWrite, off+int64(n), p[n:n+k], 0); err != nil {
			return n, err
		}
		if n += k; n == len(p) {
			return n, nil
		}
	}
}

// Fetch reads n bytes at off, at most MaxOpBytes, without copying them: it returns the buffers in
// which they arrived, in order, and the caller releases each. See Op.Bufs for where they are cut.
func (v *Volume) Fetch(off, n int64) ([]*buf.Buf, error) {
	done := make(chan struct{})
	op := Op{Kind: OpFetch, Off: off, Len: n, Done: func(*Op) { close(done) }}
	v.Submit(&op)
	<-done
	return op.Bufs, op.Err
}

// WriteBuf writes all of a buffer of Client.Buffer at off, without copying it. The buffer stays the
// caller's.
func (v *Volume) WriteBuf(b *buf.Buf, off int64) error {
	done := make(chan struct{})
	op := Op{Kind: OpWrite, Off: off, Buf: b, Done: func(*Op) { close(done) }}
	v.Submit(&op)
	<-done
	return op.Err
}

// Zero makes n bytes at off read as zeroes, durably, and gives whole blocks back to the stores.
func (v *Volume) Zero(off, n int64) error { return v.do(OpZero, off, nil, n) }

// Flush is a barrier for acknowledged writes. Since a write is durable when it is acknowledged
// there is nothing to wait for; like every flush it promises nothing about writes still under way.
// It fails when the volume is fenced or closed.
func (v *Volume) Flush() error { return v.do(OpFlush, 0, nil, 0) }

// Close ends the attachment: operations under way fail with ErrClosed (a write among them may take
// effect or not, but no more once Close has returned and another session writes), and the session
// is closed at the control plane. It may be called more than once.
func (v *Volume) Close() error {
	v.closer.Do(func() {
		v.leave()
		v.endSession()
	})
	return nil
}

// leave ends everything of the volume in this client.
func (v *Volume) leave() {
	v.fail(ErrClosed)
	v.c.timers.force()
	v.admit.drain()
	v.cancel()
	v.renews.Wait()
	v.c.forget(v)
}

// endSession gives the session back; should that fail, it runs out by itself.
func (v *Volume) endSession() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_, err := v.c.control.CloseSession(ctx, &v1.CloseSessionRequest{SessionId: v.session})
	if err != nil {
		v.c.log.Warn("client: session not closed, it will run out",
			"volume", v.name, "session", v.session, "err", err)
	}
}
