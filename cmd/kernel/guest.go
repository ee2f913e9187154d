package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Marks in the log, words without spaces. A colon and a number follow the first two.
const (
	markSent  = "sent"
	markDone  = "done"
	markBegin = "window"
	markEnd   = "window-end"
	// markSlow takes the place of markEnd for a window that took too long to be judged.
	markSlow  = "window-slow"
	markStart = "start"
	markOver  = "over"
	// markRemoved is the kernel's own, when the device goes.
	markRemoved = "dm-log-writes-end"
)

// marker writes marks into the log of the device.
type marker struct{ control *os.File }

func openMarker() (*marker, error) {
	f, err := os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("kernel: device mapper: %w", err)
	}
	return &marker{control: f}, nil
}

// mark returns when the mark has its place: behind every flush that has completed, and before
// everything that is sent from now on.
func (m *marker) mark(text string) error {
	const head = unix.SizeofDmIoctl
	message := "mark " + text + "\x00"
	b := make([]byte, (head+8+len(message)+7)/8*8)
	io := (*unix.DmIoctl)(unsafe.Pointer(&b[0]))
	io.Version = [3]uint32{4, 0, 0}
	io.Data_size, io.Data_start = uint32(len(b)), head
	copy(io.Name[:], deviceName)
	copy(b[head+8:], message) // behind the sector that the message is for: 0
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, m.control.Fd(), unix.DM_TARGET_MSG,
		uintptr(unsafe.Pointer(&b[0])))
	if errno != 0 {
		return fmt.Errorf("kernel: mark %q: %w", text, errno)
	}
	return nil
}

// deviceName is the name of the recording device; guest.sh makes it.
const deviceName = "recorded"

// guest is the workload, run on the store below mount.
type guest struct {
	*marker
	dir  string
	seed uint64
	ops  int // of each phase
	next uint64
	pool *buf.Pool
	h    *host
}

func runGuest(mount string, seed uint64, ops int) error {
	m, err := openMarker()
	if err != nil {
		return err
	}
	pool, err := buf.NewPool(buf.Config{Bytes: poolBytes})
	if err != nil {
		return err
	}
	g := &guest{marker: m, dir: filepath.Join(mount, storeDir), seed: seed, ops: ops, next: 1,
		pool: pool}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return err
	}
	unix.Sync()
	if err := g.mark(markStart); err != nil {
		return err
	}
	if g.h, err = openHost(g.dir, g.pool); err != nil {
		return err
	}
	for phase := range phases {
		fmt.Printf("guest: phase %d, operations from %d\n", phase, g.next)
		if err := g.phase(phase); err != nil {
			return fmt.Errorf("phase %d: %w", phase, err)
		}
	}
	if err := g.mark(markOver); err != nil {
		return err
	}
	return errors.Join(g.h.close(true), pool.Close())
}

// phase writes, takes a checkpoint in the middle, and starts the store again: with everything in
// the log still, or with the checkpoint that an orderly end takes.
func (g *guest) phase(phase int) error {
	all := batches(g.seed, phase, g.ops, g.next)
	for i, b := range all {
		if err := g.batch(b); err != nil {
			return err
		}
		if i == len(all)/2 {
			ctx, cancel := context.WithTimeout(context.Background(), recoverTime)
			g.h.Checkpoint(ctx)
			cancel()
		}
	}
	if phase == windowPhase {
		if err := g.windows(); err != nil {
			return err
		}
	}
	if phase == phases-1 {
		return nil
	}
	if err := g.h.close(phase%2 == 1); err != nil {
		return err
	}
	var err error
	g.h, err = openHost(g.dir, g.pool)
	return err
}

// batch sends operations together and marks each as it is acknowledged.
func (g *guest) batch(b batch) error {
	low := b[0].number
	g.next = b[len(b)-1].number + 1
	if err := g.mark(fmt.Sprintf("%s:%d", markSent, g.next-1)); err != nil {
		return err
	}
	waits := make([]chan answer, len(b))
	for i, o := range b {
		waits[i] = g.h.write(o, low)
	}
	for i, o := range b {
		if err := g.acknowledged(o, low, waits[i]); err != nil {
			return err
		}
	}
	return nil
}

// acknowledged waits for an operation, and sends it again when the store is too busy for it.
func (g *guest) acknowledged(o op, low uint64, ch chan answer) error {
	for end := time.Now().Add(opTime); ; {
		a, err := await(ch)
		if err != nil {
			return fmt.Errorf("operation %d: %w", o.number, err)
		}
		switch a.status {
		case wire.StatusOK:
			return g.mark(fmt.Sprintf("%s:%d", markDone, o.number))
		case wire.StatusOverloaded, wire.StatusRetry, wire.StatusNotLeader:
		default:
			return fmt.Errorf("operation %d: %w", o.number, a.status.Err())
		}
		if time.Now().After(end) {
			return fmt.Errorf("operation %d: %w: %v", o.number, errNoTime, a.status)
		}
		time.Sleep(2 * time.Millisecond)
		ch = g.h.write(o, low)
	}
}

// windows measures what a lone write of a warm store costs the device, until enough windows were
// short enough to be judged.
func (g *guest) windows() error {
	judged := 0
	for range windowTries {
		took, err := g.window()
		if err != nil {
			return err
		}
		fmt.Printf("guest: %d lone writes in %v\n", windowWrites, took.Round(time.Millisecond))
		end := markSlow
		if took < windowTime {
			end = markEnd
			judged++
		}
		if err := g.mark(end); err != nil || judged == windowsWanted {
			return err
		}
	}
	return fmt.Errorf("kernel: %d of %d windows of %d writes took less than %v, want %d: the "+
		"machine is too busy", judged, windowTries, windowWrites, windowTime, windowsWanted)
}

func (g *guest) window() (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), recoverTime)
	defer cancel()
	g.h.Checkpoint(ctx)                // the next one is far away
	time.Sleep(300 * time.Millisecond) // and what was prepared behind it is there
	unix.Sync()                        // the file system's own next write is 5 s away
	if err := g.mark(markBegin); err != nil {
		return 0, err
	}
	begin := time.Now()
	for range windowWrites {
		if err := g.batch(batch{lone(g.next)}); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}
