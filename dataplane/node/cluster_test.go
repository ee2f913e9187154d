package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/internal/loopback"
	"github.com/ashlar-storage/ashlar/io/buf"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

const (
	testChunk   = 1 << 20
	testCluster = "test-cluster"
)

// cluster is nodes in one process, told by the test what a control plane would tell them.
type cluster struct {
	t        testing.TB
	dir      string
	store    func(t testing.TB, path string) string
	nodes    []*Node
	addrs    []string
	copysets int
	extra    map[int]string // a second store of a node
	change   func(*Config)  // of the nodes; may be nil
	stopped  func(i int)    // when node i has been closed; may be nil
	dial     transport.Dialer
	pool     *buf.Pool
	mu       sync.Mutex
	conns    map[string]transport.Conn
	opID     uint64
	log      *slog.Logger
}

func startCluster(t testing.TB, nodes, copysets int) *cluster {
	t.Helper()
	return startClusterOn(t, nodes, copysets, directory)
}

// startClusterWith changes what nodes are configured with.
func startClusterWith(t testing.TB, nodes, copysets int, change func(*Config)) *cluster {
	t.Helper()
	return startClusterAs(t, nodes, copysets, directory, change)
}

// startClusterOn has stores of a kind: store makes one at a path that is free, or leaves the one
// that is there, and returns its path.
func startClusterOn(
	t testing.TB, nodes, copysets int, store func(t testing.TB, path string) string,
) *cluster {
	t.Helper()
	return startClusterAs(t, nodes, copysets, store, nil)
}

func startClusterAs(
	t testing.TB, nodes, copysets int, store func(t testing.TB, path string) string,
	change func(*Config),
) *cluster {
	t.Helper()
	pool, err := buf.NewPool(buf.Config{Bytes: 32 << 20})
	if err != nil {
		t.Fatal(err)
	}
	level := slog.LevelError
	if os.Getenv("ASHLAR_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	c := &cluster{t: t, dir: t.TempDir(), store: store, copysets: copysets, pool: pool,
		change: change, dial: transport.Dial, conns: map[string]transport.Conn{},
		log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))}
	c.nodes = make([]*Node, nodes)
	if c.addrs, err = loopback.Addrs(nodes); err != nil { // a node comes back at its own
		t.Fatal(err)
	}
	for i := range nodes {
		c.startNode(i)
	}
	c.tell()
	t.Cleanup(func() {
		for i := range c.nodes {
			c.stopNode(i)
		}
		for _, conn := range c.conns {
			conn.Close()
		}
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *cluster) startNode(i int) {
	c.t.Helper()
	stores := []string{c.storeDir(i)}
	if second := c.extra[i]; second != "" {
		stores = append(stores, second)
	}
	cfg := Config{Name: fmt.Sprintf("n%d", i+1), Zone: fmt.Sprintf("z%d", i+1),
		Listen: c.addrs[i], Control: "127.0.0.1:1", Stores: stores,
		PoolBytes: 64 << 20, ChunkBytes: testChunk, SegmentBytes: 4 << 20, LogBytes: 32 << 20,
		AllowVolatileCache: mayForget(c.t, c.dir),
		ReserveChunks:      2, Logger: c.log.With("node", i+1),
		StallBound: time.Minute} // other tests have their turns of the disk
	if c.change != nil {
		c.change(&cfg)
	}
	n, err := Start(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	n.nodeID = uint64(i + 1)
	if err := n.stores[0].Adopt(testCluster, uint64(i+1)); err != nil {
		c.t.Fatal(err)
	}
	c.nodes[i] = n
}

func (c *cluster) storeDir(i int) string {
	return c.store(c.t, filepath.Join(c.dir, fmt.Sprintf("store%d", i+1)))
}

// directory is a store in a directory.
func directory(t testing.TB, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func (c *cluster) stopNode(i int) {
	if n := c.nodes[i]; n != nil {
		c.nodes[i] = nil
		if err := n.Close(); err != nil {
			c.t.Errorf("node %d: %v", i+1, err)
		}
		if c.stopped != nil {
			c.stopped(i)
		}
		if err := n.pool.Close(); err != nil {
			c.t.Errorf("node %d: %v", i+1, err)
		}
	}
}

// tell gives every running node the whole desired state.
func (c *cluster) tell() {
	resp := &v1.HeartbeatNodeResponse{DesiredVersion: 1}
	for id := uint64(1); id <= uint64(c.copysets); id++ {
		cs := &v1.Copyset{CopysetId: id, Epoch: 1,
			PreferredLeaderReplicaId: id*10 + id%uint64(len(c.nodes)) + 1}
		for i := range c.nodes {
			cs.Replicas = append(cs.Replicas, &v1.Replica{ReplicaId: id*10 + uint64(i) + 1,
				NodeId: uint64(i + 1), StoreId: uint64(i + 1), Addr: c.addrs[i]})
		}
		resp.Copysets = append(resp.Copysets, cs)
	}
	for _, n := range c.nodes {
		if n != nil {
			n.adopt(resp)
		}
	}
}

// patience is for a disk that others keep busy: while a vote takes longer to be durable than an
// election, no candidate wins.
const patience = time.Minute

// leader is the index of the node that serves a copyset, waiting for one.
func (c *cluster) leader(copysetID uint64) int {
	c.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		for i, n := range c.nodes {
			if n == nil {
				continue
			}
			for _, r := range n.stores[0].Replicas() {
				if r.Copyset == copysetID && r.Serving {
					return i
				}
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.t.Fatalf("copyset %d has no leader", copysetID)
	return -1
}

func (c *cluster) status(i int, copysetID uint64) copyset.Status {
	for _, r := range c.nodes[i].stores[0].Replicas() {
		if r.Copyset == copysetID {
			return r
		}
	}
	c.t.Fatalf("node %d has no copyset %d", i+1, copysetID)
	return copyset.Status{}
}

func (c *cluster) conn(addr string) (transport.Conn, error) {
	if conn := c.conns[addr]; conn != nil {
		return conn, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, err := c.dial(ctx, addr, transport.Config{Pool: c.pool,
		Hello: wire.Hello{ClusterID: testCluster, Role: "client"}})
	if err == nil {
		c.conns[addr] = conn
	}
	return conn, err
}

// op does one operation on the copyset's leader, wherever it is, repeating it under one op id.
func (c *cluster) op(op wire.Op, r wire.IORequest, payload []byte) ([]byte, wire.Status) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opID++
	r.Session, r.Epoch, r.OpID, r.LowWater, r.Volume = 7, 1, c.opID, c.opID, 1
	if op == wire.OpWrite {
		r.CRCs = wire.ChecksumPieces(nil, r.Offset, payload)
	}
	end := time.Now().Add(patience)
	for try := 0; time.Now().Before(end); try++ {
		addr := c.addrs[try%len(c.addrs)]
		data, status, err := c.try(addr, op, r, payload)
		if err == nil && status != wire.StatusNotLeader && status != wire.StatusRetry &&
			status != wire.StatusOverloaded && status != wire.StatusWrongCopyset &&
			status != wire.StatusUnavailable {
			return data, status
		}
		time.Sleep(2 * time.Millisecond)
	}
	c.t.Fatalf("%v on copyset %d: no leader answered", op, r.Copyset)
	return nil, 0
}

func (c *cluster) try(addr string, op wire.Op, r wire.IORequest, payload []byte) ([]byte,
	wire.Status, error) {
	conn, err := c.conn(addr)
	if err != nil {
		return nil, 0, err
	}
	msg := transport.Message{Header: wire.Header{Op: op, ID: r.OpID}, Meta: r.AppendTo(nil)}
	if payload != nil {
		if msg.Payload, err = c.pool.Get(len(payload)); err != nil {
			return nil, 0, err
		}
		copy(msg.Payload.Bytes(), payload)
	}
	if op == wire.OpRead {
		msg.Room = int(r.Length)
	}
	err = conn.Send([]transport.Message{msg})
	var m transport.Message
	if err == nil {
		m, err = conn.Recv()
	}
	if err != nil {
		conn.Close()
		delete(c.conns, addr)
		return nil, 0, err
	}
	var data []byte
	if m.Payload != nil {
		data = append(data, m.Payload.Bytes()...)
		var resp wire.IOResponse
		if err := resp.Decode(m.Meta); err != nil {
			c.t.Fatal(err)
		}
		if err := wire.VerifyPieces(resp.CRCs, r.Offset, data); err != nil {
			c.t.Fatal(err)
		}
		m.Payload.Release()
	}
	return data, m.Header.Status, nil
}

func (c *cluster) write(copysetID, chunk uint64, off uint32, p []byte) {
	c.t.Helper()
	_, s := c.op(wire.OpWrite, wire.IORequest{Copyset: copysetID, Chunk: chunk, Offset: off,
		Length: uint32(len(p))}, p)
	if s != wire.StatusOK {
		c.t.Fatalf("write: %v", s)
	}
}

func (c *cluster) zero(copysetID, chunk uint64, off, length uint32) {
	c.t.Helper()
	_, s := c.op(wire.OpZero, wire.IORequest{Copyset: copysetID, Chunk: chunk, Offset: off,
		Length: length}, nil)
	if s != wire.StatusOK {
		c.t.Fatalf("zero: %v", s)
	}
}

func (c *cluster) read(copysetID, chunk uint64, off, length uint32) []byte {
	c.t.Helper()
	p, s := c.op(wire.OpRead, wire.IORequest{Copyset: copysetID, Chunk: chunk, Offset: off,
		Length: length}, nil)
	if s != wire.StatusOK {
		c.t.Fatalf("read: %v", s)
	}
	return p
}
