package netlab

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestMain(m *testing.M) { os.Exit(Run(m.Run)) }

// newLab is a network of two members that each answer what is sent to them.
func newLab(t *testing.T) *Lab {
	t.Helper()
	if os.Getenv(inside) == "" {
		t.Skip("namespaces cannot be made here: `unshare --net --mount true` fails")
	}
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"a", "b"} {
		if _, err := l.Addrs(name, 1); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// send has a member send a datagram to another, and reports whether it arrives.
func send(t *testing.T, l *Lab, from, to string) bool {
	t.Helper()
	addrs, err := l.Addrs(to, 1)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	listener := l.Wrap(to, []string{os.Args[0], "-test.run", "TestHelper"})
	cmd := exec.Command(listener[0], listener[1:]...)
	cmd.Env = append(os.Environ(), inside+"=yes", "NETLAB_LISTEN="+addrs[0])
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ready [6]byte
	if _, err := out.Read(ready[:]); err != nil {
		t.Fatal(err)
	}
	speaker := l.Wrap(from, []string{"bash", "-c", "echo hello > /dev/udp/" + host + "/" + port})
	_ = exec.Command(speaker[0], speaker[1:]...).Run() // fails where the way is cut
	return cmd.Wait() == nil
}

// TestHelper is a member that waits for one datagram; it fails when none comes.
func TestHelper(t *testing.T) {
	addr := os.Getenv("NETLAB_LISTEN")
	if addr == "" {
		t.Skip("runs inside other tests")
	}
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	os.Stdout.WriteString("ready\n")
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.ReadFrom(make([]byte, 100)); err != nil {
		os.Exit(1)
	}
}

func TestWayIsCutInOneDirectionOnly(t *testing.T) {
	l := newLab(t)
	if !send(t, l, "a", "b") || !send(t, l, "b", "a") {
		t.Fatal("members do not reach each other")
	}
	if err := l.Cut("a", "b"); err != nil {
		t.Fatal(err)
	}
	if send(t, l, "a", "b") {
		t.Error("what was sent on a cut way arrived")
	}
	if !send(t, l, "b", "a") {
		t.Error("the other direction is cut too")
	}
	if err := l.Mend(); err != nil {
		t.Fatal(err)
	}
	if !send(t, l, "a", "b") {
		t.Error("the way is not mended")
	}
}

func TestSlowWayDelaysAndLosesPackets(t *testing.T) {
	l := newLab(t)
	arrives := func(w Wire) (bool, time.Duration) {
		t.Helper()
		if err := l.Slow("a", "b", w); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		return send(t, l, "a", "b"), time.Since(began)
	}
	const delay = 2 * time.Second // far longer than it takes to start what sends and listens
	if ok, took := arrives(Wire{Delay: delay, Jitter: time.Millisecond}); !ok || took < delay {
		t.Errorf("over a way of %v: arrived %v after %v", delay, ok, took)
	}
	if ok, _ := arrives(Wire{Loss: 1}); ok {
		t.Error("what was sent on a way that loses everything arrived")
	}
	if !send(t, l, "b", "a") {
		t.Error("the other direction is slow too")
	}
	if ok, took := arrives(Wire{Loss: 0}); !ok || took > delay {
		t.Errorf("over a way that neither delays nor loses: arrived %v after %v", ok, took)
	}
	if err := l.Mend(); err != nil {
		t.Fatal(err)
	}
	if !send(t, l, "a", "b") {
		t.Error("the way is not mended")
	}
	if err := l.Slow("a", "nobody", Wire{}); err == nil {
		t.Error("slowed a way to nobody")
	}
}

func TestUnknownMembersCannotBeCut(t *testing.T) {
	l := newLab(t)
	if err := l.Cut("a", "nobody"); err == nil {
		t.Error("cut a way to nobody")
	}
}

func TestNamespaceThatLeadsSomewhereIsRefused(t *testing.T) {
	newLab(t)
	if _, err := New(); !errors.Is(err, ErrShared) {
		t.Errorf("a second network beside the first: %v", err)
	}
}
