package node

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/dataplane/peer"
	"github.com/ashlar-storage/ashlar/dataplane/store"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// request is a client's operation with what is needed to answer it. Requests are pooled.
type request struct {
	copyset.Request
	io   wire.IORequest
	conn transport.ServerConn
	op   wire.Op
}

var requests = sync.Pool{New: func() any { return new(request) }}

// batch is what one readable event of a connection brought: the owners that have something to do.
type batch struct{ owners []*store.Owner }

func (b *batch) note(o *store.Owner) {
	if !slices.Contains(b.owners, o) {
		b.owners = append(b.owners, o)
	}
}

// OnOpen implements transport.Handler.
func (n *Node) OnOpen(c transport.ServerConn) { c.SetUser(new(batch)) }

// OnClose implements transport.Handler. What the connection asked for goes on and is answered to
// nobody; a client sends it again elsewhere under the same operation id.
func (n *Node) OnClose(transport.ServerConn, error) {}

// OnBatchEnd implements transport.Handler: the event loop takes the owners' turns itself, where
// nobody is at it, instead of waking a goroutine for what it has just read.
func (n *Node) OnBatchEnd(c transport.ServerConn) {
	b, ok := c.User().(*batch)
	if !ok {
		return // closed before it greeted
	}
	for i, o := range b.owners {
		o.Run()
		b.owners[i] = nil
	}
	b.owners = b.owners[:0]
}

// OnMessage implements transport.Handler: the first station of everything that arrives.
func (n *Node) OnMessage(c transport.ServerConn, m *transport.Message) {
	switch m.Header.Op {
	case wire.OpRead, wire.OpWrite, wire.OpZero, wire.OpFence:
		n.onClient(c, m)
	case wire.OpRaft:
		n.onRaft(c, m)
	case wire.OpSnapRead, wire.OpSnapSums:
		n.onBlocks(c, m)
	case wire.OpSnapList:
		n.onList(c, m)
	case wire.OpPing:
		drop(m)
		n.answer(c, m.Header, wire.StatusOK, nil)
	default:
		drop(m)
		n.answer(c, m.Header, wire.StatusBadRequest, &wire.IOResponse{Message: "unknown operation"})
	}
}

func drop(m *transport.Message) {
	if m.Payload != nil {
		m.Payload.Release()
		m.Payload = nil
	}
}

// answer sends an answer without payload.
func (n *Node) answer(c transport.ServerConn, h wire.Header, s wire.Status, r *wire.IOResponse) {
	h = wire.Header{Op: h.Op, Flags: wire.FlagResponse, ID: h.ID, Status: s}
	var meta []byte
	if r != nil {
		meta = r.AppendTo(nil)
	}
	c.Reply([]transport.Message{{Header: h, Meta: meta}})
}

// onClient checks a client's request and hands it to the copyset's owner.
func (n *Node) onClient(c transport.ServerConn, m *transport.Message) {
	q := requests.Get().(*request)
	err := q.io.Decode(m.Meta)
	if err == nil {
		err = q.io.Check(m.Header.Op, m.Header.PayloadLen)
	}
	if err == nil && m.Header.Op == wire.OpWrite {
		err = wire.VerifyPieces(q.io.CRCs, q.io.Offset, m.Payload.Bytes())
	}
	if err != nil {
		drop(m)
		requests.Put(q)
		n.answer(c, m.Header, statusOf(err), &wire.IOResponse{Message: err.Error()})
		return
	}
	q.fill(c, m)
	if o := n.owner(q.io.Copyset); o == nil || !o.Submit(q.io.Copyset, &q.Request) {
		q.Payload.Release()
		status := wire.StatusUnavailable
		if o == nil {
			status = wire.StatusWrongCopyset
		}
		requests.Put(q)
		n.answer(c, m.Header, status, nil)
	} else {
		c.User().(*batch).note(o)
	}
}

// statusOf is the answer to a request that was refused before it reached an owner.
func statusOf(err error) wire.Status {
	if s := wire.StatusOf(err); s != wire.StatusInternal {
		return s
	}
	return wire.StatusBadRequest
}

func (q *request) fill(c transport.ServerConn, m *transport.Message) {
	q.conn, q.op = c, m.Header.Op
	q.Request = copyset.Request{Kind: kinds[m.Header.Op],
		Chunk:  copyset.Chunk{Volume: q.io.Volume, Index: q.io.Chunk},
		Offset: q.io.Offset, Length: q.io.Length, Session: q.io.Session, Epoch: q.io.Epoch,
		OpID: q.io.OpID, LowWater: q.io.LowWater, CRCs: q.io.CRCs, Tag: q, ID: m.Header.ID}
	if m.Payload != nil {
		q.Payload = copyset.NewPayload(m.Payload)
		m.Payload = nil
	}
}

var kinds = map[wire.Op]copyset.Kind{wire.OpRead: copyset.KindRead,
	wire.OpWrite: copyset.KindWrite, wire.OpZero: copyset.KindZero, wire.OpFence: copyset.KindFence}

// onRaft hands a raft message to the owner. One that does not decode closes the connection: the
// other node, or the way from it, cannot be trusted.
func (n *Node) onRaft(c transport.ServerConn, m *transport.Message) {
	msg := copyset.NewMessage()
	err := msg.Decode(m.Meta, m.Payload)
	drop(m)
	if err != nil {
		msg.Free()
		c.Close(err)
		return
	}
	if o := n.owner(msg.Copyset); o != nil {
		o.Message(msg)
		c.User().(*batch).note(o)
		return
	}
	msg.Free()
}

// onBlocks answers another replica's read, or its question for checksums.
func (n *Node) onBlocks(c transport.ServerConn, m *transport.Message) {
	drop(m)
	var r peer.BlocksRequest
	if err := r.Decode(m.Meta); err != nil {
		n.answer(c, m.Header, wire.StatusBadRequest, &wire.IOResponse{Message: err.Error()})
		return
	}
	o := n.owner(r.Copyset)
	if o == nil {
		n.answer(c, m.Header, wire.StatusWrongCopyset, nil)
		return
	}
	h := m.Header
	// A repair asks for one block, and must not begin another; who fills a replica asks for many.
	sums := m.Header.Op == wire.OpSnapSums
	fills := r.Count > 1 && !sums
	ask := o.PeerRead
	if fills {
		ask = o.Fill
	}
	ask(r.Copyset, &copyset.PeerRead{First: r.First, Count: r.Count, Applied: r.Applied,
		Mend: fills, Sums: sums, Urgent: r.Urgent,
		Chunk: copyset.Chunk{Volume: r.Volume, Index: r.Chunk},
		Done: func(s wire.Status, body [][]byte, crcs []uint32, hold []copyset.Payload) {
			n.answerBlocks(c, h, s, body, crcs, hold)
		}})
}

func (n *Node) answerBlocks(c transport.ServerConn, h wire.Header, s wire.Status, body [][]byte,
	crcs []uint32, hold []copyset.Payload) {
	msg := transport.Message{Header: wire.Header{Op: h.Op, Flags: wire.FlagResponse, ID: h.ID,
		Status: s}, Body: body, Release: func() { releaseAll(hold) }}
	if s == wire.StatusOK && h.Op == wire.OpSnapRead && allZero(crcs, body) {
		msg.Body, crcs = nil, nil
	}
	resp := wire.IOResponse{CRCs: crcs}
	msg.Meta = resp.AppendTo(nil)
	c.Reply([]transport.Message{msg})
}

// allZero reports whether every block reads as zero: such an answer needs no payload.
func allZero(crcs []uint32, body [][]byte) bool {
	for _, crc := range crcs {
		if crc != wire.ZeroCRC {
			return false
		}
	}
	for _, b := range body {
		for _, x := range b {
			if x != 0 {
				return false
			}
		}
	}
	return true
}

func releaseAll(hold []copyset.Payload) {
	for i := range hold {
		hold[i].Release()
	}
}

// onList answers which chunks a replica has. It waits for the owner, so not on the event loop; a
// peer that finds too many waiting is told to come again.
func (n *Node) onList(c transport.ServerConn, m *transport.Message) {
	drop(m)
	var r peer.ListRequest
	if err := r.Decode(m.Meta); err != nil {
		n.answer(c, m.Header, wire.StatusBadRequest, &wire.IOResponse{Message: err.Error()})
		return
	}
	h := m.Header
	select {
	case n.lists <- struct{}{}:
		go func() {
			defer func() { <-n.lists }()
			n.list(c, h, &r)
		}()
	default:
		n.answer(c, h, wire.StatusOverloaded, nil)
	}
}

func (n *Node) list(c transport.ServerConn, h wire.Header, r *peer.ListRequest) {
	s := n.home(r.Copyset)
	if s == nil {
		n.answer(c, h, wire.StatusWrongCopyset, nil)
		return
	}
	most := math.MaxInt // who asked for no page would take it for the whole list
	if r.Paged {
		most = peer.MaxChunks
	}
	chunks, status := s.Chunks(r.Copyset, r.Applied, r.From, most)
	if status != wire.StatusOK {
		n.answer(c, h, status, nil)
		return
	}
	list := peer.AppendChunks(nil, chunks)
	c.Reply([]transport.Message{{Header: wire.Header{Op: h.Op, Flags: wire.FlagResponse, ID: h.ID},
		Body: [][]byte{list}}})
}

// redirectPause is the hint with an answer that names no leader: an election takes about so long.
const redirectPause = 20 * time.Millisecond
