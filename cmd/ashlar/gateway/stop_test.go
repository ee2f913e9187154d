package gateway

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	"github.com/ashlar-storage/ashlar/rpc/client"
	"github.com/ashlar-storage/ashlar/rpc/nbd"
	"github.com/ashlar-storage/ashlar/rpc/ops"
)

// silentVolume answers nothing before it is closed.
type silentVolume struct {
	*fakeVolume
	came chan *client.Op
	once sync.Once
}

func (v *silentVolume) Submit(op *client.Op) { v.came <- op }

func (v *silentVolume) Close() error {
	v.once.Do(func() {
		op := <-v.came
		op.Err = client.ErrClosed
		op.Done(op)
	})
	return v.fakeVolume.Close()
}

// serveSilent runs a gateway with a volume that answers nothing; the channel gives what serve
// returned.
func serveSilent(t *testing.T, ctx context.Context, at string, v *silentVolume) <-chan error {
	t.Helper()
	// Nobody listens there; neither connects before it is used.
	const nowhere = "127.0.0.1:1"
	clients, err := admin.Dial(nowhere)
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	blocks, err := client.Connect(ctx, client.Config{Endpoint: nowhere, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig("vol")
	r.backend.open = func(context.Context, string) (volume, error) { return v, nil }
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		err := serve(ctx, Config{Name: "gw", Listen: []string{at}, Logger: quiet,
			Admin: ops.Config{Addr: "127.0.0.1:0"}, Ready: func() { close(ready) }},
			r.backend, clients, blocks)
		ended <- errors.Join(err, blocks.Close(), clients.Close())
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	return ended
}

// The client's deadline, of half a minute and more, is not what a stop waits for.
func TestStopBreaksOffWhatTheClusterDoesNotAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	at := "unix:" + filepath.Join(t.TempDir(), "s")
	v := &silentVolume{came: make(chan *client.Op, 1),
		fakeVolume: &fakeVolume{id: 1, data: make([]byte, 8192)}}
	ended := serveSilent(t, ctx, at, v)
	c, err := nbd.Dial(t.Context(), at, "vol")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answered := make(chan error, 1)
	c.Submit(&nbd.Request{Cmd: nbd.CmdRead, Len: 4096, Data: make([]byte, 4096),
		Done: func(r *nbd.Request) { answered <- r.Err }})
	for len(v.came) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(stopTimeout + 15*time.Second):
		t.Fatal("the gateway does not stop")
	}
	if err := <-answered; err == nil {
		t.Error("a request that nobody carried out succeeded")
	}
	if v.closed.Load() == 0 {
		t.Error("the volume was not closed")
	}
}
