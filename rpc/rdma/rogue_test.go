package rdma

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/rdma/fake"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// rogue is a peer that the test speaks for, message by message.
type rogue struct {
	t      *testing.T
	ctx    verbs.Context
	cq     verbs.CQ
	ln     verbs.Listener
	qps    []verbs.QP
	pool   *buf.Pool
	region verbs.Region
	mem    []byte
	theirs intro
	got    []verbs.Completion // sends that ended and were not asked for
	in     []verbs.Completion // messages not asked for
	taken  uint32
}

const (
	rogueRecvs = 64
	// Where its memory is for what: receives, then a slot to send from, then data.
	rogueSlot = rogueRecvs * SlotSize
	rogueData = rogueSlot + SlotSize
)

var addrC = netip.MustParseAddr("10.9.0.3")

func newRogue(t *testing.T, n *fake.Network) *rogue {
	t.Helper()
	r := &rogue{t: t}
	var err error
	var p verbs.Provider = n.Host(fake.Card{Name: "rogue0", Addr: addrC})
	if realCard != nil {
		p = realCard
	}
	if r.ctx, err = p.Open(""); err != nil {
		t.Fatal(err)
	}
	if r.pool, err = buf.NewPool(buf.Config{Bytes: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	r.mem = r.pool.Arena()
	if r.region, err = r.ctx.Register(r.mem); err != nil {
		t.Fatal(err)
	}
	if r.cq, err = r.ctx.NewCQ(4096); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

func (r *rogue) close() {
	for _, q := range r.qps {
		_ = q.Close()
	}
	if r.ln != nil {
		_ = r.ln.Close()
	}
	_, _, _, _ = r.cq.Close(), r.region.Close(), r.ctx.Close(), r.pool.Close()
}

func (r *rogue) config() verbs.QPConfig {
	return verbs.QPConfig{CQ: r.cq, Sends: 256, Recvs: rogueRecvs, SGEs: 4, Reads: 4,
		RetryTimeout: 200 * time.Millisecond, Ready: r.ready}
}

func (r *rogue) ready(q verbs.QP) error {
	var recvs []verbs.Recv
	for i := range rogueRecvs {
		recvs = append(recvs, verbs.Recv{ID: recvBit | uint64(i),
			Pieces: r.piece(i*SlotSize, SlotSize)})
	}
	return q.PostRecv(recvs)
}

func (r *rogue) piece(at, n int) []verbs.Piece {
	return []verbs.Piece{{Mem: r.mem[at : at+n : at+n], Key: r.region.Key()}}
}

func (r *rogue) intro() []byte {
	i := intro{credits: rogueRecvs, slotSize: SlotSize}
	return i.appendTo(nil)
}

// dial connects to a server without a greeting.
func (r *rogue) dial(addr string) verbs.QP {
	r.t.Helper()
	q, private, err := r.ctx.Dial(context.Background(), netip.MustParseAddrPort(addr), r.config(),
		r.intro())
	if err != nil {
		r.t.Fatal(err)
	}
	r.qps = append(r.qps, q)
	if r.theirs, err = parseIntro(private); err != nil {
		r.t.Fatal(err)
	}
	return q
}

// greeted is dial with a greeting.
func (r *rogue) greeted(addr string) verbs.QP {
	r.t.Helper()
	q := r.dial(addr)
	hello := wire.Hello{Version: wire.ProtocolVersion, Name: "rogue"}
	r.frame(q, wire.Header{Op: wire.OpHello}, hello.AppendTo(nil), nil)
	r.receive()
	return q
}

// serve accepts connections, one for each call of accept.
func (r *rogue) serve() string {
	r.t.Helper()
	var err error
	if r.ln, err = r.ctx.Listen(netip.AddrPortFrom(addrC, 0), 8); err != nil {
		r.t.Fatal(err)
	}
	return r.ln.Addr().String()
}

// accept takes a connection and answers its greeting.
func (r *rogue) accept() verbs.QP {
	req, err := r.ln.Next()
	if err != nil {
		r.t.Error(err)
		return nil
	}
	q, err := req.Accept(r.config(), r.intro(), r.ready)
	if err != nil {
		r.t.Error(err)
		return nil
	}
	r.qps = append(r.qps, q)
	r.receive()
	hello := wire.Hello{Version: wire.ProtocolVersion, Name: "rogue"}
	r.frame(q, wire.Header{Op: wire.OpHello, Flags: wire.FlagResponse}, hello.AppendTo(nil), nil)
	return q
}

// message sends one message of any bytes and waits for its end.
func (r *rogue) message(q verbs.QP, b []byte) verbs.Status {
	r.t.Helper()
	copy(r.mem[rogueSlot:], b)
	return r.do(q, verbs.Send{Op: verbs.OpSend, Pieces: r.piece(rogueSlot, len(b))})
}

func (r *rogue) frame(q verbs.QP, h wire.Header, meta []byte, change func(s *slot)) verbs.Status {
	r.t.Helper()
	return r.message(q, encodeFrame(h, meta, r.taken, change))
}

// encodeFrame is a frame in one message.
func encodeFrame(h wire.Header, meta []byte, taken uint32, change func(s *slot)) []byte {
	body := make([]byte, wire.HeaderSize, SlotSize)
	wire.PutHeader(body, h, meta)
	s := slot{kind: kindHead, body: append(body, meta...), taken: taken}
	if change != nil {
		change(&s)
	}
	mem := make([]byte, SlotSize)
	return mem[:putSlot(mem, &s)]
}

// do posts a request and waits for its end.
func (r *rogue) do(q verbs.QP, s verbs.Send) verbs.Status {
	r.t.Helper()
	s.ID, s.Signalled = 7, true
	if err := q.Post([]verbs.Send{s}); err != nil {
		r.t.Fatal(err)
	}
	for len(r.got) == 0 {
		r.poll()
	}
	c := r.got[0]
	r.got = r.got[1:]
	return c.Status
}

// receive waits for the next message.
func (r *rogue) receive() slot {
	r.t.Helper()
	for len(r.in) == 0 {
		r.poll()
	}
	c := r.in[0]
	r.in = r.in[1:]
	i := int(c.ID &^ recvBit)
	s, err := parseSlot(r.mem[i*SlotSize : i*SlotSize+c.Bytes])
	if c.Status != verbs.OK || err != nil {
		r.t.Errorf("rogue received %+v, %v", c, err)
	}
	return s
}

func (r *rogue) poll() {
	var batch [16]verbs.Completion
	n, err := r.cq.Poll(batch[:])
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range batch[:n] {
		if c.ID&recvBit != 0 {
			r.in = append(r.in, c)
		} else {
			r.got = append(r.got, c)
		}
	}
	if n == 0 {
		time.Sleep(50 * time.Microsecond)
	}
}

// window opens memory of the rogue.
func (r *rogue) window(q verbs.QP, at, n int, a verbs.Access) desc {
	r.t.Helper()
	w, err := q.NewWindow()
	if err != nil {
		r.t.Fatal(err)
	}
	if s := r.do(q, verbs.Send{Op: verbs.OpBind, Window: w, Access: a,
		Pieces: r.piece(at, n)}); s != verbs.OK {
		r.t.Fatal(s)
	}
	return desc{addr: addressOf(r.mem[at:]), key: w.Key(), size: uint32(n)}
}

func descs(all ...desc) (out []byte) {
	for _, d := range all {
		out = append(out, make([]byte, descSize)...)
		d.put(out[len(out)-descSize:])
	}
	return out
}
