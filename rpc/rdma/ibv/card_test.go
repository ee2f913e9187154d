//go:build rdma && cgo && linux

package ibv

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs/verbstest"
)

func TestTheCardKeepsTheSeamsPromises(t *testing.T) {
	addr := here(t)
	p, err := New(Options{GIDIndex: AnyGID})
	if err != nil {
		t.Fatal(err)
	}
	verbstest.Run(t, p, addr, p.(*provider).anySoft())
}

func TestAddressWithoutCardIsNamed(t *testing.T) {
	e := newEnd(t)
	if _, err := e.card.Listen(netip.MustParseAddrPort("192.0.2.1:1"), 1); !errors.Is(err,
		verbs.ErrNoDevice) {
		t.Errorf("listen: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	_, _, err := e.card.Dial(ctx, netip.MustParseAddrPort("127.0.0.1:1"), e.config(), nil)
	if err == nil || ctx.Err() != nil {
		t.Errorf("dial: %v", err)
	}
	t.Log(err)
}

func TestSettingsThatDoNotFitAreNamed(t *testing.T) {
	here(t)
	for _, opt := range []Options{{GIDIndex: AnyGID, Port: 7}, {GIDIndex: 99},
		{GIDIndex: AnyGID, Device: "mlx5_9"}} {
		p, err := New(opt)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Open(""); !errors.Is(err, verbs.ErrNoDevice) {
			t.Errorf("%+v: %v", opt, err)
		} else {
			t.Log(err)
		}
	}
}

// TestMemoryLimitIsNamed runs as a user that is not root, in a process of its own.
func TestMemoryLimitIsNamed(t *testing.T) {
	here(t)
	const child = "RDMA_AS_USER"
	if os.Getenv(child) == "" {
		cmd := exec.Command(os.Args[0], "-test.v", "-test.run", "^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 64 << 10,
		Max: 64 << 10}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setuid(1000); err != nil {
		t.Fatal(err)
	}
	p, err := New(Options{GIDIndex: AnyGID})
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Open("")
	if err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(-1, 0, 16<<20, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Register(mem)
	if !errors.Is(err, verbs.ErrMemlock) {
		t.Fatalf("register: %v", err)
	}
	t.Log(err)
}
