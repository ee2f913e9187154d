package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudwego/kitex/pkg/transmeta"
	"github.com/cloudwego/kitex/server"
	"go.uber.org/goleak"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1/nodeservice"
)

// Kitex and netpoll start goroutines for the life of the process on first use.
func TestMain(m *testing.M) {
	const kitex = "github.com/cloudwego/kitex/"
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/cloudwego/netpoll.(*defaultPoll).Wait"),
		goleak.IgnoreAnyFunction(kitex+"client.(*timeoutPool).createTicker.func1"),
		goleak.IgnoreAnyFunction(kitex+"client.(*timeoutPool).createWorker.func1"),
		goleak.IgnoreAnyFunction(kitex+"pkg/loadbalance/lbcache.(*BalancerFactory).watcher"),
	)
}

// nodeStub answers with what the test put in. The name of the request selects the behaviour.
// The error is atomic because the race detector cannot see that a call orders it.
type nodeStub struct {
	v1.NodeService
	err atomic.Value
}

func (s *nodeStub) RegisterNode(ctx context.Context, req *v1.RegisterNodeRequest) (
	*v1.RegisterNodeResponse, error,
) {
	switch req.Name {
	case "slow":
		time.Sleep(time.Second)
	case "fail":
		return nil, WireError(s.err.Load().(error))
	}
	return &v1.RegisterNodeResponse{ClusterId: "c", NodeId: 7}, nil
}

// serve runs a Kitex server with the stub and returns its address and how to stop it.
func serve(t *testing.T, stub v1.NodeService) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	exit := make(chan error, 1)
	svr := nodeservice.NewServer(stub, server.WithListener(ln),
		server.WithMetaHandler(transmeta.ServerTTHeaderHandler),
		server.WithExitWaitTime(100*time.Millisecond),
		server.WithExitSignal(func() <-chan error { return exit }))
	done := make(chan error, 1)
	go func() { done <- svr.Run() }()
	t.Cleanup(func() {
		exit <- nil
		<-done
	})
	return ln.Addr().String()
}

func dial(t *testing.T, addr string, opts ...Option) *Clients {
	t.Helper()
	c, err := Dial(addr, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestErrorClassesCrossTheWire(t *testing.T) {
	stub := &nodeStub{}
	c := dial(t, serve(t, stub))
	for _, k := range classes {
		sent := fmt.Errorf("outer: %w", Errorf(k.class, "volume %q\n is wrong", "x"))
		stub.err.Store(sent)
		_, err := c.Node.RegisterNode(context.Background(), &v1.RegisterNodeRequest{Name: "fail"})
		if !errors.Is(err, k.class) {
			t.Errorf("class %v arrived as %v", k.class, err)
		}
		if want := sent.Error(); err == nil || err.Error() != want {
			t.Errorf("text %q arrived as %v", want, err)
		}
		for _, other := range classes {
			if other.class != k.class && errors.Is(err, other.class) {
				t.Errorf("class %v is also %v", k.class, other.class)
			}
		}
	}
}

func TestErrorWithoutClassIsInternal(t *testing.T) {
	stub := &nodeStub{}
	stub.err.Store(errors.New(strings.Repeat("é", maxErrorText)))
	c := dial(t, serve(t, stub))
	_, err := c.Node.RegisterNode(context.Background(), &v1.RegisterNodeRequest{Name: "fail"})
	if !errors.Is(err, ErrInternal) {
		t.Fatalf("got %v", err)
	}
	if n := len(err.Error()); n > maxErrorText || n < maxErrorText-4 {
		t.Fatalf("text has %d bytes, the bound is %d", n, maxErrorText)
	}
}

func TestCallWithoutDeadlineEndsAtTheDefault(t *testing.T) {
	c := dial(t, serve(t, &nodeStub{}), WithCallTimeout(50*time.Millisecond))
	start := time.Now()
	_, err := c.Node.RegisterNode(context.Background(), &v1.RegisterNodeRequest{Name: "slow"})
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if took := time.Since(start); took > DefaultCallTimeout-time.Second {
		t.Fatalf("took %v", took)
	}
}

func TestContextDeadlineOverridesTheDefaultBothWays(t *testing.T) {
	addr := serve(t, &nodeStub{})
	c, patient := dial(t, addr, WithCallTimeout(50*time.Millisecond)), dial(t, addr)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	resp, err := c.Node.RegisterNode(ctx, &v1.RegisterNodeRequest{Name: "slow"})
	if err != nil || resp.NodeId != 7 {
		t.Fatalf("a longer deadline was not honoured: %v %v", resp, err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err = c.Node.RegisterNode(ctx, &v1.RegisterNodeRequest{Name: "slow"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a shorter deadline was not honoured: %v", err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err = patient.Node.RegisterNode(ctx, &v1.RegisterNodeRequest{Name: "slow"})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrUnavailable) {
		t.Fatalf("a cancelled call says %v", err)
	}
}

// A process that has nothing to do must not be woken by calls that ended long ago.
func TestNothingOfACallGoesOnTicking(t *testing.T) {
	c := dial(t, serve(t, &nodeStub{}), WithCallTimeout(50*time.Millisecond))
	for _, name := range []string{"", "slow"} {
		_, _ = c.Node.RegisterNode(context.Background(), &v1.RegisterNodeRequest{Name: name})
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	if i := bytes.Index(stacks, []byte("timeoutPool")); i >= 0 {
		t.Errorf("Kitex's time-outs tick on: %s", stacks[i:min(i+300, len(stacks))])
	}
}

func TestNobodyListeningIsUnavailableAtOnce(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	c := dial(t, addr)
	start := time.Now()
	_, err = c.Node.RegisterNode(context.Background(), &v1.RegisterNodeRequest{})
	if !errors.Is(err, ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), "refused") {
		t.Fatalf("the text does not say where and why: %v", err)
	}
	if took := time.Since(start); took > DefaultCallTimeout-time.Second {
		t.Fatalf("took %v", took)
	}
}

func TestMalformedEndpointIsRefused(t *testing.T) {
	for _, e := range []string{"", "host", ":7400", "host:", "host:0", "host:70000", "host:x"} {
		if _, err := Dial(e); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", e, err)
		}
	}
}

func TestClosedClientsRefuseCalls(t *testing.T) {
	c := dial(t, serve(t, &nodeStub{}))
	if _, err := c.Node.RegisterNode(context.Background(), &v1.RegisterNodeRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	_, err := c.Node.RegisterNode(context.Background(), &v1.RegisterNodeRequest{})
	if !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v", err)
	}
}
