package store

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/rpc/socket"
)

// pulse is a time.Ticker that the kernel keeps. For each timer of its own the Go runtime wakes
// three threads: one that runs it, one that looks for what else there may be to do, and the
// monitor, which looks after timers that are late and stays awake for as long as anybody is. A
// descriptor that is ready wakes the first alone; read past the scheduler, it leaves the monitor
// asleep too.
type pulse struct {
	file *os.File
	raw  syscall.RawConn
	in   io.Reader
	n    [8]byte // times that have passed, as read
}

func newPulse() (*pulse, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("store: timerfd_create: %w", err)
	}
	p := &pulse{file: os.NewFile(uintptr(fd), "pulse")}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		_ = p.file.Close()
		return nil, fmt.Errorf("store: a timer of the kernel: %w", err)
	}
	p.in = socket.Reader(p.file)
	return p, nil
}

// start has it beat from now on.
func (p *pulse) start(every time.Duration) {
	step := unix.NsecToTimespec(int64(every))
	_ = p.raw.Control(func(fd uintptr) {
		err := unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Interval: step, Value: step}, nil)
		if err != nil {
			panic(fmt.Sprintf("store: timerfd_settime on an own descriptor: %v", err))
		}
	})
}

// wait returns at the next time, at once when some have passed since the last; false after close.
func (p *pulse) wait() bool {
	_, err := p.in.Read(p.n[:])
	return err == nil
}

func (p *pulse) close() { _ = p.file.Close() }
