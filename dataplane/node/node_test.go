package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/peer"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// model is what the volume must read as.
type model struct {
	c      *cluster
	rng    *rand.Rand
	chunks map[[2]uint64][]byte
}

func newModel(c *cluster, seed uint64) *model {
	return &model{c: c, rng: rand.New(rand.NewPCG(seed, 1)), chunks: map[[2]uint64][]byte{}}
}

func (m *model) chunk(copysetID, chunk uint64) []byte {
	k := [2]uint64{copysetID, chunk}
	if m.chunks[k] == nil {
		m.chunks[k] = make([]byte, testChunk)
	}
	return m.chunks[k]
}

// span is a random range of a chunk: aligned or not, small or large.
func (m *model) span() (off, length uint32) {
	length = 1 + m.rng.Uint32N(40000)
	off = m.rng.Uint32N(testChunk - length)
	if m.rng.IntN(2) == 0 {
		off, length = off&^4095, (length+4095)&^4095
	}
	return off, min(length, testChunk-off)
}

func (m *model) step() {
	id, chunk := 1+m.rng.Uint64N(uint64(m.c.copysets)), m.rng.Uint64N(3)
	data := m.chunk(id, chunk)
	off, length := m.span()
	switch m.rng.IntN(8) {
	case 0:
		if m.rng.IntN(4) == 0 {
			off, length = 0, testChunk
		}
		m.c.zero(id, chunk, off, length)
		clear(data[off : off+length])
	case 1, 2:
		got := m.c.read(id, chunk, off, length)
		if !bytes.Equal(got, data[off:off+length]) {
			m.c.t.Fatalf("copyset %d chunk %d: bytes %d+%d differ from what was written",
				id, chunk, off, length)
		}
	default:
		p := make([]byte, length)
		for i := range p {
			p[i] = byte(m.rng.Uint32())
		}
		m.c.write(id, chunk, off, p)
		copy(data[off:], p)
	}
}

func (m *model) checkAll() {
	m.c.t.Helper()
	for k, data := range m.chunks {
		for off := 0; off < testChunk; off += 256 << 10 {
			got := m.c.read(k[0], k[1], uint32(off), 256<<10)
			if !bytes.Equal(got, data[off:off+256<<10]) {
				m.c.t.Fatalf("copyset %d chunk %d: bytes from %d differ", k[0], k[1], off)
			}
		}
	}
}

func TestANodeWithAStoreThatCannotBeOpenedDoesNotStart(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	if err := os.Mkdir(good, 0o700); err != nil {
		t.Fatal(err)
	}
	pool, err := buf.NewPool(buf.Config{Bytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Name: "n1", Zone: "z1", Listen: "127.0.0.1:0", Control: "127.0.0.1:1",
		Stores: []string{good, filepath.Join(dir, "missing")}, Pool: pool, ChunkBytes: testChunk,
		SegmentBytes: 4 << 20, LogBytes: 32 << 20, ReserveChunks: 2,
		AllowVolatileCache: mayForget(t, dir), Logger: slog.New(slog.DiscardHandler)}
	started := make(chan error, 1)
	go func() {
		n, err := Start(cfg)
		if err == nil {
			n.Close()
		}
		started <- err
	}()
	select {
	case err := <-started:
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it hangs")
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
}

func TestRandomOperationsReadBackWhatWasWritten(t *testing.T) {
	c := startCluster(t, 3, 4)
	m := newModel(c, 1)
	for range 600 {
		m.step()
	}
	m.checkAll()
}

func TestEverythingAcknowledgedSurvivesARestartOfAllNodes(t *testing.T) {
	c := startCluster(t, 3, 3)
	m := newModel(c, 2)
	for round := range 3 {
		for range 150 {
			m.step()
		}
		for i := range c.nodes {
			c.stopNode(i)
		}
		for i := range c.nodes {
			c.startNode(i)
		}
		c.tell()
		m.checkAll()
		t.Logf("round %d", round)
	}
}

func TestWritesGoOnWhenTheLeaderStops(t *testing.T) {
	c := startCluster(t, 3, 1)
	m := newModel(c, 3)
	for range 50 {
		m.step()
	}
	lead := c.leader(1)
	begin := time.Now()
	c.stopNode(lead)
	stopped := time.Since(begin)
	m.step()
	t.Logf("stop took %v, next operation %v later", stopped, time.Since(begin)-stopped)
	if c.leader(1) == lead {
		t.Fatal("the stopped node still leads")
	}
	for range 50 {
		m.step()
	}
	m.checkAll()
}

// A node that was away for longer than the log reaches back is brought up from the leader's chunk
// files, and can then carry the volume with one other.
func TestNodeThatMissedMoreThanTheLogCatchesUpFromChunks(t *testing.T) {
	c := startCluster(t, 3, 2)
	m := newModel(c, 4)
	for range 40 {
		m.step()
	}
	c.stopNode(2)
	p := make([]byte, 256<<10)
	for i := range 300 {
		for j := range p {
			p[j] = byte(m.rng.Uint32())
		}
		id, chunk, off := uint64(1+i%2), m.rng.Uint64N(3), uint32(i%4)*uint32(len(p))
		c.write(id, chunk, off, p)
		copy(m.chunk(id, chunk)[off:], p)
	}
	for id := uint64(1); id <= 2; id++ {
		if first := c.status(c.leader(id), id).First; first <= 45 {
			t.Fatalf("copyset %d: the log still begins at %d: the test proves nothing", id, first)
		}
	}
	c.startNode(2)
	c.tell()
	for id := uint64(1); id <= 2; id++ {
		want := c.status(c.leader(id), id).Applied
		for end := time.Now().Add(20 * time.Second); c.status(2, id).Applied < want; {
			if time.Now().After(end) {
				t.Fatalf("copyset %d: applied %d of %d", id, c.status(2, id).Applied, want)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	c.stopNode(0)
	m.checkAll()
}

// A node that is killed takes no checkpoint: everything since the last one comes from its log.
func TestRestartWithoutCheckpointReplaysTheLog(t *testing.T) {
	c := startCluster(t, 3, 2)
	m := newModel(c, 5)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for range 3 {
		for range 120 {
			m.step()
		}
		for i, n := range c.nodes {
			if err := n.stores[0].Close(gone); err != nil {
				t.Fatal(err)
			}
			c.stopNode(i)
			c.startNode(i)
		}
		c.tell()
		m.checkAll()
	}
}

// flipChunkFiles changes a byte in every data block of every chunk file of a store.
func flipChunkFiles(t *testing.T, dir string) (blocks int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "chunks", "slot-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		for off := info.Size() - testChunk; off < info.Size(); off += 4096 {
			if _, err := f.ReadAt(b, off); err != nil {
				t.Fatal(err)
			}
			b[off/4096%4096] ^= 0x10
			if _, err := f.WriteAt(b, off); err != nil {
				t.Fatal(err)
			}
			blocks++
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return blocks
}

func TestFlippedBytesInChunkFilesAreNeverReturnedAndAreRepaired(t *testing.T) {
	c := startCluster(t, 3, 2)
	m := newModel(c, 6)
	for range 150 {
		m.step()
	}
	lead := c.leader(1)
	c.nodes[lead].stores[0].Checkpoint(context.Background())
	if n := flipChunkFiles(t, c.storeDir(lead)); n == 0 {
		t.Fatal("no chunk file was written")
	}
	m.checkAll()
	bad := c.nodes[lead].stores[0].Report()
	if bad.CorruptBlocks == 0 || bad.Repaired == 0 {
		t.Fatalf("corrupt %d, repaired %d: the flipped blocks were not read", bad.CorruptBlocks,
			bad.Repaired)
	}
	t.Logf("%d bad blocks found, %d repaired", bad.CorruptBlocks, bad.Repaired)
}

func TestAPeerThatFindsTooManyListsBeingMadeIsToldToComeAgain(t *testing.T) {
	c := startCluster(t, 1, 1)
	list := func() wire.Status {
		conn, err := c.conn(c.addrs[0])
		if err != nil {
			t.Fatal(err)
		}
		err = conn.Send([]transport.Message{{Header: wire.Header{Op: wire.OpSnapList, ID: 1},
			Meta: (&peer.ListRequest{Copyset: 1, Replica: 1}).AppendTo(nil)}})
		if err != nil {
			t.Fatal(err)
		}
		m, err := conn.Recv()
		if err != nil {
			t.Fatal(err)
		}
		drop(&m)
		return m.Header.Status
	}
	n := c.nodes[0]
	for range listsMax {
		n.lists <- struct{}{}
	}
	if s := list(); s != wire.StatusOverloaded {
		t.Errorf("with %d being made: %v", listsMax, s)
	}
	for range listsMax {
		<-n.lists
	}
	if s := list(); s != wire.StatusOK {
		t.Errorf("with none being made: %v", s)
	}
}
