package dial

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/internal/loopback"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/uring"
	"github.com/ashlar-storage/ashlar/rpc/rdma"
	"github.com/ashlar-storage/ashlar/rpc/rdma/fake"
	"github.com/ashlar-storage/ashlar/rpc/rdma/ibv"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// gnet keeps a worker pool of its own from its package's start on.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

// echo answers every request with what came.
type echo struct{}

func (echo) OnOpen(transport.ServerConn)         {}
func (echo) OnBatchEnd(transport.ServerConn)     {}
func (echo) OnClose(transport.ServerConn, error) {}
func (echo) OnMessage(c transport.ServerConn, m *transport.Message) {
	c.Reply([]transport.Message{{Header: wire.Header{Op: m.Header.Op, Flags: wire.FlagResponse,
		ID: m.Header.ID}, Payload: m.Payload}})
	m.Payload = nil
}

// log collects lines.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// rig is a host with a card at the loopback's address, where TCP is as well.
type rig struct {
	t    *testing.T
	net  *fake.Network
	host *fake.Host
	log  log
	addr string
	ends []func()
}

func newRig(t *testing.T) *rig {
	t.Helper()
	addrs, err := loopback.Addrs(1)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, net: fake.New(1), addr: addrs[0]}
	r.host = r.net.Host(fake.Card{Name: "fake0", Addr: netip.MustParseAddr("127.0.0.1")})
	t.Cleanup(func() {
		for i := len(r.ends) - 1; i >= 0; i-- {
			r.ends[i]()
		}
		if c := r.net.Counts(); c != (fake.Counts{}) {
			t.Errorf("left on the card: %+v", c)
		}
		r.net.Close()
	})
	return r
}

// later has f run when the test ends, the last first.
func (r *rig) later(f func() error) {
	r.ends = append(r.ends, func() {
		if err := f(); err != nil {
			r.t.Error(err)
		}
	})
}

func (r *rig) open(change func(*Config)) (*Set, *buf.Pool) {
	r.t.Helper()
	pool, err := buf.NewPool(buf.Config{Bytes: 32 << 20})
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := Config{Pool: pool, Provider: r.host, Logger: slog.New(slog.NewTextHandler(&r.log, nil))}
	if change != nil {
		change(&cfg)
	}
	s, err := Open(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.later(pool.Close)
	r.later(s.Close)
	return s, pool
}

// serve starts what a node would: the further transports, and TCP.
func (r *rig) serve(change func(*Config)) {
	r.t.Helper()
	s, pool := r.open(change)
	cfg := transport.ServerConfig{Pool: pool, Hello: wire.Hello{ClusterID: "c1"},
		Logger: slog.New(slog.DiscardHandler), Loops: 1}
	for _, listen := range s.Listeners() {
		l, err := listen(r.addr, echo{}, cfg)
		if err != nil {
			r.t.Fatal(err)
		}
		if l != nil {
			r.later(l.Close)
		}
	}
	l, err := transport.Listen(r.addr, echo{}, cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.later(l.Close)
}

// dial connects and sends a block there and back; it returns the transport.
func (r *rig) dial(s *Set, pool *buf.Pool, hello wire.Hello) (string, error) {
	r.t.Helper()
	conn, err := s.Dial(context.Background(), r.addr, transport.Config{Pool: pool, Hello: hello,
		DialTimeout: 2 * time.Second})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	b, err := pool.Get(4096)
	if err != nil {
		r.t.Fatal(err)
	}
	copy(b.Bytes(), bytes.Repeat([]byte{7}, 4096))
	if err := conn.Send([]transport.Message{{Header: wire.Header{Op: wire.OpPing, ID: 1},
		Payload: b, Room: 4096}}); err != nil {
		r.t.Fatal(err)
	}
	m, err := conn.Recv()
	if err != nil {
		r.t.Fatal(err)
	}
	if !bytes.Equal(m.Payload.Bytes(), bytes.Repeat([]byte{7}, 4096)) {
		r.t.Error("other bytes came back")
	}
	m.Payload.Release()
	return transport.NameOf(conn), nil
}

func (r *rig) want(s *Set, pool *buf.Pool, name string) {
	r.t.Helper()
	got, err := r.dial(s, pool, wire.Hello{ClusterID: "c1"})
	if err != nil || got != name {
		r.t.Errorf("over %q (%v), want %s", got, err, name)
	}
}

func mode(m Mode) func(*Config) { return func(c *Config) { c.Mode = m } }

func TestEachModeUsesItsTransport(t *testing.T) {
	r := newRig(t)
	r.serve(func(c *Config) { c.Sockets = true })
	for m, want := range map[Mode]string{Auto: "rdma", RDMA: "rdma", TCP: "tcp", Unix: "unix"} {
		s, pool := r.open(mode(m))
		r.want(s, pool, want)
		if s.Stats() != (Stats{}) {
			t.Errorf("%s: %+v", m, s.Stats())
		}
	}
}

func TestSettingForZeroCopySendsReachesConnectionsOverTCP(t *testing.T) {
	if err := uring.Probe(); err != nil {
		t.Skipf("no io_uring here: %v", err)
	}
	r := newRig(t)
	r.serve(nil)
	for _, zero := range []transport.ZeroCopy{{}, {Threshold: 4096, Keep: true}} {
		s, pool := r.open(func(c *Config) { c.Mode, c.ZeroCopy = TCP, zero })
		var meter transport.Meter
		conn, err := s.Dial(t.Context(), r.addr, transport.Config{Pool: pool, Meter: &meter,
			Hello: wire.Hello{ClusterID: "c1"}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := pool.Get(8192)
		if err != nil {
			t.Fatal(err)
		}
		m := transport.Message{Header: wire.Header{Op: wire.OpWrite}, Payload: b}
		if err := conn.Send([]transport.Message{m}); err != nil {
			t.Error(err)
		}
		if n := meter.Read()[0].ZeroCopy; (n > 0) != (zero.Threshold > 0) {
			t.Errorf("%+v: %d zero-copy sends", zero, n)
		}
		_ = conn.Close()
	}
}

func TestAutoFallsBackAndRemembersForAWhile(t *testing.T) {
	r := newRig(t)
	r.serve(mode(TCP))
	s, pool := r.open(func(c *Config) { c.RetryAfter = time.Minute })
	r.want(s, pool, "tcp")
	r.want(s, pool, "tcp")
	if got := s.Stats(); got != (Stats{Fallbacks: 2, Remembered: 1}) {
		t.Errorf("%+v", got)
	}
	if n := r.log.count("over TCP"); n != 1 {
		t.Errorf("%d lines say it", n)
	}
	peer, peerPool := r.open(nil)
	l, err := peer.Listeners()[0](r.addr, echo{}, transport.ServerConfig{Pool: peerPool,
		Hello: wire.Hello{ClusterID: "c1"}})
	if err != nil {
		t.Fatal(err)
	}
	r.later(l.Close)
	r.want(s, pool, "tcp")
	s.mu.Lock()
	if left := time.Until(s.bad[r.addr].until); left <= 0 || left > time.Minute {
		t.Errorf("it is remembered for another %v", left)
	}
	s.bad[r.addr].until = time.Now()
	s.mu.Unlock()
	r.want(s, pool, "rdma")
}

func TestModeRDMANeverUsesTCP(t *testing.T) {
	r := newRig(t)
	r.serve(mode(TCP))
	s, pool := r.open(mode(RDMA))
	_, err := r.dial(s, pool, wire.Hello{ClusterID: "c1"})
	if !errors.Is(err, verbs.ErrRefused) || !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
	if _, err := Open(Config{Mode: RDMA, Pool: pool}); !errors.Is(err, verbs.ErrUnsupported) &&
		!errors.Is(err, verbs.ErrNoDevice) {
		t.Errorf("without a card: %v", err)
	}
}

func TestNodeThatIsDownIsNotRemembered(t *testing.T) {
	r := newRig(t)
	s, pool := r.open(nil)
	if _, err := r.dial(s, pool, wire.Hello{ClusterID: "c1"}); !errors.Is(err,
		unix.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
	r.serve(nil)
	r.want(s, pool, "rdma")
}

func TestRefusalsThatTCPWouldMeetAreErrors(t *testing.T) {
	r := newRig(t)
	r.serve(nil)
	s, pool := r.open(nil)
	if _, err := r.dial(s, pool, wire.Hello{ClusterID: "other"}); !errors.Is(err,
		wire.ErrWrongCluster) {
		t.Errorf("%v", err)
	}
	if s.Stats() != (Stats{}) {
		t.Errorf("%+v", s.Stats())
	}
}

func TestKeysMustBeTheSame(t *testing.T) {
	r := newRig(t)
	r.serve(func(c *Config) { c.Key = bytes.Repeat([]byte{1}, 32) })
	same, pool := r.open(func(c *Config) { c.Key = bytes.Repeat([]byte{1}, 32) })
	r.want(same, pool, "rdma")
	for _, key := range [][]byte{nil, bytes.Repeat([]byte{2}, 32)} {
		s, pool := r.open(func(c *Config) { c.Mode, c.Key = RDMA, key })
		if _, err := r.dial(s, pool, wire.Hello{ClusterID: "c1"}); !errors.Is(err, rdma.ErrKey) {
			t.Errorf("%v", err)
		}
		s, pool = r.open(func(c *Config) { c.Key = key })
		r.want(s, pool, "tcp")
	}
}

func TestQueuePairsThatKeepBreakingEndInTCP(t *testing.T) {
	r := newRig(t)
	r.serve(nil)
	s, pool := r.open(nil)
	for range BreaksMax {
		conn, err := s.Dial(context.Background(), r.addr, transport.Config{Pool: pool,
			Hello: wire.Hello{ClusterID: "c1"}})
		if err != nil {
			t.Fatal(err)
		}
		r.net.BreakAll()
		if _, err := conn.Recv(); !errors.Is(err, rdma.ErrBroken) {
			t.Errorf("%v", err)
		}
		conn.Close()
	}
	r.want(s, pool, "tcp")
	if got := s.Stats(); got.Breaks != BreaksMax || got.Remembered != 1 {
		t.Errorf("%+v", got)
	}
}

func TestProgramWithoutRDMAServesAndDialsTCP(t *testing.T) {
	if ibv.Built {
		t.Skip("this program was built with RDMA")
	}
	r := newRig(t)
	r.serve(func(c *Config) { c.Provider = nil })
	s, pool := r.open(func(c *Config) { c.Provider = nil })
	r.want(s, pool, "tcp")
	if r.log.count("TCP only") != 2 || s.Stats().Fallbacks != 0 {
		t.Errorf("%s %+v", r.log.text.String(), s.Stats())
	}
}

func TestRememberedAddressesAreBounded(t *testing.T) {
	s, err := Open(Config{Mode: TCP, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range rememberedMax + 10 {
		s.remember(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(i)).String(), nil)
	}
	if n := len(s.bad); n != rememberedMax || s.known("10.0.0.1:0") || !s.known("10.0.0.1:4100") {
		t.Errorf("%d addresses", n)
	}
}

func TestBadModesAndKeyFilesSayWhatToDo(t *testing.T) {
	if _, err := ParseMode("carrier pigeon"); !errors.Is(err, ErrMode) ||
		!strings.Contains(err.Error(), "use auto, rdma, tcp or unix") {
		t.Error(err)
	}
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	long := strings.Repeat("k", 40)
	for path, want := range map[string]string{
		filepath.Join(dir, "none"):         "no such file",
		file("short", "secret\n", 0o600):   "use 32 to 4096 random ones",
		file("open", long, 0o644):          "chmod 600",
		file("long", long+"\n\n", 0o600):   "",
		file("padded", "  \n "+long, 0o40): "chmod 600",
	} {
		key, err := ReadKey(path)
		switch {
		case want == "" && (err != nil || string(key) != long):
			t.Errorf("%s: %q, %v", path, key, err)
		case want != "" && (!errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if key, err := ReadKey(""); key != nil || err != nil {
		t.Error(key, err)
	}
}
