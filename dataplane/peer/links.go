package peer

import (
	"fmt"
	"log/slog"
	"sync"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Links are a node's ways to the others, two per address, made when first used.
type Links struct {
	cfg    Config
	mu     sync.Mutex
	byAddr map[string]*ways
	closed bool
}

// ways are the two to one address. What a socket has taken goes in the order it came, whatever else
// becomes urgent, so heartbeats and answers have a connection of their own, beside that of entries
// and chunks. Appends without entries go with the entries: those before them must have come first.
type ways struct{ control, data *link }

func (w *ways) of(m *copyset.Message) *link {
	if m.Type == raftpb.MsgApp {
		return w.data
	}
	return w.control
}

// NewLinks makes the set; Close ends it.
func NewLinks(cfg Config) *Links {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Dial == nil {
		cfg.Dial = transport.Dial
	}
	return &Links{cfg: cfg, byAddr: map[string]*ways{}}
}

func (ls *Links) to(addr string) *ways {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closed {
		return nil
	}
	w := ls.byAddr[addr]
	if w == nil {
		quiet := ls.cfg
		quiet.Gone = nil // the other one tells
		w = &ways{control: newLink(addr, ls.cfg), data: newLink(addr, quiet)}
		ls.byAddr[addr] = w
	}
	return w
}

// Send queues a raft message for a member and takes over its payload references; Flush sends it. It
// never blocks; what does not fit is dropped.
func (ls *Links) Send(from Loader, to copyset.Peer, m copyset.Message) {
	it := item{m: m, from: from}
	w := ls.to(to.Addr)
	if w == nil {
		it.drop()
		return
	}
	for i := range m.Payloads {
		p := &m.Payloads[i]
		it.bytes += p.Len
		if p.Len > 0 && p.B == nil {
			it.pins = append(it.pins, from.PinLog(p))
		}
	}
	w.of(&m).send(it)
}

// Flush sends what waits for a member's node, as far as that does not block.
func (ls *Links) Flush(addr string) {
	if w := ls.to(addr); w != nil {
		w.control.flush()
		w.data.flush()
	}
}

// Chunks asks a member for the chunks it has, once it has applied so much, in as many pages as they
// take. What changes from page to page comes behind that index, and is replayed.
func (ls *Links) Chunks(to copyset.Peer, copysetID, applied uint64) ([]copyset.ListedChunk,
	error) {
	var list []copyset.ListedChunk
	req := ListRequest{Copyset: copysetID, Replica: to.ReplicaID, Applied: applied, Paged: true}
	for {
		page, err := ls.list(to, &req)
		switch {
		case req.Paged && len(list) == 0 && wire.StatusOf(err) == wire.StatusBadRequest:
			req.Paged = false // the release before knows no pages, and has it whole
			continue
		case err != nil || !req.Paged:
			return page, err
		}
		for _, c := range page {
			if n := len(list); n > 0 && !list[n-1].Before(c.Chunk) {
				return nil, fmt.Errorf("%w: %v after %v in the chunks of copyset %d", ErrBadRequest,
					c.Chunk, list[n-1].Chunk, copysetID)
			}
			list = append(list, c)
		}
		if len(page) < MaxChunks {
			return list, nil
		}
		req.From = list[len(list)-1].Chunk
		req.From.Index++
	}
}

// list asks for a list of chunks or a page of one.
func (ls *Links) list(to copyset.Peer, req *ListRequest) ([]copyset.ListedChunk, error) {
	w := ls.to(to.Addr)
	if w == nil {
		return nil, ErrUnreachable
	}
	m, err := w.data.call(wire.OpSnapList, req.AppendTo(nil), listBytesMax)
	if m.Payload != nil {
		defer m.Payload.Release()
	}
	if err != nil {
		return nil, fmt.Errorf("peer: chunks of copyset %d at %s: %w", req.Copyset, to.Addr, err)
	}
	if m.Payload == nil {
		return nil, fmt.Errorf("%w: answer to a list without one", ErrBadRequest)
	}
	return DecodeChunks(m.Payload.Bytes())
}

// Blocks reads blocks as a member has them and checks what arrives. No payload and no error means
// that all of them read as zero.
func (ls *Links) Blocks(to copyset.Peer, copysetID uint64, r copyset.PeerRead) (copyset.Payload,
	[]uint32, error) {
	w := ls.to(to.Addr)
	if w == nil {
		return copyset.Payload{}, nil, ErrUnreachable
	}
	req := BlocksRequest{Copyset: copysetID, Replica: to.ReplicaID, Volume: r.Chunk.Volume,
		Chunk: r.Chunk.Index, First: r.First, Count: r.Count, Applied: r.Applied,
		Urgent: r.Urgent}
	m, err := w.data.call(wire.OpSnapRead, req.AppendTo(nil), int(r.Count)*copyset.BlockSize)
	if err == nil {
		var resp wire.IOResponse
		if err = resp.Decode(m.Meta); err == nil && m.Payload == nil {
			return copyset.Payload{}, nil, nil
		}
		if err == nil {
			err = checkBlocks(m.Payload.Bytes(), resp.CRCs, int(r.Count))
		}
		if err == nil {
			return copyset.NewPayload(m.Payload), resp.CRCs, nil
		}
	}
	if m.Payload != nil {
		m.Payload.Release()
	}
	return copyset.Payload{}, nil, fmt.Errorf("peer: blocks %d+%d of copyset %d at %s: %w", r.First,
		r.Count, copysetID, to.Addr, err)
}

// Sums asks a member for the checksums that it has on record for blocks.
func (ls *Links) Sums(to copyset.Peer, copysetID uint64, r copyset.PeerRead) ([]uint32, error) {
	w := ls.to(to.Addr)
	if w == nil {
		return nil, ErrUnreachable
	}
	req := BlocksRequest{Copyset: copysetID, Replica: to.ReplicaID, Volume: r.Chunk.Volume,
		Chunk: r.Chunk.Index, First: r.First, Count: r.Count, Applied: r.Applied}
	m, err := w.data.call(wire.OpSnapSums, req.AppendTo(nil), 0)
	if m.Payload != nil {
		m.Payload.Release()
	}
	var resp wire.IOResponse
	if err == nil {
		err = resp.Decode(m.Meta)
	}
	if err == nil && len(resp.CRCs) != int(r.Count) {
		err = fmt.Errorf("%w: %d checksums for %d blocks", wire.ErrBadRequest, len(resp.CRCs),
			r.Count)
	}
	if err != nil {
		return nil, fmt.Errorf("peer: checksums %d+%d of copyset %d at %s: %w", r.First, r.Count,
			copysetID, to.Addr, err)
	}
	return resp.CRCs, nil
}

func checkBlocks(p []byte, crcs []uint32, count int) error {
	if len(p) != count*copyset.BlockSize || len(crcs) != count {
		return fmt.Errorf("%w: %d bytes and %d checksums for %d blocks", wire.ErrBadRequest, len(p),
			len(crcs), count)
	}
	for i, want := range crcs {
		if got := wire.CRC32C(p[i*copyset.BlockSize : (i+1)*copyset.BlockSize]); got != want {
			return fmt.Errorf("%w: block %d: crc32c %08x, sent as %08x", wire.ErrChecksum, i,
				got, want)
		}
	}
	return nil
}

// Close ends every link.
func (ls *Links) Close() {
	ls.mu.Lock()
	ls.closed = true
	all := ls.byAddr
	ls.byAddr = nil
	ls.mu.Unlock()
	for _, w := range all {
		w.control.close()
		w.data.close()
	}
}
