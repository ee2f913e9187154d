package admin

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// seat is a control plane that serves or names the one that does.
type seat struct {
	nodeStub
	addr    string
	calls   atomic.Int64
	serves  atomic.Bool
	instead atomic.Value  // string
	hang    chan struct{} // holds calls of slowNode until the test ends
}

func (s *seat) HeartbeatNode(ctx context.Context, req *v1.HeartbeatNodeRequest) (
	*v1.HeartbeatNodeResponse, error,
) {
	s.calls.Add(1)
	if !s.serves.Load() {
		return nil, WireError(&Error{Class: ErrNotActive, Text: "control: not active",
			Active: s.instead.Load().(string)})
	}
	if req.NodeId == slowNode {
		<-s.hang
	}
	return &v1.HeartbeatNodeResponse{}, nil
}

const slowNode = 99

func seats(t *testing.T, n int) (all []*seat) {
	t.Helper()
	for range n {
		s := &seat{hang: make(chan struct{})}
		s.instead.Store("")
		s.addr = serve(t, s)
		t.Cleanup(func() { close(s.hang) }) // before the server ends
		all = append(all, s)
	}
	return all
}

func dialAll(t *testing.T, addrs ...string) *Clients {
	t.Helper()
	return dial(t, strings.Join(addrs, ","))
}

func beat(c *Clients, node uint64, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_, err := c.Node.HeartbeatNode(ctx, &v1.HeartbeatNodeRequest{NodeId: node})
	return err
}

func TestCallsFollowToTheControlPlaneThatServesAndStayThere(t *testing.T) {
	s := seats(t, 3)
	s[2].serves.Store(true)
	s[0].instead.Store(s[2].addr)
	c := dialAll(t, s[0].addr, s[1].addr) // the third is not even in the list
	for range 5 {
		if err := beat(c, 1, 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if a, b, d := s[0].calls.Load(), s[1].calls.Load(), s[2].calls.Load(); a != 1 || b != 0 ||
		d != 5 {
		t.Errorf("calls %d %d %d", a, b, d)
	}
}

func TestCallsPassOverAControlPlaneThatIsGone(t *testing.T) {
	s := seats(t, 1)
	s[0].serves.Store(true)
	c := dialAll(t, "127.0.0.1:1", "127.0.0.1:2", s[0].addr)
	if err := beat(c, 1, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	err := beat(dialAll(t, "127.0.0.1:1", "127.0.0.1:2"), 1, 30*time.Second)
	if !errors.Is(err, ErrUnavailable) || time.Since(begun) > 10*time.Second {
		t.Errorf("nobody is there: %v after %v", err, time.Since(begun))
	}
}

func TestCallsWaitForAnElection(t *testing.T) {
	s := seats(t, 2)
	c := dialAll(t, s[0].addr, s[1].addr)
	time.AfterFunc(300*time.Millisecond, func() { s[1].serves.Store(true) })
	if err := beat(c, 1, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	s[1].serves.Store(false)
	s[1].instead.Store(s[1].addr) // believes what is not true any more
	err := beat(c, 1, 300*time.Millisecond)
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("nobody serves: %v", err)
	}
	if n := s[0].calls.Load() + s[1].calls.Load(); n > 60 {
		t.Errorf("%d calls in 600 ms", n)
	}
}

func TestCallThatMayHaveBeenCarriedOutIsNotRepeated(t *testing.T) {
	s := seats(t, 2)
	s[0].serves.Store(true)
	s[1].serves.Store(true)
	c := dialAll(t, s[0].addr, s[1].addr)
	// Time enough to get there.
	if err := beat(c, slowNode, 2*time.Second); !errors.Is(err, ErrUnavailable) ||
		errors.Is(err, ErrNotActive) {
		t.Fatalf("got %v", err)
	}
	if s[0].calls.Load() != 1 || s[1].calls.Load() != 0 {
		t.Errorf("calls %d %d", s[0].calls.Load(), s[1].calls.Load())
	}
	if err := beat(c, 1, 10*time.Second); err != nil || s[1].calls.Load() != 1 {
		t.Errorf("the next call went to the one that hangs: %v", err)
	}
}

// breaker is a control plane that dies when it has got a call, and counts how many it got.
func breaker(t *testing.T) (addr string, calls *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	calls = new(atomic.Int64)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if n, _ := conn.Read(make([]byte, 1)); n > 0 {
				calls.Add(1)
			}
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		done.Wait()
	})
	return ln.Addr().String(), calls
}

func TestCallWhoseConnectionBreaksIsNotSentAgain(t *testing.T) {
	s := seats(t, 1)
	s[0].serves.Store(true)
	addr, calls := breaker(t)
	c := dialAll(t, addr, s[0].addr)
	err := beat(c, 1, 5*time.Second)
	if !errors.Is(err, ErrUnavailable) || calls.Load() != 1 || s[0].calls.Load() != 0 {
		t.Errorf("%v after %d calls, and %d elsewhere", err, calls.Load(), s[0].calls.Load())
	}
	if err := beat(c, 1, 5*time.Second); err != nil || s[0].calls.Load() != 1 {
		t.Errorf("the next call: %v, %d calls elsewhere", err, s[0].calls.Load())
	}
}

func TestListsOfEndpointsAreChecked(t *testing.T) {
	many := strings.Repeat("a:1,", maxEndpoints) + "a:1"
	for _, list := range []string{"", "a:1,", "a:1,b", many} {
		if _, err := Dial(list); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", list, err)
		}
	}
}
