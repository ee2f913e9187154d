package peer

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// outgoing is the memory of one write, used again for the next. Frames refer to meta and body, so
// these only grow while a batch is made.
type outgoing struct {
	batch  []item
	parts  []copyset.Message
	frames []transport.Message
	meta   []byte
	body   [][]byte
	bare   []missing
}

// missing is a payload that must be read from the log.
type missing struct {
	it  *item
	i   int
	err error
}

func (o *outgoing) reset() {
	clear(o.batch)
	clear(o.parts)
	clear(o.frames)
	clear(o.body)
	clear(o.bare)
	o.batch, o.parts, o.frames, o.bare = o.batch[:0], o.parts[:0], o.frames[:0], o.bare[:0]
	o.meta, o.body = o.meta[:0], o.body[:0]
}

// take moves the next batch out of the queue. When there is nothing, the right to send is given up;
// without block too when a payload must be read from the log: another owner may have queued it
// since flush looked, and the link's goroutine is to wait for the device, not a turn.
func (l *link) take(out *outgoing, block bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 || !block && l.bare > 0 {
		l.sending = false
		if len(l.waiting) > 0 {
			l.kick()
		}
		return false
	}
	n := l.takeable()
	for i := range l.waiting[:n] {
		l.bare -= len(l.waiting[i].pins)
		l.bytes -= l.waiting[i].bytes
	}
	out.batch = append(out.batch, l.waiting[:n]...)
	l.waiting = slices.Delete(l.waiting, 0, n)
	return true
}

// takeable is how many messages make the next batch.
func (l *link) takeable() (n int) {
	for bytes := 0; n < min(len(l.waiting), batchMessages); n++ {
		if bytes += l.waiting[n].bytes; n > 0 && bytes > batchBytes {
			break
		}
	}
	return n
}

// load reads from the logs what a batch lacks, several payloads at a time: each waits for a device.
func (l *link) load(out *outgoing) {
	for i := range out.batch {
		it := &out.batch[i]
		for k := range it.m.Payloads {
			if p := &it.m.Payloads[k]; p.Len > 0 && p.B == nil {
				out.bare = append(out.bare, missing{it: it, i: k})
			}
		}
	}
	if len(out.bare) == 0 {
		return
	}
	var next atomic.Int64
	var readers sync.WaitGroup
	for range min(loadParallel, len(out.bare)) {
		readers.Go(func() {
			for n := next.Add(1) - 1; n < int64(len(out.bare)); n = next.Add(1) - 1 {
				out.bare[n].err = l.read(out.bare[n].it, out.bare[n].i)
			}
		})
	}
	readers.Wait()
	for _, m := range out.bare {
		if m.err != nil {
			m.it.err = m.err
		}
	}
}

// frames adds the frames of a message.
func (l *link) frames(out *outgoing, it *item) error {
	if it.err != nil {
		return it.err
	}
	first := len(out.parts)
	out.parts = it.m.Split(out.parts)
	for k := first; k < len(out.parts); k++ {
		part := &out.parts[k]
		meta, body := len(out.meta), len(out.body)
		var err error
		if out.meta, err = part.AppendTo(out.meta); err != nil {
			return err
		}
		if out.body, err = part.Body(out.body); err != nil {
			return err
		}
		out.frames = append(out.frames, transport.Message{Header: wire.Header{Op: wire.OpRaft},
			Meta:    out.meta[meta:len(out.meta):len(out.meta)],
			Body:    out.body[body:len(out.body):len(out.body)],
			Release: holdOf(part)})
	}
	return nil
}

// read brings a payload into memory.
func (l *link) read(it *item, i int) error {
	p := &it.m.Payloads[i]
	b, err := l.cfg.Pool.Get(p.Len)
	if err != nil {
		return err
	}
	if err := it.from.ReadLog(it.m.Copyset, p, it.m.PayloadCRCs(i), b.Bytes()); err != nil {
		b.Release()
		return err
	}
	p.B, p.Buf = b.Bytes(), b
	return nil
}
