package gateway

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cloudwego/kitex/client/callopt"
	"go.uber.org/goleak"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/client"
	"github.com/ashlar-storage/ashlar/rpc/nbd"
)

// The event-loop library starts goroutines of its own when it is linked in, the RPC library when it
// is first used; both keep them for good.
func TestMain(m *testing.M) {
	const kitex = "github.com/cloudwego/kitex/"
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent(),
		goleak.IgnoreAnyFunction("github.com/cloudwego/netpoll.(*defaultPoll).Wait"),
		goleak.IgnoreAnyFunction(kitex+"client.(*timeoutPool).createTicker.func1"),
		goleak.IgnoreAnyFunction(kitex+"client.(*timeoutPool).createWorker.func1"),
		goleak.IgnoreAnyFunction(kitex+"pkg/loadbalance/lbcache.(*BalancerFactory).watcher"))
}

// fakeVolume holds its bytes in memory and can be failed.
type fakeVolume struct {
	id     uint64
	mu     sync.Mutex
	data   []byte
	fatal  error
	closed atomic.Int32
	pool   *buf.Pool
	chunk  int64 // bytes of one buffer of a read; 0: all
}

func (v *fakeVolume) cut() int64 { return cmp.Or(v.chunk, 1<<20) }

func (v *fakeVolume) ID() uint64 { return v.id }

func (v *fakeVolume) Size() int64 { return int64(len(v.data)) }

func (v *fakeVolume) Refresh(context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.data = append(v.data, make([]byte, 4096)...)
	return nil
}

func (v *fakeVolume) Flush() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.fatal
}

func (v *fakeVolume) Stats() client.Stats { return client.Stats{Reads: 7, Inflight: 2} }

func (v *fakeVolume) Close() error {
	v.closed.Add(1)
	return nil
}

func (v *fakeVolume) Submit(op *client.Op) {
	v.mu.Lock()
	op.Err = v.fatal
	if op.Err == nil {
		switch op.Kind {
		case client.OpFetch:
			op.Bufs = op.Bufs[:0]
			for n := int64(0); n < op.Len; n += v.cut() {
				part := v.data[op.Off+n : op.Off+min(n+v.cut(), op.Len)]
				b, err := v.pool.Get(len(part))
				if err != nil {
					panic(err)
				}
				copy(b.Bytes(), part)
				op.Bufs = append(op.Bufs, b)
			}
		case client.OpWrite:
			copy(v.data[op.Off:], op.Data)
		case client.OpZero:
			clear(v.data[op.Off : op.Off+op.Len])
		}
	}
	v.mu.Unlock()
	op.Done(op)
}

// fakeDirectory has volumes by their names; the number of one is its place in the list, from 1 on.
type fakeDirectory struct {
	names []string
	sizes map[string]uint64 // other than 8192
}

func (d fakeDirectory) size(name string) uint64 { return cmp.Or(d.sizes[name], 8192) }

func (d fakeDirectory) ListVolumes(context.Context, *ashlar.ListVolumesRequest,
	...callopt.Option,
) (*ashlar.ListVolumesResponse, error) {
	r := &ashlar.ListVolumesResponse{}
	for _, n := range d.names {
		r.Volumes = append(r.Volumes, &ashlar.Volume{Name: n, SizeBytes: d.size(n)})
	}
	return r, nil
}

func (d fakeDirectory) GetVolume(_ context.Context, q *ashlar.GetVolumeRequest,
	_ ...callopt.Option,
) (*ashlar.GetVolumeResponse, error) {
	for i, n := range d.names {
		if n == q.Name {
			return &ashlar.GetVolumeResponse{Volume: &ashlar.Volume{VolumeId: uint64(i + 1),
				Name: n, SizeBytes: d.size(n)}}, nil
		}
	}
	return nil, admin.Errorf(admin.ErrNotFound, "volume %s does not exist", q.Name)
}

// rig counts the openings of one backend.
type rig struct {
	*backend
	pool    *buf.Pool
	opens   atomic.Int32
	volumes chan *fakeVolume
}

func newRig(names ...string) *rig {
	pool, err := buf.NewPool(buf.Config{Bytes: 8 << 20})
	if err != nil {
		panic(err)
	}
	r := &rig{volumes: make(chan *fakeVolume, 16), pool: pool}
	dir := fakeDirectory{names, map[string]uint64{}}
	r.backend = &backend{ctx: context.Background(), dir: dir, opened: map[uint64]*shared{},
		log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		open: func(ctx context.Context, name string) (volume, error) {
			r.opens.Add(1)
			got, err := dir.GetVolume(ctx, &ashlar.GetVolumeRequest{Name: name})
			if err != nil {
				return nil, fmt.Errorf("client: open volume: %w", err)
			}
			v := &fakeVolume{id: got.Volume.VolumeId, data: make([]byte, 8192), pool: r.pool}
			r.volumes <- v
			return v, nil
		}}
	return r
}

func (r *rig) lookup(t *testing.T, name string) nbd.Export {
	t.Helper()
	e, err := r.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// do carries out a request and checks that it is answered once. What a read is answered with is put
// into its Data.
func do(t *testing.T, e nbd.Export, req *nbd.Request) error {
	t.Helper()
	answers := 0
	req.Done = func(*nbd.Request) { answers++ }
	req.Err = nil
	e.Submit(req)
	if answers != 1 {
		t.Fatalf("%v was answered %d times", req.Cmd, answers)
	}
	if req.Got != nil {
		copy(req.Data, req.Got.Bytes())
		req.Got.Release()
		req.Got = nil
	}
	return req.Err
}

func TestReadsAreAnsweredWithTheBuffersTheyCameIn(t *testing.T) {
	r := newRig("vol")
	e := r.lookup(t, "vol")
	defer e.Close()
	v := <-r.volumes
	for i := range v.data {
		v.data[i] = byte(i * 7 >> 3)
	}
	var got *buf.Buf
	req := &nbd.Request{Cmd: nbd.CmdRead, Off: 100, Len: 5000, Data: make([]byte, 5000)}
	req.Done = func(req *nbd.Request) { got = req.Got }
	e.Submit(req)
	if got == nil || !bytes.Equal(got.Bytes(), v.data[100:5100]) {
		t.Error("the read was not answered with its buffer")
	}
	got.Release()
	req.Got, v.chunk = nil, 512 // chunks smaller than a request: several buffers
	if err := do(t, e, req); err != nil || !bytes.Equal(req.Data, v.data[100:5100]) {
		t.Errorf("a read of several buffers: %v", err)
	}
	if n := r.pool.Stats().InUseBufs; n != 0 {
		t.Errorf("%d buffers are held", n)
	}
}

func TestConnectionsShareOneAttachmentAndTheLastClosesIt(t *testing.T) {
	r := newRig("vol")
	var wg sync.WaitGroup
	exports := make([]nbd.Export, 8)
	for i := range exports {
		wg.Go(func() { exports[i], _ = r.Lookup("vol") })
	}
	wg.Wait()
	v := <-r.volumes
	for i, e := range exports {
		if e == nil || v.closed.Load() != 0 {
			t.Fatalf("export %d: %v, closed %d times", i, e, v.closed.Load())
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if r.opens.Load() != 1 || v.closed.Load() != 1 || len(r.opened) != 0 {
		t.Errorf("%d opens, %d closes, %d left", r.opens.Load(), v.closed.Load(), len(r.opened))
	}
}

func TestRequestsReachTheVolume(t *testing.T) {
	r := newRig("vol")
	e := r.lookup(t, "vol")
	defer e.Close()
	req := &nbd.Request{Cmd: nbd.CmdWrite, Off: 100, Len: 5, Data: []byte("hello")}
	if err := do(t, e, req); err != nil {
		t.Fatal(err)
	}
	user := req.User
	req.Cmd, req.Off, req.Len, req.Data = nbd.CmdRead, 99, 7, make([]byte, 7)
	if err := do(t, e, req); err != nil || string(req.Data) != "\x00hello\x00" {
		t.Errorf("%q, %v", req.Data, err)
	}
	if req.User != user {
		t.Error("a request used again was given another carrier")
	}
	for _, cmd := range []nbd.Cmd{nbd.CmdTrim, nbd.CmdWriteZeroes} {
		req.Cmd, req.Off, req.Len, req.Data = cmd, 100, 2, nil
		if err := do(t, e, req); err != nil {
			t.Error(cmd, err)
		}
	}
	req.Cmd, req.Len, req.Data = nbd.CmdRead, 5, make([]byte, 5)
	if err := do(t, e, req); err != nil || string(req.Data) != "\x00\x00llo" {
		t.Errorf("%q, %v", req.Data, err)
	}
	req.Cmd, req.Data = nbd.CmdFlush, nil
	if err := do(t, e, req); err != nil {
		t.Error(err)
	}
	req.Cmd = nbd.CmdDisc
	if err := do(t, e, req); !errors.Is(err, nbd.EINVAL) {
		t.Error(err)
	}
}

func TestFencedVolumeFailsItsConnectionsAndIsOpenedAnewForTheNext(t *testing.T) {
	r := newRig("vol")
	old := r.lookup(t, "vol")
	v := <-r.volumes
	v.mu.Lock()
	v.fatal = client.ErrFenced
	v.mu.Unlock()
	if err := do(t, old, &nbd.Request{Cmd: nbd.CmdFlush}); !errors.Is(err, nbd.ESHUTDOWN) {
		t.Error(err)
	}
	next := r.lookup(t, "vol")
	if err := do(t, next, &nbd.Request{Cmd: nbd.CmdFlush}); err != nil {
		t.Error(err)
	}
	if old.Close() != nil || v.closed.Load() != 1 {
		t.Error("the fenced volume was not closed")
	}
	if w := <-r.volumes; w.closed.Load() != 0 || next.Close() != nil || w.closed.Load() != 1 {
		t.Error("the new volume was closed with the old one")
	}
}

func TestNameOfARenamedVolumeIsThatOfAnotherForTheNextConnection(t *testing.T) {
	r := newRig("a/vol", "new")
	names := r.dir.(fakeDirectory).names
	first := r.lookup(t, "a/vol")
	defer first.Close()
	names[0], names[1] = "b/vol", "a/vol"
	moved, other := r.lookup(t, "b/vol"), r.lookup(t, "a/vol")
	defer moved.Close()
	defer other.Close()
	write := &nbd.Request{Cmd: nbd.CmdWrite, Len: 1, Data: []byte("x")}
	if err := do(t, first, write); err != nil {
		t.Fatal(err)
	}
	for e, want := range map[nbd.Export]byte{moved: 'x', other: 0} {
		read := &nbd.Request{Cmd: nbd.CmdRead, Len: 1, Data: make([]byte, 1)}
		if err := do(t, e, read); err != nil || read.Data[0] != want {
			t.Errorf("%s reads %q, want %q: %v", e.Info().Name, read.Data, want, err)
		}
	}
	if r.opens.Load() != 2 {
		t.Errorf("%d volumes were opened, want 2", r.opens.Load())
	}
}

func TestGrownVolumeHasItsSizeForTheNextConnection(t *testing.T) {
	r := newRig("vol")
	old := r.lookup(t, "vol")
	defer old.Close()
	r.dir.(fakeDirectory).sizes["vol"] = 12288
	next := r.lookup(t, "vol")
	defer next.Close()
	if old.Info().Size != 8192 || next.Info().Size != 12288 || r.opens.Load() != 1 {
		t.Errorf("%d, %d, %d openings", old.Info().Size, next.Info().Size, r.opens.Load())
	}
	write := &nbd.Request{Cmd: nbd.CmdWrite, Off: 8192, Len: 1, Data: []byte("x")}
	if err := do(t, next, write); err != nil {
		t.Error(err)
	}
}

func TestUnknownNamesAreUnknownExports(t *testing.T) {
	r := newRig("a", "b")
	if _, err := r.Lookup("c"); !errors.Is(err, nbd.ErrUnknownExport) {
		t.Error(err)
	}
	if _, err := r.Describe("c"); !errors.Is(err, nbd.ErrUnknownExport) {
		t.Error(err)
	}
	if _, err := r.Describe(""); !errors.Is(err, nbd.ErrUnknownExport) {
		t.Error(err)
	}
	if len(r.opened) != 0 {
		t.Error("a failed opening was kept")
	}
}

func TestOnlyVolumeAnswersToTheEmptyName(t *testing.T) {
	r := newRig("only")
	if info, err := r.Describe(""); err != nil || info.Name != "only" || r.opens.Load() != 0 {
		t.Error(info, err, r.opens.Load())
	}
	e := r.lookup(t, "")
	defer e.Close()
	if e.Info().Name != "only" || e.Info().Size != 8192 || !e.Info().MultiConn {
		t.Errorf("%+v", e.Info())
	}
}

func TestErrorsReachTheClientAsTheirNumbers(t *testing.T) {
	for class, want := range map[error]nbd.Errno{
		client.ErrNoSpace: nbd.ENOSPC, client.ErrReadOnly: nbd.EPERM,
		client.ErrOutOfRange: nbd.EINVAL, client.ErrFenced: nbd.ESHUTDOWN,
		client.ErrClosed: nbd.ESHUTDOWN,
	} {
		if err := translate(fmt.Errorf("x: %w", class)); !errors.Is(err, want) ||
			!errors.Is(err, class) {
			t.Errorf("%v became %v", class, err)
		}
	}
	var errno nbd.Errno
	if err := translate(client.ErrTimeout); errors.As(err, &errno) {
		t.Errorf("a time-out became %v", errno)
	}
	if translate(nil) != nil {
		t.Error("success became an error")
	}
}
