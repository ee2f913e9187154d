package server

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// A backup of a control plane that runs is read from it page by page, all pages from one snapshot.
// A snapshot lives in one View of the metadata, which a goroutine of its own keeps open between the
// calls: nothing is copied, no change waits for it, and it needs nothing of a KV that others do not
// use. Who asks again for a page gets it again. Snapshots keep what was overwritten from being
// given back, so they are few, and end when nobody asks.

// reading is one snapshot that is read.
type reading struct {
	asks chan pageAsk
	done chan struct{} // closed when it is over
}

type pageAsk struct {
	after  []byte
	answer chan *v1.ReadMetadataResponse
}

// readings are the snapshots of a control plane, over all its terms.
type readings struct {
	mu   sync.Mutex
	open map[string]*reading // by token
	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup
}

func newReadings() *readings {
	r := &readings{open: map[string]*reading{}}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// close ends all snapshots. It must come before the metadata are closed.
func (r *readings) close() {
	r.stop()
	r.work.Wait()
}

// page answers one page, of a new snapshot where the request names none.
func (r *readings) page(ctx context.Context, c *cluster, req *v1.ReadMetadataRequest) (
	*v1.ReadMetadataResponse, error,
) {
	token := req.Token
	if token == "" {
		var err error
		if token, err = r.begin(c); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	one := r.open[token]
	r.mu.Unlock()
	if one == nil {
		return nil, admin.Errorf(admin.ErrNotFound, "control: there is no snapshot %.64q (any "+
			"more): begin anew without a token", token)
	}
	resp, err := one.ask(ctx, req.AfterKey)
	if err != nil {
		return nil, err
	}
	resp.Token, resp.ClusterId = token, c.id
	return resp, nil
}

// ask has the snapshot's goroutine read a page.
func (o *reading) ask(ctx context.Context, after []byte) (*v1.ReadMetadataResponse, error) {
	ask := pageAsk{after: after, answer: make(chan *v1.ReadMetadataResponse, 1)}
	select {
	case o.asks <- ask:
	case <-o.done:
	case <-ctx.Done():
		return nil, admin.Errorf(admin.ErrUnavailable, "control: %v", ctx.Err())
	}
	select {
	case resp := <-ask.answer:
		return resp, nil
	case <-o.done:
	}
	select {
	case resp := <-ask.answer: // the last page ends it
		return resp, nil
	default:
		return nil, admin.Errorf(admin.ErrUnavailable, "control: the snapshot ended before it was "+
			"read to its end: begin anew")
	}
}

// begin opens a snapshot.
func (r *readings) begin(c *cluster) (token string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.open) >= maxReadings {
		return "", admin.Errorf(admin.ErrBusy, "control: %d snapshots of the metadata are being "+
			"read, no more are made: try again in %v", len(r.open), readingIdle)
	}
	if r.ctx.Err() != nil {
		return "", admin.Errorf(admin.ErrUnavailable, "control: stopping")
	}
	token = uuid.NewString()
	one := &reading{asks: make(chan pageAsk), done: make(chan struct{})}
	r.open[token] = one
	r.work.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, readingMost)
		defer cancel()
		err := c.kv.View(ctx, func(rd meta.Reader) error { return one.serve(ctx, rd) })
		if err != nil {
			c.log.Warn("a snapshot of the metadata ended before it was read", "error", err)
		}
		r.mu.Lock()
		delete(r.open, token)
		r.mu.Unlock()
		close(one.done)
	})
	return token, nil
}

var errIdle = errors.New("nobody asked for its next page")

// serve answers pages until all were asked for.
func (o *reading) serve(ctx context.Context, r meta.Reader) error {
	revision, err := r.Revision()
	if err != nil {
		return err
	}
	idle := time.NewTimer(readingIdle)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-idle.C:
			return errIdle
		case ask := <-o.asks:
			resp, err := readPage(r, ask.after)
			if err != nil {
				return err
			}
			resp.Revision = revision
			ask.answer <- resp
			if !resp.More {
				return nil
			}
			idle.Reset(readingIdle)
		}
	}
}

var errPageFull = errors.New("page full")

// readPage reads the records behind a key, readingPage bytes of them and one more at most.
func readPage(r meta.Reader, after []byte) (*v1.ReadMetadataResponse, error) {
	resp := &v1.ReadMetadataResponse{}
	size := 0
	err := meta.EachRecord(r, after, func(k, v []byte) error {
		if size >= readingPage {
			resp.More = true
			return errPageFull
		}
		size += len(k) + len(v)
		resp.Records = append(resp.Records, &v1.MetadataRecord{Key: bytes.Clone(k),
			Value: bytes.Clone(v)})
		return nil
	})
	if errors.Is(err, errPageFull) {
		err = nil
	}
	return resp, err
}
