package peer

import (
	"errors"
	"slices"
	"testing"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// manyChunks are more than fit two pages.
func manyChunks() (list []copyset.ListedChunk) {
	for i := range uint64(2*MaxChunks + 3) {
		list = append(list, copyset.ListedChunk{Chunk: copyset.Chunk{Volume: 1 + i/50000,
			Index: i % 50000}, LastWrite: i})
	}
	return list
}

func TestListThatFitsNoFrameComesInPages(t *testing.T) {
	r := newRig(t)
	r.connect()
	all := manyChunks()
	asked := 0
	r.onRequest(func(c transport.ServerConn, m *transport.Message) {
		asked++
		var q ListRequest
		if err := q.Decode(m.Meta); err != nil || !q.Paged || q.Copyset != 9 || q.Applied != 5 {
			t.Errorf("%+v, %v", q, err)
		}
		n := slices.IndexFunc(all, func(c copyset.ListedChunk) bool { return !c.Before(q.From) })
		if asked == 5 {
			n = 0 // what has come already
		}
		page := all[n:min(n+MaxChunks, len(all))]
		c.Reply([]transport.Message{{Header: wire.Header{Op: m.Header.Op, Flags: wire.FlagResponse,
			ID: m.Header.ID}, Body: [][]byte{AppendChunks(nil, page)}}})
	})
	if list, err := r.links.Chunks(r.to, 9, 5); err != nil || !slices.Equal(list, all) {
		t.Errorf("%d chunks of %d, %v", len(list), len(all), err)
	}
	if asked != 3 {
		t.Errorf("asked for %d pages, want 3", asked)
	}
	if list, err := r.links.Chunks(r.to, 9, 5); !errors.Is(err, ErrBadRequest) {
		t.Errorf("a page that comes twice: %d chunks, %v", len(list), err)
	}
}

func TestWhoKnowsNoPagesIsAskedForTheWholeList(t *testing.T) {
	r := newRig(t)
	r.connect()
	r.onRequest(func(c transport.ServerConn, m *transport.Message) {
		out := transport.Message{Header: wire.Header{Op: m.Header.Op, Flags: wire.FlagResponse,
			ID: m.Header.ID, Status: wire.StatusBadRequest}}
		if len(m.Meta) == listRequest {
			out.Header.Status = wire.StatusOK
			out.Body = [][]byte{AppendChunks(nil, []copyset.ListedChunk{sampleChunks[1],
				sampleChunks[0]})} // in no order
		}
		c.Reply([]transport.Message{out})
	})
	if list, err := r.links.Chunks(r.to, 9, 5); err != nil || len(list) != 2 {
		t.Error(list, err)
	}
}
