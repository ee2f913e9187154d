package node

import (
	"slices"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/dataplane/store"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// turn is what an owner gathers for clients and other nodes during one turn.
type turn struct {
	peers []string               // addresses with queued messages
	conns []transport.ServerConn // with queued answers
	meta  []byte
	one   [1]transport.Message
}

// Reply implements store.Host: the answer waits on its connection for the end of the turn.
func (n *Node) Reply(o *store.Owner, rep *copyset.Reply) {
	t := turnOf(o)
	q := rep.Request.Tag.(*request)
	t.one[0] = transport.Message{Header: wire.Header{Op: q.op, Flags: wire.FlagResponse, ID: q.ID,
		Status: rep.Status}, Body: rep.Body, Release: rep.Release}
	resp := wire.IOResponse{CRCs: rep.CRCs, RetryAfterMS: rep.RetryMS, Message: rep.Message}
	if rep.Status == wire.StatusNotLeader {
		redirect(&resp, rep.Leader)
	}
	t.meta = resp.AppendTo(t.meta[:0])
	t.one[0].Meta = t.meta
	q.conn.Queue(t.one[:])
	t.one[0] = transport.Message{}
	t.note(q.conn)
	q.conn = nil
	q.Request = copyset.Request{}
	requests.Put(q)
}

func redirect(resp *wire.IOResponse, leader *copyset.Peer) {
	if leader == nil {
		resp.RetryAfterMS = uint32(redirectPause.Milliseconds())
		return
	}
	resp.LeaderReplica, resp.LeaderNode = leader.ReplicaID, leader.NodeID
	resp.LeaderAddr = leader.Addr
}

// note remembers a connection once. A turn answers few connections, most of them many times in a
// row.
func (t *turn) note(c transport.ServerConn) {
	for i := len(t.conns) - 1; i >= 0; i-- {
		if t.conns[i] == c {
			return
		}
	}
	t.conns = append(t.conns, c)
}

// FlushReplies implements store.Host: one write for each connection that has answers.
func (n *Node) FlushReplies(o *store.Owner) {
	t := turnOf(o)
	for i, c := range t.conns {
		c.Flush()
		t.conns[i] = nil
	}
	t.conns = t.conns[:0]
}

func turnOf(o *store.Owner) *turn {
	t, _ := o.Scratch.(*turn)
	if t == nil {
		t = new(turn)
		o.Scratch = t
	}
	return t
}

// Send implements store.Host: the message waits for FlushMessages.
func (n *Node) Send(o *store.Owner, s *store.Store, to copyset.Peer, m copyset.Message) {
	n.links.Send(s, to, m)
	t := turnOf(o)
	if !slices.Contains(t.peers, to.Addr) {
		t.peers = append(t.peers, to.Addr)
	}
}

// FlushMessages implements store.Host: one write for each node that has messages.
func (n *Node) FlushMessages(o *store.Owner) {
	t := turnOf(o)
	for _, addr := range t.peers {
		n.links.Flush(addr)
	}
	t.peers = t.peers[:0]
}

// PeerChunks implements store.Host.
func (n *Node) PeerChunks(to copyset.Peer, copysetID, applied uint64) ([]copyset.ListedChunk,
	error) {
	return n.links.Chunks(to, copysetID, applied)
}

// PeerBlocks implements store.Host.
func (n *Node) PeerBlocks(to copyset.Peer, copysetID uint64, r copyset.PeerRead) (copyset.Payload,
	[]uint32, error) {
	return n.links.Blocks(to, copysetID, r)
}

// PeerSums implements store.Host.
func (n *Node) PeerSums(to copyset.Peer, copysetID uint64, r copyset.PeerRead) ([]uint32, error) {
	return n.links.Sums(to, copysetID, r)
}
