//go:build rdma && cgo && linux

package ibv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// The two ways of getting the payload of a write to a server, compared as verbs alone. Everything
// else is the same: a message of 128 bytes describes the payload, one of 64 answers.
//
//	pull   the client binds a window over its payload and sends the message behind it; the server
//	       reads the payload and answers by a send that invalidates the window
//	push   the server has opened a buffer before; the client writes the payload into it and its
//	       message by another write behind it, with an immediate; the server answers by a send
//
// Push leaves out what it costs to grant buffers, and that a granted buffer is the client's for as
// long as the grant lasts; it is the most that could be gained.
const (
	compareHead   = 128
	compareAnswer = 64
	compareSends  = 8
)

// compareRounds alternations of compareEach operations of both ways, for each size.
const compareRounds, compareEach = 7, 60

func TestPullAgainstPush(t *testing.T) {
	here(t)
	if os.Getenv("RDMA_COMPARE") == "" {
		t.Log("a comparison for docs/rdma.md: RDMA_COMPARE=1 has it run longer")
	}
	rounds, each := 2, 5
	if os.Getenv("RDMA_COMPARE") != "" {
		rounds, each = compareRounds, compareEach
	}
	server, client := connected(t)
	for _, size := range []int{4 << 10, 64 << 10, 512 << 10} {
		var pulls, pushes []time.Duration
		for round := range rounds {
			for turn := range 2 {
				if (turn+round)%2 == 0 {
					pulls = append(pulls, compare(t, server, client, size, each, pull)...)
				} else {
					pushes = append(pushes, compare(t, server, client, size, each, push)...)
				}
			}
		}
		fmt.Printf("figure: %7d bytes: pull p50 %8.1f us (p10 %.1f, p90 %.1f), push p50 %8.1f us "+
			"(p10 %.1f, p90 %.1f), %d operations of each\n", size, at(pulls, 50), at(pulls, 10),
			at(pulls, 90), at(pushes, 50), at(pushes, 10), at(pushes, 90), len(pulls))
	}
}

func at(all []time.Duration, percent int) float64 {
	slices.Sort(all)
	return float64(all[len(all)*percent/100]) / 1e3
}

// way is one way of writing: what the client posts and what the server does with the message.
type way func(t *testing.T, server, client *end, size int) (request func(n int) []verbs.Send,
	serve func(n int, message []byte) []verbs.Send)

// Where things lie in both sides' memories: the payload at the front, then messages.
const (
	compareHeads = 640 << 10
	compareIn    = 700 << 10
)

// compare does n operations of one way and verifies each payload.
func compare(t *testing.T, server, client *end, size, n int, w way) (took []time.Duration) {
	t.Helper()
	request, serve := w(t, server, client, size)
	done := make(chan error, 1)
	go func() { done <- serving(server, n, serve) }()
	for i := range n {
		fill(client.mem[:size], byte(i))
		begin := time.Now()
		if err := client.qp.Post(request(i)); err != nil {
			t.Fatal(err)
		}
		if err := answered(client); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begin))
		if !bytes.Equal(server.mem[:size], client.mem[:size]) {
			t.Fatal("the payload arrived changed")
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return took
}

// spins is how often a side looks before it sleeps: what the transport does in its time.
const spins = 200

// take waits for a completion of a receive, and posts the receive again.
func take(e *end) (verbs.Completion, error) {
	var into [1]verbs.Completion
	for i := 0; ; i++ {
		n, err := e.cq.Poll(into[:])
		if err != nil {
			return into[0], err
		}
		if n == 0 {
			if i%spins == spins-1 {
				if err := e.cq.Wait(testTime); err != nil {
					return into[0], err
				}
			}
			continue
		}
		c := into[0]
		if c.Status != verbs.OK {
			return c, fmt.Errorf("completion: %v", c.Status)
		}
		if c.Op == verbs.OpRecv || c.Op == verbs.OpRecvImm {
			return c, e.qp.PostRecv([]verbs.Recv{{ID: c.ID,
				Pieces: e.piece(recvFrom+int(c.ID)*recvSize, recvSize)}})
		}
		return c, nil
	}
}

func answered(client *end) error {
	for {
		c, err := take(client)
		if err != nil || c.Op == verbs.OpRecv {
			return err
		}
	}
}

// serving answers n requests.
func serving(server *end, n int, serve func(int, []byte) []verbs.Send) error {
	for i := 0; i < n; {
		c, err := take(server)
		if err != nil {
			return err
		}
		var reqs []verbs.Send
		switch c.Op {
		case verbs.OpRecv:
			reqs = serve(i, server.mem[recvFrom+int(c.ID)*recvSize:])
		case verbs.OpRecvImm:
			reqs = serve(i, server.mem[compareHeads:])
		case verbs.OpRead:
			reqs = serve(i, nil)
		}
		if len(reqs) == 0 {
			continue
		}
		if reqs[0].Op != verbs.OpRead {
			i++
		}
		if err := server.qp.Post(reqs); err != nil {
			return err
		}
	}
	return nil
}

func pull(t *testing.T, server, client *end, size int) (func(int) []verbs.Send,
	func(int, []byte) []verbs.Send) {
	w, err := client.qp.NewWindow()
	client.must(err)
	head := client.mem[compareHeads : compareHeads+compareHead]
	request := func(n int) []verbs.Send {
		key := w.NextKey()
		binary.LittleEndian.PutUint64(head, client.addr(0))
		binary.LittleEndian.PutUint32(head[8:], key)
		return []verbs.Send{{Op: verbs.OpBind, Window: w, Access: verbs.PeerReads,
			Pieces: client.piece(0, size)}, {Op: verbs.OpSend, Signalled: n%compareSends == 0,
			Pieces: client.piece(compareHeads, compareHead)}}
	}
	var from verbs.Remote
	serve := func(n int, message []byte) []verbs.Send {
		if message != nil {
			from = verbs.Remote{Addr: binary.LittleEndian.Uint64(message),
				Key: binary.LittleEndian.Uint32(message[8:])}
			return []verbs.Send{{Op: verbs.OpRead, Remote: from, Signalled: true,
				Pieces: server.piece(0, size)}}
		}
		return []verbs.Send{{Op: verbs.OpSendInv, Remote: from, Signalled: n%compareSends == 0,
			Pieces: server.piece(compareIn, compareAnswer)}}
	}
	t.Cleanup(func() { _ = w.Close() })
	return request, serve
}

func push(t *testing.T, server, client *end, size int) (func(int) []verbs.Send,
	func(int, []byte) []verbs.Send) {
	w, err := server.qp.NewWindow()
	server.must(err)
	server.must(server.qp.Post([]verbs.Send{{Op: verbs.OpBind, Window: w,
		Access: verbs.PeerWrites, Pieces: server.piece(0, compareIn)}}))
	key := w.Key()
	request := func(n int) []verbs.Send {
		return []verbs.Send{{Op: verbs.OpWrite, Pieces: client.piece(0, size),
			Remote: verbs.Remote{Addr: server.addr(0), Key: key}},
			{Op: verbs.OpWriteImm, Imm: uint32(n), Signalled: n%compareSends == 0,
				Pieces: client.piece(compareHeads, compareHead),
				Remote: verbs.Remote{Addr: server.addr(compareHeads), Key: key}}}
	}
	serve := func(n int, _ []byte) []verbs.Send {
		return []verbs.Send{{Op: verbs.OpSend, Signalled: n%compareSends == 0,
			Pieces: server.piece(compareIn, compareAnswer)}}
	}
	t.Cleanup(func() { _ = w.Close() })
	return request, serve
}
