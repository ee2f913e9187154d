package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/dataplane/store"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

var (
	errAlone  = errors.New("kernel: the store has no peers")
	errNoTime = errors.New("kernel: no answer in time")
)

// host is the production store with the little that a node does around it: every copyset has one
// replica, here, so there is nobody to send to.
type host struct {
	pool *buf.Pool
	*store.Store
}

// answer is a reply with its bytes copied out.
type answer struct {
	status wire.Status
	body   []byte
	err    error
}

// openHost opens the store in a directory and waits until its replicas serve. The pool outlives it.
func openHost(dir string, pool *buf.Pool) (*host, error) {
	h := &host{pool: pool}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	d, err := disk.OpenDir(dir, disk.Config{Arena: pool.Arena(), Logger: logger})
	if err != nil {
		return nil, err
	}
	h.Store, err = store.Open(store.Config{Disk: d, Path: dir, Pool: pool, Host: h,
		ChunkSize: chunkSize, SegmentSize: segmentSize, LogBytes: storeLog, ReserveChunks: 1,
		Owners: 1, Logger: logger})
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	h.Run()
	if err := h.serve(); err != nil {
		return nil, errors.Join(err, h.close(false))
	}
	return h, nil
}

// serve asks for the copysets, as the control plane does, and waits for their leaders.
func (h *host) serve() error {
	for id := uint64(1); id <= copysets; id++ {
		st := copyset.NewState(id, 1, 1, []copyset.Peer{{ReplicaID: 1}})
		if err := h.Ensure(st, true); err != nil {
			return err
		}
	}
	end := time.Now().Add(recoverTime)
	for serving := 0; serving < copysets; time.Sleep(5 * time.Millisecond) {
		serving = 0
		for _, st := range h.Replicas() {
			if st.Err != nil {
				return fmt.Errorf("kernel: copyset %d: %w", st.Copyset, st.Err)
			}
			if st.Serving {
				serving++
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w: %d of %d copysets serve", errNoTime, serving, copysets)
		}
	}
	return nil
}

// close ends the store, with a last checkpoint or with what is in the log.
func (h *host) close(checkpoint bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), recoverTime)
	defer cancel()
	if !checkpoint {
		cancel()
	}
	return h.Close(ctx)
}

// begin sends a request; the answer comes through the channel.
func (h *host) begin(id uint64, q copyset.Request, data []byte) chan answer {
	ch := make(chan answer, 1)
	q.Tag = ch
	if data != nil {
		b, err := h.pool.Get(len(data))
		if err != nil {
			ch <- answer{err: err}
			return ch
		}
		copy(b.Bytes(), data)
		q.Payload = copyset.NewPayload(b)
		q.CRCs = wire.ChecksumPieces(nil, q.Offset, data)
	}
	owner := h.Owner(id)
	if !owner.Submit(id, &q) {
		q.Payload.Release()
		ch <- answer{status: wire.StatusUnavailable}
		return ch
	}
	owner.Run()
	return ch
}

// write sends an operation of the workload.
func (h *host) write(o op, low uint64) chan answer {
	id, chunk, offset := place(o.first)
	q := copyset.Request{Kind: copyset.KindWrite, Chunk: copyset.Chunk{Volume: 1, Index: chunk},
		Offset: offset, Length: uint32(o.count) * blockSize, Session: 1, Epoch: 1, OpID: o.number,
		LowWater: low}
	if o.trim {
		q.Kind = copyset.KindZero
		return h.begin(id, q, nil)
	}
	return h.begin(id, q, o.fill())
}

// read gives all blocks of a chunk; the client's own check of the checksums included.
func (h *host) read(id, chunk uint64) ([]byte, error) {
	q := copyset.Request{Kind: copyset.KindRead, Length: chunkSize,
		Chunk: copyset.Chunk{Volume: 1, Index: chunk}}
	for end := time.Now().Add(opTime); ; time.Sleep(5 * time.Millisecond) {
		a, err := await(h.begin(id, q, nil))
		switch a.status {
		case wire.StatusOK:
			return a.body, err
		case wire.StatusRetry, wire.StatusNotLeader, wire.StatusOverloaded:
			if err == nil && time.Now().Before(end) {
				continue // a busy machine's device stalls, and the leader gives way for a moment
			}
		}
		return nil, errors.Join(err, fmt.Errorf("kernel: read of chunk %d of copyset %d: %w", chunk,
			id, a.status.Err()))
	}
}

func await(ch chan answer) (answer, error) {
	select {
	case a := <-ch:
		return a, a.err
	case <-time.After(opTime):
		return answer{}, errNoTime
	}
}

// Reply implements store.Host.
func (h *host) Reply(_ *store.Owner, rep *copyset.Reply) {
	a := answer{status: rep.Status}
	for _, p := range rep.Body {
		a.body = append(a.body, p...)
	}
	if rep.Status == wire.StatusOK && rep.Request.Kind == copyset.KindRead {
		a.err = wire.VerifyPieces(rep.CRCs, rep.Request.Offset, a.body)
	}
	rep.Free()
	rep.Request.Tag.(chan answer) <- a
}

// Send implements store.Host.
func (h *host) Send(_ *store.Owner, _ *store.Store, _ copyset.Peer, m copyset.Message) {
	m.Release()
}

// FlushMessages implements store.Host.
func (h *host) FlushMessages(*store.Owner) {}

// FlushReplies implements store.Host.
func (h *host) FlushReplies(*store.Owner) {}

// PeerChunks implements store.Host.
func (h *host) PeerChunks(copyset.Peer, uint64, uint64) ([]copyset.ListedChunk, error) {
	return nil, errAlone
}

// PeerBlocks implements store.Host.
func (h *host) PeerBlocks(copyset.Peer, uint64, copyset.PeerRead) (copyset.Payload, []uint32,
	error) {
	return copyset.Payload{}, nil, errAlone
}

// PeerSums implements store.Host.
func (h *host) PeerSums(copyset.Peer, uint64, copyset.PeerRead) ([]uint32, error) {
	return nil, errAlone
}
